"""vconnect's host, for plugins that are started elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vconnect.host.manager import PluginRuntimeManager
from vconnect.wire.session import Session


class Host(PluginRuntimeManager):
    """The whole manager with its defaults, which also keeps the sessions: a row goes to them.

    Args:
        socket: Where it listens; its directory is our own.
    """

    def __init__(self, socket: Path) -> None:
        super().__init__(
            plugin_dir=str(socket.with_suffix(".plugins")),
            socket_path=str(socket),
            allow_external=True,
        )
        self.sessions: dict[str, Session] = {}
        self._changed = asyncio.Event()

    def attached(self, session: Session) -> None:
        super().attached(session)
        self.sessions[session.handshake.plugin] = session
        self._changed.set()

    async def wait_for(self, plugins: int) -> None:
        """Wait until so many plugins are connected."""
        while len(self.sessions) < plugins:
            self._changed.clear()
            await self._changed.wait()
