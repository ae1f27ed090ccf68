"""The host's end of the administration interface."""

from __future__ import annotations

import asyncio
import logging
import socket
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from vconnect.descriptors import keep_from_children
from vconnect.settings.model import Settings
from vconnect.sockets.acceptor import Acceptor
from vconnect.sockets.credentials import peer_of
from vconnect.sockets.listener import Listener
from vconnect.sockets.private_socket import PrivateSocket, bind_private_socket

from .app import Manager, create_app
from .responses import error_response, raw_error_response

_log = logging.getLogger(__name__)

# Seconds for open requests, such as a stop that waits for a plugin's grace period. The manager
# completes it anyway, so its connection need not stay open.
_CLOSE_TIMEOUT = 0.5
# Seconds from a connection to its first request, or half a request would keep it for ever.
_REQUEST_TIMEOUT = 10.0
# Of a client's mistake, in the log.
_SHOWN_CHARS = 200


class ConfiguredManager(Manager, Protocol):
    """A manager with its settings."""

    @property
    def settings(self) -> Settings:
        """The host's settings."""

    def is_confined(self, pid: int) -> bool:
        """Return whether a process belongs to a plugin that runs in a sandbox."""


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
        self._listener: Listener | None = None
        # Connections that have not sent a request. aiohttp has no deadline for the first one.
        self._silent: set[web.RequestHandler] = set()

    async def start(self) -> None:
        """Bind the socket and start serving.

        Raises:
            SocketError: The socket cannot be bound, or another host holds it.
        """
        self._socket = bind_private_socket(self._path)
        app = create_app(self._manager, self._manager.settings.max_frame_bytes)
        app.middlewares.append(self._note_request)
        self._runner = web.AppRunner(
            app,
            # The host has its own signal handlers.
            handle_signals=False,
            # A client that disconnects must not leave a stop or an installation half done.
            handler_cancellation=False,
            # Nothing to log: the manager logs what is done.
            access_log=None,
            logger=_http_log(),
            shutdown_timeout=_CLOSE_TIMEOUT,
            # What `create_app` leaves unread of a body may have no end.
            lingering_time=0,
        )
        try:
            await self._runner.setup()
            self._listener = Listener(self._socket, self._listen)
        # Also on a cancellation: the socket's lock must not outlive a start that failed.
        except BaseException:
            await self.stop()
            raise
        keep_from_children(self)
        _log.info("administration socket listening on %s", self._socket.path)

    def _listen(self, bound: socket.socket) -> Acceptor:
        assert self._runner is not None, "set up by `start`"
        assert self._runner.server is not None, "set up by `start`"
        return Acceptor(bound, self._new_connection, _unavailable, "the administration socket")

    def _new_connection(self) -> asyncio.BaseProtocol:
        assert self._runner is not None, "set up by `start`"
        assert self._runner.server is not None, "set up by `start`"
        connection = self._runner.server()
        self._silent.add(connection)
        asyncio.get_running_loop().call_later(_REQUEST_TIMEOUT, self._expire, connection)
        return connection

    def _expire(self, connection: web.RequestHandler) -> None:
        """Close a connection that has not sent a whole request."""
        if connection in self._silent:
            self._silent.discard(connection)
            connection.force_close()

    @web.middleware
    async def _note_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        transport = request.transport
        try:
            may_ask = transport is None or not self._manager.is_confined(peer_of(transport).pid)
        # It is unknown who asks: the process has ended, or no descriptor is left to look at it.
        except OSError as error:
            return error_response(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "unavailable",
                f"cannot tell which process asks: {error.strerror}",
            )
        if not may_ask:
            return error_response(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                "a plugin in a sandbox may not administer its host",
            )
        return await handler(request)

    def descriptors(self) -> list[int]:
        """Return those of its connections, which forked children must not hold."""
        server = self._runner.server if self._runner is not None else None
        connections = server.connections if server is not None else []
        transports = [one.transport for one in connections if one.transport is not None]
        sockets = [one.get_extra_info("socket") for one in transports]
        return [one.fileno() for one in sockets if one is not None and one.fileno() >= 0]

    async def stop(self) -> None:
        """Stop listening, close every connection and unlink the socket. May be called twice."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        runner, self._runner = self._runner, None
        private, self._socket = self._socket, None
        try:
            if runner is not None:
                await runner.cleanup()
        finally:
            if private is not None:
                private.close()


def _http_log() -> logging.Logger:
    """Return the log of the HTTP server, in which a bad request is one line."""
    log = logging.getLogger(f"{__name__}.http")
    if not log.filters:
        log.addFilter(_shorten)
    return log


def _shorten(record: logging.LogRecord) -> bool:
    """Leave out the traceback of what a client did wrong: it is not our mistake."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "bad request: %s", (error.message[:_SHOWN_CHARS],)
    return True


def _unavailable(words: str) -> bytes:
    return raw_error_response(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", words)
