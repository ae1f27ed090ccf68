"""The host's Unix socket: private from its first instant, held by a lock, guarded at its door.

`bind_private_socket` serves the plugins' socket and the administration's alike;
`UnixSocketServer` listens, reads each connection's handshake and asks its gatekeeper who may in.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

from vconnect._framing import encode_frame
from vconnect.errors import HandshakeError, PayloadError, RemoteProtocolError, SocketError
from vconnect.settings.paths import absolute_path

from ._lane import Lane
from ._stream import ReadBuffer
from .messages import Handshake, parse_handshake, refusal
from .private_socket import (
    PrivateSocket,
    bind_private_socket,
)
from .session import LaneLimits, Peer, Session, SessionOwner, peer_of

_WATCH_SECONDS = 1.0
_REFUSAL_LOG_SECONDS = 60.0
_MAX_REFUSED_NAMES = 1024

_log = logging.getLogger(__name__)


class Admission(msgspec.Struct, frozen=True):
    """What a plugin gets that is let in.

    Attributes:
        acknowledgment: The answer to its handshake.
        limits: The bounds of its connection; by default those of the server.
    """

    acknowledgment: dict[str, Any]
    limits: LaneLimits | None = None


class Gatekeeper(SessionOwner, Protocol):
    """Decides about connections.

    The owner of a peer is looked up once for each connection that says something, and handed to
    the other calls: only the gatekeeper knows what it is.
    """

    def owner(self, peer: Peer) -> Any:
        """Return whose process connected, or ``None`` if that is not known."""

    def admit(self, handshake: Handshake, peer: Peer, owner: Any) -> Admission:
        """Let a plugin in, or raise `HandshakeError`."""

    def attached(self, session: Session, owner: Any) -> None:
        """Called when a session was admitted and acknowledged."""

    def refused(self, owner: Any, error: HandshakeError) -> None:
        """Called when a connection was refused, and its peer was told so."""


class UnixSocketServer:
    """Listens for plugins and shakes hands with those that the gatekeeper admits.

    Args:
        path: The socket's path.
        gatekeeper: Who decides.
        limits: Bounds of each connection.
        handshake_timeout: Seconds from connection to handshake.
        listening: A socket that listens on ``path`` already, opened by a service manager.

    Attributes:
        path: The socket's path, absolute.
        refusals: How many connections were refused.
    """

    def __init__(
        self,
        path: str | Path,
        gatekeeper: Gatekeeper,
        limits: LaneLimits,
        handshake_timeout: float,
        listening: socket.socket | None = None,
    ) -> None:
        self.gatekeeper = gatekeeper
        self.limits = limits
        self.handshake_timeout = handshake_timeout
        self.refusals = 0
        self.path = absolute_path(path)
        self._listening = listening
        self._private: PrivateSocket | None = None
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._buffer = ReadBuffer()
        self._streams: set[Lane] = set()
        self._refused: dict[str, float] = {}
        self._is_closed = False

    def bind(self) -> PrivateSocket:
        """Take hold of the socket, if that is not done yet: whoever connects has to wait.

        Raises:
            SocketError: The socket cannot be had; see `bind_private_socket`.
        """
        if self._private is None:
            self._private = bind_private_socket(self.path, self._listening)
        return self._private

    async def start(self) -> None:
        """Listen. When this returns, plugins may connect.

        Raises:
            SocketError: The socket cannot be had; see `bind_private_socket`.
        """
        private = self.bind()
        try:
            self._server = await self._listen(private.socket)
        except BaseException:
            await self.close()
            raise
        self._watch = asyncio.create_task(self._keep_bound(private), name="vconnect socket")
        _log.info("unix socket server listening on %s", private.path)

    async def close(self) -> None:
        """Stop listening, end every connection, unlink the socket. Safe to call twice."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for stream in list(self._streams):
            stream.abort()
        while self._streams:
            await asyncio.sleep(0)
        if self._private is not None:
            self._private.close()
            self._private = None

    async def _listen(self, bound: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(self._new_connection, sock=bound)

    def _new_connection(self) -> Lane:
        return Lane(_Greeting(self), self._buffer, self.limits.max_frame_bytes)

    async def _keep_bound(self, private: PrivateSocket) -> None:
        """Notice within seconds that the socket's file is gone, and bind it again.

        Connections go on: they do not need the file.
        """
        problem = ""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if private.is_intact():
                continue
            try:
                bound = private.rebind()
            except SocketError as error:
                if str(error) != problem:
                    problem = str(error)
                    _log.error("socket file lost and not restored: %s", error)
                continue
            problem = ""
            previous, self._server = self._server, await self._listen(bound)
            if previous is not None:
                previous.close()
            _log.warning("socket file %s had vanished; bound again", private.path)

    # What greetings call.

    def opened(self, stream: Lane) -> None:
        """Count a connection in; one that was being accepted while we closed goes at once."""
        self._streams.add(stream)
        if self._is_closed:
            stream.abort()

    def ended(self, stream: Lane) -> None:
        """Count a connection out."""
        self._streams.discard(stream)

    def refuse(self, stream: Lane, error: HandshakeError, name: str, peer: Peer) -> None:
        """Tell the peer why, close, and log it, at most once a minute for each name."""
        self.refusals += 1
        stream.send(encode_frame(refusal(error)))
        stream.close()
        now = time.monotonic()
        if now - self._refused.get(name, -_REFUSAL_LOG_SECONDS) < _REFUSAL_LOG_SECONDS:
            return
        if len(self._refused) >= _MAX_REFUSED_NAMES:
            self._refused.clear()
        self._refused[name] = now
        _log.warning(
            "refused a connection as %s from PID %s: %s",
            name or "(nameless)",
            peer.pid,
            error,
        )


class _Greeting:
    """A connection before its session: wait for the handshake, ask, hand over or refuse.

    After that it passes on what its session has to say.
    """

    __slots__ = ("_peer", "_server", "_stream", "_timer")

    def __init__(self, server: UnixSocketServer) -> None:
        self._server = server
        self._stream: Lane | None = None
        self._peer: Peer | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connected(self, stream: Lane) -> None:
        self._stream = stream
        self._server.opened(stream)
        transport = stream.transport
        assert transport is not None
        try:
            self._peer = peer_of(transport)
        except OSError:
            stream.abort()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._server.handshake_timeout, self._expire)

    def message(self, message: Any) -> None:
        self._stop_timer()
        assert self._stream is not None
        assert self._peer is not None
        gatekeeper = self._server.gatekeeper
        owner = gatekeeper.owner(self._peer)
        name = ""
        try:
            handshake = parse_handshake(message)
            name = handshake.plugin
            admission = gatekeeper.admit(handshake, self._peer, owner)
            limits = admission.limits or self._server.limits
            welcome = _encode_welcome(admission, limits.max_frame_bytes)
        except HandshakeError as error:
            self._refuse(error, owner, name)
            return
        session = Session(handshake, self._peer, self._stream, limits, self)
        session.open(welcome)
        gatekeeper.attached(session, owner)

    def called(self, session: Session, message: dict[str, Any]) -> None:
        self._server.gatekeeper.called(session, message)

    def detached(self, session: Session, error: Exception | None) -> None:
        assert self._stream is not None
        self._server.ended(self._stream)
        self._server.gatekeeper.detached(session, error)

    def broken(self, error: RemoteProtocolError) -> None:
        """Refuse a first frame that is no frame, or no JSON object."""
        self._refuse_unread("bad_handshake", f"expected a handshake: {error}")

    def disconnected(self, error: Exception | None) -> None:  # noqa: ARG002 - the owner's interface
        self._stop_timer()
        if self._stream is not None:
            self._server.ended(self._stream)

    def _expire(self) -> None:
        timeout = self._server.handshake_timeout
        self._refuse_unread("handshake_timeout", f"no handshake within {timeout:g} s")

    def _refuse_unread(self, code: str, message: str) -> None:
        """Refuse a peer that has not sent anything that could be read."""
        assert self._peer is not None
        self._stop_timer()
        owner = self._server.gatekeeper.owner(self._peer)
        self._refuse(HandshakeError(code, message), owner)

    def _refuse(self, error: HandshakeError, owner: Any, name: str = "") -> None:
        assert self._stream is not None
        assert self._peer is not None
        self._server.refuse(self._stream, error, name, self._peer)
        self._server.gatekeeper.refused(owner, error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _encode_welcome(admission: Admission, max_frame_bytes: int) -> bytes:
    try:
        return encode_frame(admission.acknowledgment, max_frame_bytes)
    except PayloadError as error:
        raise HandshakeError("bad_config", f"its configuration cannot be sent: {error}") from error
