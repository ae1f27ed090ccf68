"""A shaken-hands connection: a lane, a dialect, and who is at the other end."""

from __future__ import annotations

import socket
import struct
import sys
import time
from asyncio import Future, Transport
from typing import Any, Protocol

import msgspec
import orjson

from vconnect._framing import HEADER_BYTES, encode_frame

from ._lane import Lane
from .messages import (
    CANCEL,
    Dialect,
    Handshake,
    is_reserved,
    normalize_answer,
    reply_error,
)

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
    """The bounds of one connection; see `vconnect.settings.model.Settings`."""

    window: int
    max_queued: int
    max_notified: int
    max_abandoned: int
    stuck_after: float
    max_frame_bytes: int


class LostEvent(msgspec.Struct, frozen=True):
    """An event that was in flight when its session ended.

    Attributes:
        event: Its name.
        payload: What came with it.
        frame: As a classic connection gets it, whatever the dialect.
    """

    event: str
    payload: Any
    frame: bytes


class SessionOwner(Protocol):
    """Who hears of a session."""

    def detached(self, session: Session, error: Exception | None) -> None:
        """Hear of its end, once."""

    def called(self, session: Session, message: dict[str, Any]) -> None:
        """Hear of what a native plugin asks of the host."""


class Session:
    """One plugin's connection from its handshake to its end.

    Args:
        handshake: What the plugin said of itself.
        peer: Its process.
        lane: The connection, still before its acknowledgment.
        limits: Bounds for the lane.
        owner: Who hears of calls and of the end.

    Attributes:
        dialect: What both speak; agreed at the handshake.
        subscriptions: Events, families and wildcards that it is told beside its capabilities.
        call: `Lane.call`; this one and the next three are called for every event.
        request: `Lane.request`.
        deliver: `Lane.deliver`.
        tell: `Lane.tell`.
    """

    def __init__(
        self,
        handshake: Handshake,
        peer: Peer,
        lane: Lane,
        limits: LaneLimits,
        owner: SessionOwner,
    ) -> None:
        self.handshake = handshake
        self.peer = peer
        self.dialect = handshake.dialect
        self.subscriptions: tuple[str, ...] = ()
        self.connected_at = time.time()
        self._lane = lane
        self._limits = limits
        self._owner = owner
        self.call = lane.call
        self.request = lane.request
        self.deliver = lane.deliver
        self.tell = lane.tell

    def open(self, acknowledgment: bytes) -> None:
        """Acknowledge the handshake, and take frames as answers from now on."""
        limits = self._limits
        self._lane.serve(
            self,
            self.handshake.plugin,
            window=limits.window,
            max_queued=limits.max_queued,
            max_notified=limits.max_notified,
            max_abandoned=limits.max_abandoned,
            stuck_after=limits.stuck_after,
            read_data=self._read_data,
            native=self.is_native,
        )
        self._lane.send(acknowledgment)

    @property
    def is_native(self) -> bool:
        """Whether it speaks the native dialect."""
        return self.dialect is Dialect.NATIVE

    def send(self, message: dict[str, Any]) -> None:
        """Reply to a call.

        Raises:
            PayloadError: It is not JSON, or too large.
        """
        self._lane.reply(encode_frame(message, self._limits.max_frame_bytes))

    def room(self) -> Future[None]:
        """Return a future that is done as soon as a notification finds room, or at the end."""
        return self._lane.room()

    def drop_cancelled(self) -> None:
        """Look for calls whose caller went away; a native plugin is told."""
        self._lane.sweep()

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

    @property
    def answered(self) -> int:
        """Events that it has answered."""
        return self._lane.answered

    def lost_events(self) -> list[LostEvent]:
        """Return the events that were in flight when it ended; the host's own are left out."""
        lost = []
        for frame in self._lane.lost:
            message = orjson.loads(frame[HEADER_BYTES:])
            if not is_reserved(message["event"]):
                lost.append(LostEvent(message["event"], message["payload"], frame))
        return lost

    @property
    def dropped(self) -> int:
        """Notifications that found the queue full."""
        return self._lane.dropped

    @property
    def late(self) -> int:
        """Answers that came when nobody waited for them any more."""
        return self._lane.late

    @property
    def unasked(self) -> int:
        """Answers that belong to no event."""
        return self._lane.unasked

    # What the lane calls.

    def called(self, message: dict[str, Any]) -> None:
        """Pass on what the plugin asks."""
        self._owner.called(self, message)

    def abandoned(self, number: int) -> None:
        """Tell a native plugin that nobody waits for its reply any more."""
        self._lane.send(encode_frame({"event": CANCEL, "payload": {"id": number}}))

    def disconnected(self, error: Exception | None) -> None:
        """Pass the end on."""
        self._owner.detached(self, error)

    def _read_data(self, message: dict[str, Any]) -> Any:
        answer = normalize_answer(message)
        if answer.ok:
            return answer.data
        raise reply_error(self.handshake.plugin, answer)


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
