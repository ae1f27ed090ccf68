"""The states of a plugin, and the legal transitions between them."""

# `PluginStatus` is the public state; `Substate` says what the plugin waits for, or why it is in
# this state. The edges are data, in `TRANSITIONS`; only `advance` follows them.

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from vconnect.errors import IllegalTransitionError

#: The state that the operator asked for.
Desired = Literal["running", "stopped"]
#: What the operator asked for last. One that is ``disabled`` is not started until it is enabled.
Ordered = Literal["running", "stopped", "disabled"]


class PluginStatus(StrEnum):
    """The state of a plugin."""

    INSTALLED = "Installed"  #: on disk, never started by this host
    STARTING = "Starting"  #: its process exists and is not ready to serve
    RUNNING = "Running"  #: it is connected and ready; events may be sent
    STOPPING = "Stopping"  #: in its shutdown sequence
    STOPPED = "Stopped"  #: ended as requested, or exited cleanly by itself
    ERROR = "Error"  #: ended or refused, for the reason given


class Substate(StrEnum):
    """What a plugin waits for, or what led to its status."""

    NONE = ""
    SPAWNED = "spawned"
    HANDSHAKING = "handshaking"
    INITIALIZING = "initializing"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    EXTERNAL = "external"
    DRAINING = "draining"
    TERMINATING = "terminating"
    KILLING = "killing"
    EXITED = "exited"
    KILLED = "killed"
    DISABLED = "disabled"
    SPAWN_FAILED = "spawn_failed"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    HANDSHAKE_REFUSED = "handshake_refused"
    START_TIMEOUT = "start_timeout"
    BAD_CONFIG = "bad_config"
    BAD_MANIFEST = "bad_manifest"
    CHANGED = "changed"
    REPLACING = "replacing"
    WAITING = "waiting"
    BACKOFF = "backoff"
    CRASH_LOOP = "crash_loop"
    WATCHDOG = "watchdog"
    MEMORY_LIMIT = "memory_limit"


#: Substates that say what has to be fixed; a planned retry does not replace them.
SELF_EXPLANATORY = (
    Substate.SPAWN_FAILED,
    Substate.BAD_MANIFEST,
    Substate.CHANGED,
    Substate.HANDSHAKE_REFUSED,
    Substate.HANDSHAKE_TIMEOUT,
    Substate.START_TIMEOUT,
    Substate.BAD_CONFIG,
    Substate.KILLING,
)

_S = PluginStatus

TRANSITIONS: dict[PluginStatus, frozenset[PluginStatus]] = {
    _S.INSTALLED: frozenset({_S.STARTING, _S.RUNNING, _S.ERROR}),
    _S.STARTING: frozenset({_S.RUNNING, _S.STOPPING, _S.STOPPED, _S.ERROR}),
    _S.RUNNING: frozenset({_S.STARTING, _S.STOPPING, _S.STOPPED, _S.ERROR}),
    _S.STOPPING: frozenset({_S.STOPPED, _S.ERROR}),
    _S.STOPPED: frozenset({_S.STARTING, _S.RUNNING}),
    _S.ERROR: frozenset({_S.STARTING, _S.RUNNING, _S.STOPPED}),
}
"""Every legal edge.

A plugin whose connection ends while its process lives goes from ``Running`` back to ``Starting``
until its next handshake is complete. A plugin that another program started (``allow_external``)
becomes ``Running`` without ``Starting``. A plugin in ``Error`` that an operator stops becomes
``Stopped``.
"""


def advance(plugin: str, current: PluginStatus, wanted: PluginStatus) -> PluginStatus:
    """Return ``wanted`` if the table allows it after ``current``.

    Args:
        plugin: The plugin's name, for the error message.
        current: The current status.
        wanted: The new status.

    Raises:
        IllegalTransitionError: The table has no such edge.
    """
    allowed = TRANSITIONS[current]
    if wanted not in allowed:
        # Sorted, because the order of a set changes from run to run.
        names = ", ".join(sorted(allowed))
        raise IllegalTransitionError(
            f"{plugin}: cannot change from {current} to {wanted}; allowed: {names}"
        )
    return wanted
