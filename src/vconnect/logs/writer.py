"""A thread that writes on behalf of the loop, so that a slow disk or terminal blocks nothing."""

# The idea: a disk can hang for minutes and a terminal can be stopped for hours, while the event
# loop must not wait at all. So it only queues, up to a limit, and a thread writes. What does not
# fit is dropped and counted by the caller, and is reported as soon as there is room again.

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# What may wait while the disk or terminal is slow; the rest is dropped. The first limit is for many
# short lines, the second for few long ones.
_MAX_QUEUED = 16 * 1024
_MAX_QUEUED_BYTES = 8 * 1024 * 1024

# Items per write: large enough to amortize opening a file, small enough to hold the lock briefly.
_BATCH = 256
# The thread collects items for this long before it writes. Each wake-up takes the interpreter away
# from the event loop, so many small ones cost more than a few large ones. Seconds.
_LINGER = 0.005

_log = logging.getLogger(__name__)


class LogWriter(Generic[T]):
    """Passes items to one thread, in order, through a bounded queue.

    The thread starts with the first item. It is a daemon thread, so that a write that hangs does
    not keep the process from exiting.

    Args:
        name: The name of the thread.
        write: Called in the thread with the next items.
        max_queued: The maximum number of queued items.
        max_queued_bytes: The maximum size of all queued items together.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[T]], None],
        *,
        max_queued: int = _MAX_QUEUED,
        max_queued_bytes: int = _MAX_QUEUED_BYTES,
    ) -> None:
        self._name = name
        self._write = write
        self._max_queued = max_queued
        self._max_bytes = max_queued_bytes
        self._queue: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread is running, and may still have something to write."""
        return self._thread is not None and self._thread.is_alive()

    def put(self, item: T, size: int) -> bool:
        """Queue an item of ``size`` bytes, and return whether there was room. Never blocks."""
        with self._news:
            if (
                self._stopping.is_set()
                or len(self._queue) >= self._max_queued
                or self._bytes + size > self._max_bytes
            ):
                return False
            self._queue.append((item, size))
            self._bytes += size
            if self._thread is None:
                self._start()
            self._news.notify()
            return True

    def stop(self, last: T | None = None) -> None:
        """Accept no more items, write what is queued, and end the thread. Does not wait for it.

        Args:
            last: One more item, for which there is always room.
        """
        with self._news:
            if last is not None and self._thread is not None and not self._stopping.is_set():
                self._queue.append((last, 0))
            self._stopping.set()
            self._news.notify()

    def join(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the thread to end; return whether it did. Blocks."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.is_running

    def _start(self) -> None:
        try:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
        except RuntimeError:  # no more threads available: the next item tries again
            return
        self._thread = thread

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._write(batch)
            except Exception:  # noqa: BLE001 - the boundary of the thread, which must go on
                _log.exception("%s: internal error; %d items lost", self._name, len(batch))

    def _next(self) -> list[T]:
        """Wait for items; an empty list means the end."""
        with self._news:
            self._news.wait_for(lambda: self._queue or self._stopping.is_set())
        # Outside of the lock, so that `put` does not wait; at once when stopping.
        self._stopping.wait(_LINGER)
        with self._news:
            taken = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            self._bytes -= sum(size for _, size in taken)
        return [item for item, _ in taken]
