"""Fuzz whole sessions: no bytes of a plugin may hold the loop, fill the memory or lose an answer.

The input is a list of moves, not of bytes: a frame that is nearly right costs more than one that is
refused at its first byte. A frame that takes more than 50 ms of processor time is a finding.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from vconnect._framing import Event
from vconnect.wire._inflight import ByteBudget
from vconnect.wire._lane import Lane
from vconnect.wire._stream import ReadBuffer
from vconnect.wire.messages import EVENT_NAMES, normalize_answer

_LONGEST_FRAME_S = 0.05
_MOST_GROWTH_KIB = 64 * 1024
_MAX_MOVES = 64
_MAX_ANSWER = 4 * 1024 * 1024
# What frames are made of, many times over.
_PIECES = (
    b"[],",
    b"{},",
    b"0,",
    b'"k":0,',
    b'"id":1,"status":"ok",',
    b"1234567890123456789,",
    b'"\\u00e9",',
    b"[[[",
    b"null,",
    b'","',
)
_NAME = EVENT_NAMES["e"]


class _Transport:
    """A transport to nowhere."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._is_closed = False
        self.is_paused = False

    def get_extra_info(self, _: str) -> Any:
        return self

    def fileno(self) -> int:
        return -1

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, _: bytes) -> None:
        pass

    def pause_reading(self) -> None:
        assert not self.is_paused, "paused twice"
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused, "resumed twice"
        self.is_paused = False

    def abort(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            asyncio.get_running_loop().call_soon(self._lane.connection_lost, None)

    close = abort


class _Owner:
    """A session that takes everything, and serves each call at once."""

    def __init__(self) -> None:
        self.lane: Lane | None = None
        self.error: Exception | None = None

    def connected(self, _: Any) -> None: ...
    def message(self, _: Any) -> None: ...
    def broken(self, _: Exception) -> None: ...
    def charged(self, _: float) -> None: ...
    def called(self, payload: bytes) -> bool:
        assert self.lane is not None
        self.lane.read_call(payload)
        return True

    def unread_call(self, _: int, __: Exception) -> None: ...
    def abandoned(self, _: int) -> None: ...
    def became_ready(self) -> None: ...
    def held_loop(self, _: float) -> None: ...

    def writable(self) -> None: ...

    def end_reason(self) -> str:
        return "it ended"

    def disconnected(self, error: Exception | None) -> None:
        self.error = error


def _read_data(message: dict[str, Any]) -> Any:
    return normalize_answer(message).data


class Play:
    """One session, and the moves of both sides in it."""

    def __init__(self, *, native: bool) -> None:
        self.total = ByteBudget(1 << 24)
        self.owner = _Owner()
        self.lane = self.owner.lane = Lane(self.owner, ReadBuffer(), 64 * 1024)
        self._transport = _Transport(self.lane)
        self.lane.connection_made(self._transport)  # type: ignore[arg-type]
        self.lane.serve(
            self.owner,
            "fuzz",
            window=8,
            max_queued=8,
            max_abandoned=16,
            stuck_after=30.0,
            native=native,
            read_data=_read_data,
            max_queued_bytes=1 << 20,
            total=self.total,
            max_frame_bytes=1 << 20,
            max_answer_bytes=_MAX_ANSWER,
            max_values=32_768,
            max_keys=8192,
        )
        self.calls: list[asyncio.Future[Any]] = []
        self.longest_s = 0.0

    def ask(self, size: int) -> None:
        """Send an event, by any of the ways."""
        message = Event(_NAME, "x" * size)
        ways: tuple[Callable[[], Any], ...] = (
            lambda: self.calls.append(self.lane.request(_NAME, "x" * size, 60.0)),
            lambda: self.calls.append(self.lane.call(message, time.monotonic() + 60)),
            lambda: self.lane.tell(message, "drop_oldest"),
            lambda: self.calls and self.calls[size % len(self.calls)].cancel(),
        )
        try:
            ways[size % len(ways)]()
        except Exception as error:
            if type(error).__module__ != "vconnect.errors":
                raise

    def receive(self, data: bytes) -> None:
        """Let the peer's bytes arrive, as many at a time as are read at once."""
        while data and not self.lane.is_closing:
            if self._transport.is_paused:
                self._read_on()
                continue
            room = self.lane.get_buffer(-1)
            piece, data = data[: len(room)], data[len(room) :]
            room[: len(piece)] = piece
            self._take_time(lambda piece=piece: self.lane.buffer_updated(len(piece)))

    def _read_on(self) -> None:
        """Let time pass until the peer is read from again."""
        self.lane.charge_work(-1.0)
        self.lane.end_rest()
        self._take_time(self.lane.read_on)

    def _take_time(self, work: Callable[[], None]) -> None:
        began = time.thread_time()
        work()
        self.longest_s = max(self.longest_s, time.thread_time() - began)


def moves(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the moves: a kind, and what it is made of."""
    for at in range(0, min(len(data), 4 * _MAX_MOVES), 4):
        yield data[at], data[at + 1 : at + 4].ljust(3, b"\0")


def frame_of(kind: int, choice: bytes) -> bytes:
    """Build a frame: an envelope around one of the pieces, repeated."""
    piece = _PIECES[choice[0] % len(_PIECES)] * (1 << choice[1] % 19)
    body = piece[: _MAX_ANSWER - 256]
    number = str(choice[2]).encode()
    payload = (
        b'{"id":' + number + b',"status":"ok","data":[' + body + b"0]}",
        b'{"data":[' + body + b'0],"status":"ok","id":' + number + b"}",
        b'{"call":"log","params":{"fields":{' + body + b'"z":0}}}',
        b'{"id":' + number + b',"call":"x","params":[' + body + b"0]}",
        b'{"status":"error","message":"' + body.replace(b'"', b"'") + b'","id":' + number + b"}",
        b"{" + body + b'"status":"ok"}',
        body,
    )[kind % 7]
    payload = payload or b"{}"
    return len(payload).to_bytes(4, "big") + payload


def check(data: bytes) -> float:
    """Play a session.

    Returns:
        The longest time that one read took, in seconds of the processor.

    Raises:
        AssertionError: It took too long or too much, or something was left at the end.
    """
    with asyncio.Runner() as runner:
        return runner.run(_play(data))


async def _play(data: bytes) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    play = Play(native=bool(data[:1] and data[0] & 1))
    for kind, choice in moves(data[1:]):
        if kind % 3 == 0:
            play.ask(int.from_bytes(choice, "big") % 200_000)
        else:
            play.receive(frame_of(kind, choice))
        if kind % 16 == 0:
            await asyncio.sleep(0)
        assert play.lane.queued_bytes >= 0
    play.lane.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert play.total.used == 0, f"{play.total.used} bytes are held by nobody"
    assert all(call.done() for call in play.calls), "a call is never answered"
    for call in play.calls:
        call.cancelled() or call.exception()
    assert play.longest_s < _LONGEST_FRAME_S, f"a read took {play.longest_s * 1000:.0f} ms"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < _MOST_GROWTH_KIB, f"the memory grew by {grown} KiB"
    return play.longest_s


def main() -> None:
    """Run until a crash, or for as long as the options of libFuzzer allow."""
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
