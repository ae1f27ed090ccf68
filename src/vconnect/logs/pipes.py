"""Reads a process's output at a limited rate, so that a flood does not block the event loop."""

# The idea: a plugin that floods must slow down itself, not the host. What passes the limits is
# split, parsed and recorded. The rest is only counted, and after each large read the pipe is left
# alone for a moment, so that it fills up and blocks its writer. The last lines of stderr are kept
# in any case, because they often say why a process exited.

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from vconnect.descriptors import keep_from_children

from .flood import COUNTED_BYTES_PER_SECOND
from .last_words import last_words
from .lines import LineSplitter
from .records import Stream
from .text import MAX_LINE_BYTES, decode_line

# The last lines of stderr that go into a crash report.
KEPT_LINES = 50
# The last lines in which the reason for an end is searched.
_SEARCHED_LINES = 2000

# Bytes per loop iteration. A line that passes costs about 20 µs, so 8 KiB of short lines are all
# that an iteration should bear; a suppressed line costs next to nothing.
_READ_BYTES = 8 * 1024
_FLOOD_BYTES = 64 * 1024
# Below this, removing and adding the reader would cost more than the pause saves. Seconds.
_SHORTEST_PAUSE = 0.001
# Reads of `drain`: 32 of 64 KiB cover a full pipe (64 KiB, at most 1 MiB by default on Linux), but
# not a grandchild that keeps on writing.
_DRAIN_READS = 32
# Enough for 50 lines of several hundred bytes each.
_TAIL_BYTES = 32 * 1024
# The last lines of stderr that are logged at the end, whatever the limits say.
_LAST_WORDS = 20


class LineLog(Protocol):
    """The destination of the lines: a plugin's log."""

    def room(self) -> int:
        """Return how many lines may pass now."""

    def write(self, stream: Stream, lines: list[bytes], skipped: int = 0) -> None:
        """Process lines, no more than `room` allowed, and the number of suppressed ones."""

    def tell_suppressed(self, *, at_once: bool = False) -> None:
        """Report how many lines were suppressed."""

    def write_last(self, stream: Stream, lines: list[bytes]) -> None:
        """Process lines that were counted as suppressed, outside of the limits."""


class PluginOutput:
    """The output pipes of one process.

    Args:
        log: The plugin's log, which outlives the process.
        loop: The event loop that reads the pipes.
    """

    def __init__(self, log: LineLog, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._pipes: dict[int, _Pipe] = {}
        self._tail = _Tail()
        # How many of the last lines on stderr were suppressed, without one in between that was not.
        self._unlogged = 0
        keep_from_children(self)

    def descriptors(self) -> list[int]:
        """Return its pipes, which forked children must not hold."""
        return list(self._pipes)

    @property
    def last_stderr(self) -> tuple[str, ...]:
        """The last lines of standard error, even suppressed ones: they often say what failed."""
        return self._tail.lines()

    def last_words(self, *, only_errors: bool = False) -> str:
        """Return the reason that the end of standard error gives; see `last_words`."""
        # All that is kept, because a dump of many stacks begins with its cause.
        lines = tuple(map(decode_line, self._tail.raw_lines(_SEARCHED_LINES)))
        return last_words(lines, only_errors=only_errors)

    def add(self, fd: int, stream: Stream) -> None:
        """Start reading a pipe. This object closes it."""
        # A read must never block the loop, even if the selector was wrong about it.
        os.set_blocking(fd, False)
        self._pipes[fd] = _Pipe(stream)
        self._loop.add_reader(fd, self._readable, fd)

    def drain(self) -> None:
        """Read what is available now. A grandchild that keeps a pipe open delays nothing."""
        for fd in list(self._pipes):
            reads = 0
            while reads < _DRAIN_READS and fd in self._pipes and self._read(fd, _FLOOD_BYTES):
                reads += 1

    def close(self) -> None:
        """Read what is left, accept lines without an end, and close the pipes."""
        self.drain()
        for fd in list(self._pipes):
            self._close(fd)
        # Whatever floods the log before its end, what it says at last is what an operator needs.
        if self._unlogged:
            count, self._unlogged = min(self._unlogged, _LAST_WORDS), 0
            self._log.write_last("stderr", self._tail.raw_lines()[-count:])
        self._log.tell_suppressed(at_once=True)

    def feed(self, pipe: _Pipe, data: bytes) -> bool:
        """Process bytes, and return whether some of them exceeded the limits."""
        if pipe.stream == "stderr":
            self._tail.add(data)
        # The rate is shared by both pipes: whichever is read first uses it.
        lines, skipped = pipe.splitter.feed(data, self._log.room())
        self._record(pipe, lines, skipped)
        return skipped > 0 or pipe.splitter.is_skipping

    def _readable(self, fd: int) -> None:
        pipe = self._pipes[fd]
        # Remembered from the last read: larger reads are worthwhile only if little of them passes.
        got = self._read(fd, _FLOOD_BYTES if pipe.is_flooding else _READ_BYTES)
        pause = got / COUNTED_BYTES_PER_SECOND
        if pipe.is_flooding and pause >= _SHORTEST_PAUSE:
            # The pipe fills up meanwhile, which makes its writer wait.
            self._loop.remove_reader(fd)
            pipe.pause = self._loop.call_later(pause, self._resume, fd)

    def _resume(self, fd: int) -> None:
        self._pipes[fd].pause = None
        self._loop.add_reader(fd, self._readable, fd)

    def _read(self, fd: int, size: int) -> int:
        """Read once. Return the number of bytes, 0 if there are none or at the end of file."""
        try:
            data = os.read(fd, size)
        except BlockingIOError:
            return 0
        pipe = self._pipes[fd]
        if data:
            pipe.is_flooding = self.feed(pipe, data)
        else:
            self._close(fd)
        return len(data)

    def _close(self, fd: int) -> None:
        pipe = self._pipes.pop(fd)
        if pipe.pause is None:
            self._loop.remove_reader(fd)
        else:
            pipe.pause.cancel()
        os.close(fd)
        rest = pipe.splitter.finish()
        if rest:
            # A last line without its end is often the reason for the exit, but it obeys the limits
            # too.
            has_room = self._log.room() > 0
            self._record(pipe, [rest] if has_room else [], 0 if has_room else 1)

    def _record(self, pipe: _Pipe, lines: list[bytes], skipped: int) -> None:
        self._log.write(pipe.stream, lines, skipped)
        if pipe.stream == "stderr" and (lines or skipped):
            self._unlogged = skipped + (0 if lines else self._unlogged)


class _Pipe:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.splitter = LineSplitter()
        self.is_flooding = False
        self.pause: asyncio.TimerHandle | None = None


class _Tail:
    """The end of a stream, kept undecoded because it is written often and read rarely."""

    def __init__(self) -> None:
        self._data = b""
        self._is_cut = False

    def add(self, data: bytes) -> None:
        self._data += data
        # Twice the size, so that not every small addition copies all of it.
        if len(self._data) > 2 * _TAIL_BYTES:
            self._data = self._data[-_TAIL_BYTES:]
            self._is_cut = True

    def raw_lines(self, count: int = KEPT_LINES) -> list[bytes]:
        """Return the last lines, with one that has not ended: a prompt does not end."""
        *lines, rest = self._data.rsplit(b"\n", count + 1)
        if rest:
            lines.append(rest)
        if len(lines) > count or (self._is_cut and len(lines) > 1):
            lines = lines[1:]  # what rsplit left unsplit, or a line whose beginning was cut off
        return [line[:MAX_LINE_BYTES] for line in lines[-count:]]

    def lines(self) -> tuple[str, ...]:
        return tuple(map(decode_line, self.raw_lines()))
