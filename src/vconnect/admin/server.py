"""The host's end of the administration interface."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from aiohttp import web

from vconnect.settings.model import Settings
from vconnect.wire.private_socket import PrivateSocket, bind_private_socket

from .app import Manager, create_app

_log = logging.getLogger(__name__)

# Seconds for open requests, such as a stop that waits for a plugin's grace period. The manager
# completes it anyway, so its connection need not stay open.
_CLOSE_TIMEOUT = 0.5


class ConfiguredManager(Manager, Protocol):
    """A manager with its settings."""

    @property
    def settings(self) -> Settings:
        """The host's settings."""


class AdminServer:
    """Serves the administration interface of one manager on a private Unix socket.

    It installs no signal handlers. A client that disconnects cancels nothing: its request is still
    carried out.
    """

    def __init__(self, manager: ConfiguredManager, path: str | Path) -> None:
        self._manager = manager
        self._path = path
        self._socket: PrivateSocket | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Bind the socket and start serving.

        Raises:
            SocketError: The socket cannot be bound, or another host holds it.
        """
        self._socket = bind_private_socket(self._path)
        app = create_app(self._manager, self._manager.settings.max_frame_bytes)
        self._runner = web.AppRunner(
            app,
            # The host has its own signal handlers.
            handle_signals=False,
            # A client that disconnects must not leave a stop or an installation half done.
            handler_cancellation=False,
            # Nothing to log: the manager logs what is done.
            access_log=None,
            shutdown_timeout=_CLOSE_TIMEOUT,
        )
        try:
            await self._runner.setup()
            await web.SockSite(self._runner, self._socket.socket).start()
        # Also on a cancellation: the socket's lock must not outlive a start that failed.
        except BaseException:
            await self.stop()
            raise
        _log.info("administration socket listening on %s", self._socket.path)

    async def stop(self) -> None:
        """Stop listening, close every connection and unlink the socket. May be called twice."""
        runner, self._runner = self._runner, None
        private, self._socket = self._socket, None
        try:
            if runner is not None:
                await runner.cleanup()
        finally:
            if private is not None:
                private.close()
