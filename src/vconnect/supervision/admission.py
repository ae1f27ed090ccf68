"""Decides who may connect under a plugin's name, and what they get (``docs/wire.md``)."""

# The idea: a name belongs to the processes that this host started under it, which the kernel
# identifies by the PID of the peer. What the handshake claims cannot change that. Anything else is
# an external plugin, which the operator has to allow.

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from vconnect.errors import HandshakeError
from vconnect.names import HOST_PID_VARIABLE, PLUGIN_NAME_VARIABLE
from vconnect.packages.manifest import merge_config
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus
from vconnect.processes.procfs import environment_holds
from vconnect.settings.model import PluginPolicy
from vconnect.settings.parts import ConnectionSettings, SupervisionSettings
from vconnect.sockets.credentials import Peer
from vconnect.version import host_version
from vconnect.wire.messages import (
    CONFIG_UPDATE,
    EVENT_NAMES,
    Handshake,
    NativeTerms,
    acknowledgment,
)
from vconnect.wire.server import Admission
from vconnect.wire.session import LaneLimits, Session

from .instance import Instance

_CONFIG_TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)


class Admissions:
    """Decides about the handshakes of one plugin.

    Args:
        plugin: The plugin.
        settings: Who may attach, and the limits of connections.
    """

    def __init__(self, plugin: PluginRuntime, settings: SupervisionSettings) -> None:
        self._plugin = plugin
        self._settings = settings

    def decide(
        self,
        handshake: Handshake,
        peer: Peer,
        own: Instance | None,
        present: Sequence[Instance],
    ) -> Admission:
        """Admit a process that belongs to one of the plugin's instances.

        Args:
            handshake: The peer's handshake.
            peer: The process that connected.
            own: The instance that the process belongs to, if it is one of ``present``.
            present: The instances that serve or are about to.

        Raises:
            HandshakeError: ``stranger``, ``name_taken``, ``disabled`` or ``stopping``.
        """
        # Identity first: a process that is not ours learns nothing about the plugin's state.
        try:
            self._check_peer(peer, own, present)
        except HandshakeError as error:
            # If the plugin does not connect otherwise, this is probably why.
            for instance in present:
                instance.refusal = str(error)
            raise
        ending = own is not None and own.is_ending
        if ending or self._plugin.status is PluginStatus.STOPPING:
            raise HandshakeError("stopping", f"{self._plugin.name} is being stopped")
        # An instance has one connection. An external plugin has no instance of its own yet, so it
        # must not meet any other.
        taken = own.session is not None if own is not None else bool(present)
        if taken:
            raise HandshakeError("name_taken", f"{self._plugin.name} is already connected")
        if handshake.disable:
            raise HandshakeError("disabled", handshake.disable)
        # Only a native handshake gets terms: a classic acknowledgment has no such keys.
        terms = None
        if handshake.protocol_version is not None:
            terms = self._terms(handshake.protocol_version, own)
        config = self.config_of(own)
        if own is not None:
            own.config = config
        return Admission(
            acknowledgment(config, terms),
            lane_limits(self._settings.connection, self._plugin.policy),
            self._plugin.rows,
        )

    def _check_peer(self, peer: Peer, own: Instance | None, present: Sequence[Instance]) -> None:
        """Refuse a process that is not ours if ours exist, or if external ones are not allowed."""
        if own is not None:
            return
        if not self._settings.allow_external and _has_left(peer.pid, self._plugin.name):
            raise HandshakeError(
                "stranger",
                f"PID {peer.pid} has left the process that this host started as "
                f"{self._plugin.name} and went into the background; run it in the foreground",
            )
        if any(instance.process is not None for instance in present):
            pid = self._plugin.process.pid if self._plugin.process else "?"
            raise HandshakeError(
                "stranger",
                f"PID {peer.pid} is not in the process group that this host started as "
                f"{self._plugin.name} (PID {pid})",
            )
        name = self._plugin.name
        check_external(name, peer, allowed=self._settings.allow_external)
        # Its place is its own while the host runs it, also between two processes of it.
        if not self._plugin.is_external and self._plugin.desired == "running":
            raise HandshakeError(
                "stranger",
                f"this host starts {name} itself; to run it in another way, use: "
                f"vconnect stop {name}",
            )
        # Otherwise an external plugin that reconnects by itself would undo the operator's stop.
        if self._plugin.is_external and self._plugin.desired == "stopped":
            raise HandshakeError(
                "stopping", f"stopped by the operator; to admit it, use: vconnect start {name}"
            )

    def _terms(self, version: int, own: Instance | None) -> NativeTerms:
        return NativeTerms(
            protocol_version=version,
            host={"name": "vconnect", "version": host_version()},
            max_frame_bytes=self._settings.connection.max_frame_bytes,
            max_answer_bytes=self._plugin.policy.max_answer_bytes,
            heartbeat_ms=int(self._settings.heartbeats.heartbeat * 1000),
            window=self._plugin.policy.window,
            interface=own.interface if own is not None and own.interface else msgspec.UNSET,
        )

    def refresh_config(self, own: Instance, session: Session) -> None:
        """Send an instance that begins to serve what has changed in its configuration meanwhile.

        Between its handshake and this moment, an update went to the instance that served then.
        """
        config = self.config_of(own)
        if own.config in (None, config) or not session.is_native:
            return
        own.config = config
        sent = session.request(EVENT_NAMES[CONFIG_UPDATE], {"config": config}, _CONFIG_TIMEOUT_S)
        sent.add_done_callback(self._refreshed)

    def _refreshed(self, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            _log.error(
                "plugin %s keeps the configuration of its handshake: %s", self._plugin.name, error
            )

    def config_of(self, own: Instance | None) -> dict[str, Any]:
        """Return the configuration for an instance: the operator's, over its version's defaults."""
        manifest = self._plugin.manifest if own is None else own.manifest
        defaults = manifest.config if manifest is not None else {}
        return merge_config(defaults, self._plugin.config)


def _has_left(pid: int, plugin: str) -> bool:
    """Return whether a process says that this host started it: a daemon without its parent.

    It may lie, so this makes only a better reason for its refusal.
    """
    marks = (f"{HOST_PID_VARIABLE}={os.getpid()}", f"{PLUGIN_NAME_VARIABLE}={plugin}")
    return all(environment_holds(pid, mark.encode()) for mark in marks)


def lane_limits(settings: ConnectionSettings, policy: PluginPolicy) -> LaneLimits:
    """Return the limits of a connection: the host's, and those of its plugin."""
    return LaneLimits(
        window=policy.window,
        max_queued=settings.max_queued,
        max_notified=settings.max_notified,
        # By default a whole window: by then every slot is abandoned, and nothing can be sent. A
        # window of one would end the connection at the first late answer; `stuck_after` watches it.
        max_abandoned=settings.max_abandoned or max(policy.window, 2),
        stuck_after=settings.stuck_after,
        max_frame_bytes=settings.max_frame_bytes,
        max_answer_bytes=policy.max_answer_bytes,
        max_answer_values=settings.max_answer_values,
        max_answer_keys=settings.max_answer_keys,
        max_queued_bytes=policy.max_queued_bytes,
    )


def check_external(name: str, peer: Peer, *, allowed: bool) -> None:
    """Refuse a plugin that this host has not started, unless the settings allow it.

    Raises:
        HandshakeError: ``stranger``: external plugins are not allowed, or it is another user's.
    """
    if not allowed:
        raise HandshakeError(
            "stranger", f"this host has not started {name}; to admit it, set allow_external"
        )
    # The socket's mode already keeps other users out, except root.
    if peer.uid != os.geteuid():
        raise HandshakeError(
            "stranger", f"it runs as user {peer.uid}; this host runs as user {os.geteuid()}"
        )
