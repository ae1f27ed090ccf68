"""The states of a plugin, and the only ways between them.

``PluginStatus`` is what everyone sees; ``Substate`` says what the plugin waits for or why it is
where it is. The edges stand in ``TRANSITIONS`` as data; `advance` is the one function that
follows them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from vconnect.errors import IllegalTransitionError

#: What the operator asked for.
Desired = Literal["running", "stopped"]


class PluginStatus(StrEnum):
    """Where a plugin is in its life."""

    INSTALLED = "Installed"  #: on disk, never started by this host
    STARTING = "Starting"  #: its process exists, its handshake has not come
    RUNNING = "Running"  #: shaken hands; events may be sent
    STOPPING = "Stopping"  #: told to end, its process group not yet empty
    STOPPED = "Stopped"  #: ended as asked, or ended cleanly by itself
    ERROR = "Error"  #: ended or refused, for the reason given


class Substate(StrEnum):
    """What a plugin waits for, or what brought it to its status."""

    NONE = ""
    SPAWNED = "spawned"
    HANDSHAKING = "handshaking"
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
    BAD_MANIFEST = "bad_manifest"
    REPLACING = "replacing"
    WAITING = "waiting"
    BACKOFF = "backoff"
    CRASH_LOOP = "crash_loop"
    WATCHDOG = "watchdog"
    MEMORY_LIMIT = "memory_limit"


#: They explain themselves, so that the news of another try does not take their place.
SELF_EXPLANATORY = (
    Substate.SPAWN_FAILED,
    Substate.BAD_MANIFEST,
    Substate.HANDSHAKE_REFUSED,
    Substate.HANDSHAKE_TIMEOUT,
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
until it has shaken hands again. ``Running`` is reached without ``Starting`` by a plugin that
somebody else started (``allow_external``). A plugin in ``Error`` that an operator stops becomes
``Stopped``.
"""


def advance(plugin: str, current: PluginStatus, wanted: PluginStatus) -> PluginStatus:
    """Return ``wanted`` if the table allows it after ``current``.

    Args:
        plugin: The plugin's name, for the message.
        current: The status now.
        wanted: The status to come.

    Raises:
        IllegalTransitionError: The table holds no such edge.
    """
    allowed = TRANSITIONS[current]
    if wanted not in allowed:
        names = ", ".join(sorted(allowed))
        raise IllegalTransitionError(
            f"{plugin}: cannot go from {current} to {wanted}; from {current} it may go to: {names}"
        )
    return wanted
