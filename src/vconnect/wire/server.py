"""The host's Unix socket: private from the start, protected by a lock, with a gatekeeper."""

# `bind_private_socket` serves both the plugin socket and the administration socket.
# `UnixSocketServer` listens, reads each connection's handshake, and asks its gatekeeper to decide.

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from vconnect._framing import encode_frame
from vconnect.descriptors import keep_from_children, none_left
from vconnect.errors import HandshakeError, PayloadError, RemoteProtocolError
from vconnect.settings.paths import absolute_path
from vconnect.sockets.acceptor import Acceptor
from vconnect.sockets.credentials import Peer, peer_of
from vconnect.sockets.listener import Listener
from vconnect.sockets.pace import PaceOfEach, session_of
from vconnect.sockets.private_socket import PrivateSocket, bind_private_socket

from ._inflight import ByteBudget
from ._lane import Lane
from ._latency import Rows
from ._stream import ReadBuffer
from .messages import Handshake, claimed_name, parse_handshake, protobuf_name, refusal
from .refusals import Refusals
from .session import LaneLimits, Session, SessionOwner
from .waiting_room import WaitingRoom

MAX_HANDSHAKE_BYTES = 64 * 1024
# Far more JSON values than there are keys and capabilities. Nobody has let the peer in yet.
_MAX_HANDSHAKE_VALUES = 4096
"""The maximum payload of a frame from a peer that has not been admitted yet."""

HELD_UP_S = 1.0
"""A deadline that is noticed this many seconds late says that the host itself stood still."""
# Unacknowledged connections of one session: the burst, and the rate per second. A plugin needs one.
_BURST_OF_ONE = 256
_PER_SECOND_OF_ONE = 20
_PROTOBUF = (
    "{} speaks the protobuf wire of v-connect-im, as kits of 2025-12-09 and later do; "
    "this host speaks JSON: build the plugin with an earlier kit, or with one of vconnect's SDKs"
)

_log = logging.getLogger(__name__)


class Admission(msgspec.Struct, frozen=True):
    """What an admitted plugin gets.

    Attributes:
        acknowledgment: The answer to its handshake.
        limits: The limits of its connection; by default those of the server.
        rows: Where the durations of its events are recorded; by default nowhere.
    """

    acknowledgment: dict[str, Any]
    limits: LaneLimits | None = None
    rows: Rows | None = None


class Gatekeeper(SessionOwner, Protocol):
    """Decides about connections.

    The owner of a peer is looked up once for each connection that sends something, and passed to
    the other methods. Only the gatekeeper knows what it is.
    """

    def owner(self, peer: Peer) -> Any:
        """Return whose process connected, or ``None`` if that is unknown."""

    def knocked(self, peer: Peer) -> None:
        """Called when a process has connected, before it has sent anything."""

    def admit(self, handshake: Handshake, peer: Peer, owner: Any) -> Admission:
        """Admit a plugin, or raise `HandshakeError`."""

    def attached(self, session: Session, owner: Any) -> None:
        """Called when a session has been admitted and acknowledged."""

    def refused(self, owner: Any, error: HandshakeError) -> None:
        """Called when a connection has been refused, and its peer informed."""


class UnixSocketServer:
    """Listens for plugins and completes the handshake with those that the gatekeeper admits.

    Args:
        path: The socket's path.
        gatekeeper: Decides about connections.
        limits: The limits of each connection.
        handshake_timeout: Seconds from connection to handshake.
        listening: A socket that already listens on ``path``, opened by a service manager.
        total: What the events of all plugins together may hold, in bytes; by default no limit.
        identify: Finds out which process has connected, or raises `OSError` if it has ended.

    Attributes:
        path: The socket's absolute path.
        refusals: Refused connections.
        waiting: The connections that have not shaken hands.
        pace_of_each: The rate of connections of each session of processes.
    """

    def __init__(
        self,
        path: str | Path,
        gatekeeper: Gatekeeper,
        limits: LaneLimits,
        handshake_timeout: float,
        listening: socket.socket | None = None,
        total: ByteBudget | None = None,
        identify: Callable[[asyncio.Transport], Peer] = peer_of,
    ) -> None:
        self.gatekeeper = gatekeeper
        self.limits = limits
        self.handshake_timeout = handshake_timeout
        self.identify = identify
        self.refusals = Refusals()
        self.waiting = WaitingRoom()
        self.pace_of_each = PaceOfEach(_BURST_OF_ONE, _PER_SECOND_OF_ONE)
        self.path = absolute_path(path)
        self._listening = listening
        self.total = total
        self._private: PrivateSocket | None = None
        self._listener: Listener | None = None
        self._buffer = ReadBuffer()
        # All connections, those before their handshake too: `close` ends them all.
        self._streams: set[Lane] = set()
        self._is_closed = False

    def bind(self) -> PrivateSocket:
        """Bind the socket, unless that is already done. Connections wait until `start`.

        Raises:
            SocketError: The socket cannot be bound; see `bind_private_socket`.
        """
        if self._private is None:
            self._private = bind_private_socket(self.path, self._listening)
        return self._private

    async def start(self) -> None:
        """Start listening. When this returns, plugins can connect.

        Raises:
            SocketError: The socket cannot be bound; see `bind_private_socket`.
        """
        # The lock is taken with the bind, so this is the only host of this path from here on.
        private = self.bind()
        try:
            self._listener = Listener(private, self._listen)
        except BaseException:
            await self.close()
            raise
        keep_from_children(self)
        _log.info("unix socket server listening on %s", private.path)

    def descriptors(self) -> list[int]:
        """Return those of its connections, which forked children must not hold."""
        transports = [stream.transport for stream in self._streams]
        sockets = [one.get_extra_info("socket") for one in transports if one is not None]
        return [one.fileno() for one in sockets if one is not None and one.fileno() >= 0]

    async def close(self) -> None:
        """Stop listening, end every connection, unlink the socket. May be called twice."""
        self._is_closed = True
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        for stream in list(self._streams):
            stream.abort()
        # `abort` only schedules the end; one iteration of the loop later it has been reported.
        while self._streams:
            await asyncio.sleep(0)
        self.refusals.close()
        self.release()

    def release(self) -> None:
        """Unlink the socket and release its lock, without waiting for connections to end."""
        if self._private is not None:
            self._private.close()
            self._private = None

    def _listen(self, bound: socket.socket) -> Acceptor:
        return Acceptor(
            bound,
            self._new_connection,
            _overloaded,
            "the plugin socket",
            pace_of_each=self.pace_of_each,
        )

    def _new_connection(self) -> Lane:
        # One read buffer for all connections of the loop, see `ReadBuffer`.
        return Lane(
            _Greeting(self),
            self._buffer,
            MAX_HANDSHAKE_BYTES,
            "before the handshake",
            _MAX_HANDSHAKE_VALUES,
        )

    # Called by greetings.

    def opened(self, stream: Lane) -> None:
        """Add a connection; abort one that was being accepted while the server closed."""
        self._streams.add(stream)
        if self._is_closed:
            stream.abort()

    def ended(self, stream: Lane) -> None:
        """Remove a connection."""
        self._streams.discard(stream)

    def refuse(self, stream: Lane, error: HandshakeError, name: str, peer: Peer) -> None:
        """Send the reason, close, and log it."""
        # Sent before closing, since it is all that the plugin's author gets to see.
        stream.send(encode_frame(refusal(error)))
        stream.close()
        self.refusals.tell(name, peer.pid, error)


class _Greeting:
    """A connection before its session: waits for the handshake, asks, hands over or refuses.

    Afterwards it forwards what the session reports.
    """

    # One per connection, for as long as that lives.
    __slots__ = ("_due_at", "_peer", "_server", "_stream", "_timer")

    def __init__(self, server: UnixSocketServer) -> None:
        self._server = server
        self._stream: Lane | None = None
        self._peer: Peer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0

    def connected(self, stream: Lane) -> None:
        self._stream = stream
        self._server.opened(stream)
        transport = stream.transport
        assert transport is not None
        try:
            self._peer = self._server.identify(transport)
        except OSError as error:
            self._refuse_unidentified(stream, error)
            return
        self._server.waiting.enter(self, self._peer.pid, self._turn_away)
        if stream.is_closing:
            return
        self._server.gatekeeper.knocked(self._peer)
        self._expect(self._server.handshake_timeout)

    def message(self, message: Any) -> None:
        self._stop_waiting()
        assert self._stream is not None
        assert self._peer is not None
        gatekeeper = self._server.gatekeeper
        # Looked up before parsing, because a refusal of garbage is reported to the owner as well.
        try:
            owner = gatekeeper.owner(self._peer)
        except OSError as error:
            self._refuse_unidentified(self._stream, error)
            return
        # Refusals without a name share one entry in the log's limit.
        name = claimed_name(message)
        try:
            handshake = parse_handshake(message)
            admission = gatekeeper.admit(handshake, self._peer, owner)
            # Encoded before the session exists, so that a failure is an ordinary refusal.
            limits = admission.limits or self._server.limits
            welcome = _encode_welcome(admission, limits.max_frame_bytes)
        except HandshakeError as error:
            self._refuse(error, owner, name)
            return
        # From here on the lane's owner is the session; this object only forwards its reports.
        session = Session(
            handshake, self._peer, self._stream, limits, self, self._server.total, admission.rows
        )
        session.open(welcome)
        gatekeeper.attached(session, owner)
        # Limited otherwise, and a program may serve any number of plugins.
        self._server.pace_of_each.give_back(session_of(self._peer.pid))

    def called(self, session: Session, payload: bytes) -> bool:
        return self._server.gatekeeper.called(session, payload)

    def held_loop(self, session: Session, seconds: float) -> None:
        self._server.gatekeeper.held_loop(session, seconds)

    def charged(self, session: Session, seconds: float) -> None:
        self._server.gatekeeper.charged(session, seconds)

    def became_ready(self, session: Session) -> None:
        self._server.gatekeeper.became_ready(session)

    def detached(self, session: Session, error: Exception | None) -> None:
        assert self._stream is not None
        self._server.ended(self._stream)
        self._server.gatekeeper.detached(session, error)

    def broken(self, error: RemoteProtocolError) -> None:
        """Refuse a first frame that is invalid, or not a JSON object."""
        # A later wire of the original server, whose plugins would not understand the reason.
        if name := protobuf_name(error.head):
            self._refuse_unread("bad_handshake", _PROTOBUF.format(name), name)
        else:
            self._refuse_unread("bad_handshake", f"expected a handshake: {error}")

    def disconnected(self, error: Exception | None) -> None:  # noqa: ARG002 - the owner's interface
        self._stop_waiting()
        if self._stream is not None:
            self._server.ended(self._stream)

    def _expect(self, timeout: float) -> None:
        """Allow ``timeout`` seconds for the handshake."""
        loop = asyncio.get_running_loop()
        self._due_at = loop.time() + timeout
        self._timer = loop.call_at(self._due_at, self._expire)

    def _expire(self) -> None:
        timeout = self._server.handshake_timeout
        late = asyncio.get_running_loop().time() - self._due_at
        # The host was held up: the handshake may lie in the socket, and the peer gets its time.
        if late >= HELD_UP_S:
            self._expect(min(late, timeout))
            return
        self._refuse_unread("handshake_timeout", f"no handshake within {timeout:g} s")

    def _refuse_unread(self, code: str, message: str, name: str = "") -> None:
        """Refuse a peer that has not sent anything readable."""
        assert self._peer is not None
        self._stop_waiting()
        owner = self._server.gatekeeper.owner(self._peer)
        self._refuse(HandshakeError(code, message), owner, name)

    def _refuse(self, error: HandshakeError, owner: Any, name: str = "") -> None:
        assert self._stream is not None
        assert self._peer is not None
        self._server.refuse(self._stream, error, name, self._peer)
        self._server.gatekeeper.refused(owner, error)

    def _refuse_unidentified(self, stream: Lane, error: OSError) -> None:
        """End a connection whose process is unknown: it cannot be matched with a plugin."""
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            _log.debug("a connection without a process was closed: %s", error)
            stream.abort()
            return
        assert stream.transport is not None
        self._peer = peer_of(stream.transport)
        self._turn_away(none_left())

    def _turn_away(self, words: str) -> None:
        """Refuse a connection because there are too many, at little cost."""
        assert self._stream is not None
        assert self._peer is not None
        self._stop_waiting()
        self._server.refuse(self._stream, HandshakeError("overloaded", words), "", self._peer)

    def _stop_waiting(self) -> None:
        self._server.waiting.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _overloaded(words: str) -> bytes:
    return encode_frame(refusal(HandshakeError("overloaded", words)))


def _encode_welcome(admission: Admission, max_frame_bytes: int) -> bytes:
    try:
        return encode_frame(admission.acknowledgment, max_frame_bytes)
    except PayloadError as error:
        raise HandshakeError("bad_config", f"its configuration cannot be sent: {error}") from error
