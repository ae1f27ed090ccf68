"""A shaken-hands connection: a lane, a dialect, and who is at the other end."""

from __future__ import annotations

import socket
import struct
import sys
import time
from asyncio import Future, Transport
from collections.abc import Callable
from typing import Any

import msgspec

from ._framing import Delivery, Lane, encode_event
from .protocol import Dialect, Handshake, event_prefix, normalize_answer, reply_error

_MAX_PREFIXES = 4096

_HAS_PEERCRED = sys.platform == "linux"
# macOS, <sys/un.h>: the options that CPython does not name.
_SOL_LOCAL = 0
_LOCAL_PEERCRED = 1
_LOCAL_PEERPID = 2


class Peer(msgspec.Struct, frozen=True):
    """Who connected, as the kernel says."""

    pid: int
    uid: int


class LaneLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one connection; see `vconnect.config.Settings`."""

    window: int
    max_queued: int
    max_abandoned: int
    stuck_after: float
    max_frame_bytes: int


class Session:
    """One plugin's connection from its handshake to its end.

    Args:
        handshake: What the plugin said of itself.
        peer: Its process.
        lane: The connection, still before its acknowledgment.
        limits: Bounds for the lane.
        on_closed: Called once at the end, with the session and the error, if any.
    """

    def __init__(
        self,
        handshake: Handshake,
        peer: Peer,
        lane: Lane,
        limits: LaneLimits,
        on_closed: Callable[[Session, Exception | None], None],
    ) -> None:
        self.handshake = handshake
        self.peer = peer
        #: The native dialect is specified and not spoken yet: a plugin that asks for it reads in
        #: our acknowledgment, which names no version, that it is to go on in the classic one.
        self.dialect = Dialect.CLASSIC
        self.connected_at = time.time()
        self._lane = lane
        self._limits = limits
        self._on_closed = on_closed
        #: Bound once: these are called for every event.
        self.call: Callable[[bytes, float], Future[dict[str, Any]]] = lane.call
        self.request: Callable[[bytes, Any, float], Future[Any]] = lane.request
        self.deliver: Callable[[bytes, Delivery, float], None] = lane.deliver
        self.tell: Callable[[bytes], None] = lane.tell

    def open(self, acknowledgment: bytes) -> None:
        """Acknowledge the handshake, and take frames as answers from now on."""
        self._lane.serve(
            self,
            self.handshake.plugin,
            window=self._limits.window,
            max_queued=self._limits.max_queued,
            max_abandoned=self._limits.max_abandoned,
            stuck_after=self._limits.stuck_after,
            read_data=self._read_data,
        )
        self._lane.send(acknowledgment)

    def close(self) -> None:
        """Send what is gathered, then close."""
        self._lane.close()

    def abort(self, error: Exception | None = None) -> None:
        """Close at once; calls in flight fail with the reason."""
        self._lane.abort(error)

    @property
    def in_flight(self) -> int:
        """Events sent and not yet answered."""
        return self._lane.in_flight

    @property
    def queued(self) -> int:
        """Events that wait for a place in the window."""
        return self._lane.queued

    # What the lane calls.

    def connected(self, stream: Lane) -> None:
        """Never called: the lane was connected before it was handed over."""

    def message(self, message: dict[str, Any]) -> None:
        """Never called: a serving lane matches every frame itself."""

    def disconnected(self, error: Exception | None) -> None:
        """Pass the end on."""
        self._on_closed(self, error)

    def _read_data(self, message: dict[str, Any]) -> Any:
        answer = normalize_answer(message)
        if answer.ok:
            return answer.data
        raise reply_error(self.handshake.plugin, answer)


class _Prefixes(dict[str, bytes]):
    """What stands before an event's payload; worked out when its name comes first."""

    def __missing__(self, event: str) -> bytes:
        if len(self) >= _MAX_PREFIXES:
            self.clear()
        prefix = self[event] = event_prefix(event)
        return prefix


#: By event, for `Session.request`. Names come from callers, so there is an end to it.
CLASSIC_PREFIXES = _Prefixes()


def encode_classic_event(event: str, payload: Any, max_frame_bytes: int) -> bytes:
    """Encode an event for every classic session.

    Raises:
        PayloadError: The payload is not JSON, or too large.
    """
    return encode_event(CLASSIC_PREFIXES[event], payload, max_frame_bytes)


def peer_of(transport: Transport) -> Peer:
    """Read the credentials of the process that connected.

    Raises:
        OSError: It is gone already.
    """
    connection = transport.get_extra_info("socket")
    if _HAS_PEERCRED:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, _ = struct.unpack("=iII", raw)
        return Peer(pid, uid)
    pid = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
    _, uid = struct.unpack_from("=II", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76))
    return Peer(pid, uid)
