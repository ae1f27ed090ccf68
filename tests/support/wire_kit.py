"""Streams of the compiled core at one end of a socket pair, at the other a peer by hand."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from vconnect.wire._lane import Lane
from vconnect.wire._stream import FrameStream, ReadBuffer

if TYPE_CHECKING:
    from vconnect.wire._lane import LaneOwner

PATIENCE_S = 10.0
LIMITS: dict[str, Any] = {
    "window": 8,
    "max_queued": 16,
    "max_abandoned": 8,
    "stuck_after": 30.0,
}


def raw_frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def frame(message: Any) -> bytes:
    return raw_frame(json.dumps(message).encode())


def soon(seconds: float = PATIENCE_S) -> float:
    """A deadline, as the lane counts them."""
    return time.monotonic() + seconds


async def until(condition: Callable[[], Any], what: str = "") -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S} s in vain: {what or condition}") from None


class Owner:
    """Writes down what a stream says, and does what a test asks for at each message."""

    def __init__(self, on_message: Callable[[Owner, Any], None] | None = None) -> None:
        self.stream: Any = None
        self.messages: list[Any] = []
        self.ends: list[Exception | None] = []
        self.breaks: list[Exception] = []
        self.charged_s: list[float] = []
        self._on_message = on_message

    def connected(self, stream: Any) -> None:
        assert self.stream is None
        self.stream = stream

    def message(self, message: Any) -> None:
        self.messages.append(message)
        if self._on_message is not None:
            self._on_message(self, message)

    def broken(self, error: Exception) -> None:
        self.breaks.append(error)

    def end_reason(self) -> str:
        return "its connection ended"

    def writable(self) -> None: ...

    def charged(self, *what: Any) -> None:
        self.charged_s.append(what[-1])

    def disconnected(self, error: Exception | None) -> None:
        self.ends.append(error)

    async def end(self) -> Exception | None:
        await until(lambda: self.ends, "the stream ends")
        assert len(self.ends) == 1
        return self.ends[0]


class Peer:
    """The other end: bytes as the test wants them."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._rest = b""

    async def write(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._loop.sock_sendall(self.sock, data)

    async def answer(self, *messages: Any) -> None:
        await self.write(b"".join(frame(message) for message in messages))

    async def read(self) -> Any:
        """The next frame's message; ``None`` at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            header = await self._exactly(4)
            if header is None:
                return None
            payload = await self._exactly(int.from_bytes(header, "big"))
        assert payload is not None, "the stream ended inside a frame"
        return json.loads(payload)

    async def read_end(self) -> bytes:
        """Everything up to the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._more():
                pass
        data, self._rest = self._rest, b""
        return data

    def close(self) -> None:
        self.sock.close()

    async def _exactly(self, size: int) -> bytes | None:
        while len(self._rest) < size:
            if not await self._more():
                return None
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def _more(self) -> bool:
        try:
            data = await self._loop.sock_recv(self.sock, 1 << 18)
        except ConnectionResetError:  # how a Unix socket says that bytes were left unread
            data = b""
        self._rest += data
        return bool(data)


@asynccontextmanager
async def connected(stream: Any, owner: Owner) -> AsyncIterator[Peer]:
    """Connect a stream, and see to it that both ends are closed."""
    ours, theirs = socket.socketpair()
    peer = Peer(theirs)
    try:
        ours.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: stream, sock=ours)
        yield peer
    finally:
        stream.abort()
        peer.close()
        await owner.end()


@asynccontextmanager
async def open_stream(
    owner: Owner, max_frame_bytes: int = 1 << 24
) -> AsyncIterator[tuple[FrameStream, Peer]]:
    stream = FrameStream(owner, ReadBuffer(), max_frame_bytes)
    async with connected(stream, owner) as peer:
        yield stream, peer


@asynccontextmanager
async def open_lane(
    owner: Owner | None = None, max_frame_bytes: int = 1 << 24, **limits: Any
) -> AsyncIterator[tuple[Lane, Peer, Any]]:
    """A lane that serves already, and its owner."""
    owner = owner or Owner()
    lane = Lane(owner, ReadBuffer(), max_frame_bytes)
    async with connected(lane, owner) as peer:
        lane.serve(cast("LaneOwner", owner), "example", **{**LIMITS, **limits})
        yield lane, peer, owner


async def failure(future: asyncio.Future[Any]) -> Exception:
    """Wait until the future has failed, and return why; the test fails if it has not."""
    async with asyncio.timeout(10):
        await asyncio.wait([future])
    error = future.exception()
    assert isinstance(error, Exception)
    return error
