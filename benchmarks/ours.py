"""vconnect's host, for plugins that are started elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from vconnect import Settings
from vconnect.host.manager import PluginRuntimeManager
from vconnect.wire.session import Session

_POLL_S = 0.002


# More plugins than the default admits; an older build, in `against`, has no such limit.
LIMITS: dict[str, Any] = {"max_external": 10_000} if hasattr(Settings, "max_external") else {}


class Host(PluginRuntimeManager):
    """The whole manager with its defaults; a row talks to the sessions below it.

    Args:
        socket: Where it listens; its directory is our own.
    """

    def __init__(self, socket: Path) -> None:
        super().__init__(
            plugin_dir=str(socket.with_suffix(".plugins")),
            socket_path=str(socket),
            allow_external=True,
            **LIMITS,
        )

    @property
    def sessions(self) -> dict[str, Session]:
        """The sessions of the plugins that are connected, by name."""
        known = {plugin.name: plugin.session for plugin in self._registry}
        return {name: session for name, session in known.items() if session is not None}

    async def wait_for(self, plugins: int) -> None:
        """Wait until this many plugins are connected."""
        while len(self.sessions) < plugins:
            await asyncio.sleep(_POLL_S)
