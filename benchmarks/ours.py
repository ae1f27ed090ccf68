"""vconnect's host for plugins that are started elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from vconnect.config import Settings
from vconnect.dispatcher import Dispatcher
from vconnect.protocol import Handshake
from vconnect.registry import PluginRuntime, Registry
from vconnect.server import UnixSocketServer
from vconnect.session import LaneLimits, Peer, Session


class Host:
    """Registry, dispatcher and socket server, assembled as the manager does, with its defaults.

    There is nothing to supervise here, so every plugin that connects is let in.
    """

    def __init__(self, socket: Path) -> None:
        settings = Settings()
        self.registry = Registry()
        self.dispatcher = Dispatcher(self.registry, settings)
        limits = LaneLimits(
            window=settings.window,
            max_queued=settings.max_queued,
            max_abandoned=settings.max_abandoned or settings.window,
            stuck_after=settings.stuck_after,
            max_frame_bytes=settings.max_frame_bytes,
        )
        self._server = UnixSocketServer(socket, self, limits, settings.handshake_timeout)
        self._changed = asyncio.Event()

    async def start(self) -> None:
        await self._server.start()

    async def close(self) -> None:
        await self._server.close()

    async def wait_for(self, plugins: int) -> None:
        """Wait until so many plugins are connected."""
        while len(self.registry) < plugins:
            self._changed.clear()
            await self._changed.wait()

    def session(self, plugin: str) -> Session:
        session = self.registry.get(plugin).session
        assert session is not None
        return session

    # What the server calls.

    def admit(self, handshake: Handshake, peer: Peer) -> dict[str, Any]:
        return {}

    def attached(self, session: Session) -> None:
        runtime = PluginRuntime(session.handshake.plugin, path=None)
        runtime.session = session
        self.registry.add(runtime)
        self.registry.reroute()
        self._changed.set()

    def detached(self, session: Session, error: Exception | None) -> None:
        self.registry.get(session.handshake.plugin).session = None
        self.registry.reroute()
