"""Sessions whose other end is in the test's hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
import uvloop

from vconnect.sockets.credentials import Peer
from vconnect.wire._lane import Lane
from vconnect.wire._latency import Rows
from vconnect.wire._stream import ReadBuffer
from vconnect.wire.messages import EVENT_NAMES, Handshake
from vconnect.wire.session import LaneLimits, Session

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
NAME = EVENT_NAMES["message.incoming"]


class NotGreeted:
    """Owns the stream before its session."""

    def connected(self, stream: object) -> None:
        pass

    def message(self, message: object) -> None:
        raise AssertionError("the lane serves before anything is said")

    def disconnected(self, error: Exception | None) -> None:
        raise AssertionError("the lane serves before its end")

    def broken(self, error: Exception) -> None:
        raise AssertionError("the lane serves before anything is said")


class Ends:
    """Owns the session: hears of its end."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def detached(self, session: Session, error: Exception | None) -> None:
        self._ended.set()

    def called(self, session: Session, payload: bytes) -> bool:
        raise AssertionError("a classic plugin calls nothing")

    def held_loop(self, session: Session, seconds: float) -> None:
        raise AssertionError("nothing takes long here")

    def charged(self, session: Session, seconds: float) -> None:
        """On a busy machine anything may take long."""

    def became_ready(self, session: Session) -> None:
        raise AssertionError("a classic plugin is ready at once")


class Wire:
    """A session, and the plugin's end of its connection in the test's hand."""

    def __init__(self, session: Session, end: socket.socket) -> None:
        self.session = session
        self._end = end
        self._loop = asyncio.get_running_loop()

    def request(self, payload: object = None) -> asyncio.Future[object]:
        return self.session.request(NAME, payload, 10.0)

    def hang_up(self) -> None:
        self._end.close()

    async def event(self) -> dict[str, object]:
        size = int.from_bytes(await self._loop.sock_recv(self._end, 4), "big")
        return orjson.loads(await self._loop.sock_recv(self._end, size))

    async def answer(self, *answers: bytes) -> None:
        frames = [len(answer).to_bytes(4, "big") + answer for answer in answers]
        await self._loop.sock_sendall(self._end, b"".join(frames))


@asynccontextmanager
async def connected(
    plugin: str = "example", window: int = 64, rows: Rows | None = None
) -> AsyncIterator[Wire]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ended = asyncio.Event()
    lane = Lane(NotGreeted(), ReadBuffer(), 1 << 16)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: lane, sock=ours)
    limits = LaneLimits(
        window=window,
        max_queued=8,
        max_notified=8,
        max_abandoned=8,
        stuck_after=30,
        max_frame_bytes=1 << 16,
    )
    session = Session(
        Handshake(plugin=plugin, capabilities=("*",)),
        Peer(1, 1),
        lane,
        limits,
        Ends(ended),
        rows=rows,
    )
    session.open(b"\0\0\0\2{}")
    try:
        wire = Wire(session, theirs)
        await wire.event()  # the acknowledgment
        yield wire
    finally:
        transport.abort()
        await ended.wait()
        theirs.close()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    for loop_factory in LOOPS:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(scenario())
