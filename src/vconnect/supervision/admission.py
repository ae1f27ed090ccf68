"""Who may connect under a plugin's name, and what is said to those who may (``docs/wire.md``)."""

from __future__ import annotations

import os
from typing import Any

from vconnect.errors import HandshakeError
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus
from vconnect.settings.model import Settings
from vconnect.version import host_version
from vconnect.wire.messages import Handshake, NativeTerms, acknowledgment
from vconnect.wire.server import Admission
from vconnect.wire.session import LaneLimits, Peer

from .instance import Instance


class Admissions:
    """Decides about the handshakes of one plugin.

    Args:
        plugin: The plugin.
        settings: ``allow_external``, limits, its configuration.
    """

    def __init__(self, plugin: PluginRuntime, settings: Settings) -> None:
        self._plugin = plugin
        self._settings = settings

    def decide(self, handshake: Handshake, peer: Peer, *instances: Instance | None) -> Admission:
        """Let a process in that belongs to one of the plugin's instances.

        Raises:
            HandshakeError: ``stranger``, ``name_taken``, ``disabled`` or ``stopping``.
        """
        plugin = self._plugin
        present = [instance for instance in instances if instance is not None]
        started = [instance for instance in present if instance.process is not None]
        own = next((instance for instance in started if instance.owns(peer.pid)), None)
        if started and own is None:
            raise HandshakeError(
                "stranger",
                f"PID {peer.pid} is not of the process group that this host started as "
                f"{plugin.name} (PID {plugin.process.pid if plugin.process else '?'})",
            )
        if not started:
            self._check_external(peer)
        taken = own.session is not None if own is not None else bool(present)
        if taken:
            raise HandshakeError("name_taken", f"{plugin.name} is connected already")
        if plugin.status is PluginStatus.STOPPING or (own is not None and own.is_ending):
            raise HandshakeError("stopping", f"{plugin.name} is being stopped")
        if handshake.disable:
            raise HandshakeError("disabled", handshake.disable)
        terms = None
        if handshake.protocol_version is not None:
            terms = self._terms(handshake.protocol_version)
        return Admission(acknowledgment(self._config(), terms), self._limits())

    def _check_external(self, peer: Peer) -> None:
        name = self._plugin.name
        check_external(name, peer, self._settings)
        if self._plugin.is_external and self._plugin.desired == "stopped":
            raise HandshakeError(
                "stopping", f"the operator has stopped it; let it in with: vconnect start {name}"
            )

    def _terms(self, version: int) -> NativeTerms:
        return NativeTerms(
            protocol_version=version,
            host={"name": "vconnect", "version": host_version()},
            max_frame_bytes=self._settings.max_frame_bytes,
            heartbeat_ms=int(self._settings.heartbeat * 1000),
            window=self._plugin.limits.window,
        )

    def _limits(self) -> LaneLimits:
        settings, window = self._settings, self._plugin.limits.window
        return LaneLimits(
            window=window,
            max_queued=settings.max_queued,
            max_notified=settings.max_notified,
            max_abandoned=settings.max_abandoned or window,
            stuck_after=settings.stuck_after,
            max_frame_bytes=settings.max_frame_bytes,
        )

    def _config(self) -> dict[str, Any]:
        manifest = self._plugin.manifest
        defaults = manifest.config if manifest is not None else {}
        values = self._plugin.config
        if values is None:
            values = self._settings.plugin_config(self._plugin.name)
        return merge_config(defaults, values)


def merge_config(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Lay ``values`` over ``defaults``: tables key by key, everything else as a whole.

    >>> merge_config({"a": {"x": 1, "y": 2}, "b": [1, 2]}, {"a": {"x": 3}, "b": [4]})
    {'a': {'x': 3, 'y': 2}, 'b': [4]}
    """
    merged = dict(defaults)
    for key, value in values.items():
        default = merged.get(key)
        if isinstance(default, dict) and isinstance(value, dict):
            value = merge_config(default, value)
        merged[key] = value
    return merged


def check_external(name: str, peer: Peer, settings: Settings) -> None:
    """Refuse a plugin that this host has not started, unless the settings let it in.

    Raises:
        HandshakeError: ``stranger``: they do not, or it is another user's.
    """
    if not settings.allow_external:
        raise HandshakeError(
            "stranger", f"this host has not started {name}; allow_external would let it in"
        )
    if peer.uid != os.geteuid():
        raise HandshakeError(
            "stranger", f"user {peer.uid} is not this host's, which is {os.geteuid()}"
        )
