"""What the administration interface uses of `PluginRuntimeManager`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from vconnect.logs.ring import LogPage
from vconnect.names import LogLevel
from vconnect.plugins.registry import Registry
from vconnect.seeing.feed import Feed
from vconnect.seeing.happenings import Happenings
from vconnect.seeing.overview import Overview
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.trace import Traces
from vconnect.seeing.why import Why
from vconnect.settings.model import Settings
from vconnect.store.blobs import Blobs


class Manager(Protocol):
    """The part of ``PluginRuntimeManager`` that this interface uses."""

    packages: Any
    configuration: Any
    overview: Overview
    traces: Traces
    happenings: Happenings
    blobs: Blobs
    feed: Feed

    @property
    def settings(self) -> Settings:
        """The host's settings."""

    @property
    def registry(self) -> Registry:
        """The plugins, only to read."""

    def is_confined(self, pid: int) -> bool:
        """Return whether a process belongs to a plugin that runs in a sandbox."""

    async def reload(self, *, dry_run: bool = False, by: str = "") -> Any:
        """Read the settings again."""

    def runtime_summaries(self) -> Sequence[PluginSummary]:
        """Describe every plugin."""

    def summary(self, name: str) -> PluginSummary:
        """Describe one plugin, by any of its names."""

    def why(self, name: str) -> Why:
        """Say why a plugin does not serve."""

    def plugin_logs(
        self,
        name: str,
        *,
        lines: int,
        level: LogLevel,
        after: int | None,
        states: bool,
        host: bool,
    ) -> LogPage:
        """Return a plugin's log records."""

    def host_summary(self) -> msgspec.Struct:
        """Describe the host itself."""

    def loop_name(self) -> str:
        """Return ``uvloop`` or ``asyncio``."""

    def missing(self) -> list[str]:
        """Return the required plugins that do not serve."""

    async def start_plugin(self, name: str, *, by: str = "") -> None:
        """Start a plugin."""

    async def stop_plugin(self, name: str, *, by: str = "") -> bool:
        """Stop a plugin."""

    async def enable_plugin(self, name: str, *, by: str = "") -> None:
        """Allow a plugin to be started, and start it."""

    async def disable_plugin(self, name: str, *, by: str = "") -> None:
        """Stop a plugin, and let nobody start it."""

    async def release_plugin(self, name: str, *, by: str = "") -> int:
        """Lift a plugin's quarantine."""

    async def restart_plugin(self, name: str, *, by: str = "") -> None:
        """Restart a plugin."""

    async def kill_plugin(self, name: str, *, by: str = "") -> None:
        """Kill a plugin's process."""

    async def close_circuit(self, name: str, *, by: str = "") -> None:
        """Ask a plugin again although its circuit is open."""

    async def emit(self, event: str, payload: Any, *, timeout: float | None = None) -> Any:
        """Send an event through the chain."""

    async def broadcast(self, event: str, payload: Any, *, timeout: float | None = None) -> Any:
        """Send an event to all plugins that want it at the same time."""

    async def request_result(
        self, plugin: str, event: str, payload: Any, *, timeout: float | None = None
    ) -> Any:
        """Send an event to one plugin and return its result."""
