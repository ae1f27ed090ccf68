"""A thread that writes for others, so that a slow disk or terminal holds up nobody."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_QUEUED = 16 * 1024
MAX_QUEUED_BYTES = 8 * 1024 * 1024

_BATCH = 256
# Each wake-up of the thread takes the interpreter away from the event loop for a moment: many
# small ones cost more than few large ones. Seconds.
_LINGER = 0.005

_log = logging.getLogger(__name__)


class LogWriter(Generic[T]):
    """Hands what it is given to one thread, in order, through a queue that has an end.

    The thread begins with the first item. It is a daemon: one that is stuck in a write must not
    keep the process from ending.

    Args:
        name: Of the thread.
        write: Called in the thread with the next items.
        max_queued: Items that may wait.
        max_queued_bytes: … and how large they may be together.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[T]], None],
        *,
        max_queued: int = MAX_QUEUED,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
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
        """Whether there is a thread, which may still have something to write."""
        return self._thread is not None and self._thread.is_alive()

    def put(self, item: T, size: int) -> bool:
        """Queue an item of ``size`` bytes; tell whether there was room. Never waits."""
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
        """Take nothing more, write what is queued, and end the thread. Does not wait for it.

        Args:
            last: One more item, for which there always is room.
        """
        with self._news:
            if last is not None and self._thread is not None and not self._stopping.is_set():
                self._queue.append((last, 0))
            self._stopping.set()
            self._news.notify()

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end; tell whether it came."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.is_running

    def _start(self) -> None:
        try:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
        except RuntimeError:  # no more threads now: what is queued waits for the next try
            return
        self._thread = thread

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._write(batch)
            except Exception:  # noqa: BLE001 - the boundary of the thread, which has to go on
                _log.exception("%s: a fault of the host; %d items lost", self._name, len(batch))

    def _next(self) -> list[T]:
        """Wait for items; none means the end."""
        with self._news:
            self._news.wait_for(lambda: self._queue or self._stopping.is_set())
        self._stopping.wait(_LINGER)
        with self._news:
            taken = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            self._bytes -= sum(size for _, size in taken)
        return [item for item, _ in taken]
