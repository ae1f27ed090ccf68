"""Blocking work in a thread that never outlives its caller."""

# A thread cannot be cancelled. `asyncio.to_thread` returns at once when its caller is cancelled,
# and leaves the thread to write to what the caller then removes. `in_thread` waits for it instead.

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


async def in_thread(
    stop: threading.Event | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``function`` in a thread and return its result.

    If the machine has no more threads, it runs here: a host that blocks for a moment is better than
    one that cannot clean up.

    Cancellation sets ``stop``, which the function may check in order to end early. It is raised
    only once the function has ended.
    """
    # Not the executor's own future: its cancellation decides here who runs the function.
    result: Future[T] = Future()

    def run() -> None:
        if result.set_running_or_notify_cancel():
            try:
                result.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - re-raised in the caller
                result.set_exception(error)

    try:
        asyncio.get_running_loop().run_in_executor(None, run)
    except RuntimeError:  # no thread can be started, but an existing one may have taken the job
        if result.cancel():
            return function(*args, **kwargs)
    work = asyncio.wrap_future(result)
    try:
        # Shielded, because the thread continues anyway and must be waited for.
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # The function may be in the middle of a write; it decides where it is safe to end.
        if stop is not None:
            stop.set()
        await _ended(work)
        raise


async def _ended(work: asyncio.Future[T]) -> None:
    """Wait for the end, even if the waiting is cancelled repeatedly, and drop the result."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # retrieved, or the loop would report it as never retrieved


class BackgroundWriter(Generic[T]):
    """Writes a file in a thread whenever its contents have changed, one write at a time.

    Changes during a write are written together by the next one. A failure is logged once, as is the
    first success after it. All methods belong to the event loop.

    Args:
        what: The file's name in the log, such as ``state file /a/b.json``.
        snapshot: Returns the contents; called in the event loop.
        write: Writes the contents; called in a thread, may raise `OSError`.
        consequence: What a failure means, for the log.
    """

    def __init__(
        self, what: str, snapshot: Callable[[], T], write: Callable[[T], None], consequence: str
    ) -> None:
        self._what = what
        self._snapshot = snapshot
        self._write_down = write
        self._consequence = consequence
        self._writing: asyncio.Task[None] | None = None
        self._is_stale = False
        self._is_failing = False

    def changed(self) -> None:
        """Write the contents soon."""
        self._is_stale = True
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name=f"writer of {self._what}")

    async def flush(self) -> None:
        """Wait until all changes so far are on disk, or writing them has failed.

        Cancelling it only ends the waiting.
        """
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        try:
            while self._is_stale:
                # Before the snapshot, so that a change during the write leads to another one.
                self._is_stale = False
                try:
                    await in_thread(None, self._write_down, self._snapshot())
                except OSError as error:
                    self._failed(error)
                else:
                    self._succeeded()
        finally:
            self._writing = None

    def _failed(self, error: OSError) -> None:
        if not self._is_failing:
            words = error.strerror or str(error)  # without the number; the file is in `what`
            _log.error("%s cannot be written: %s; %s", self._what, words, self._consequence)
        self._is_failing = True

    def _succeeded(self) -> None:
        if self._is_failing:
            _log.info("%s can be written again", self._what)
        self._is_failing = False
