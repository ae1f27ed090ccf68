"""Blocking work in a thread that never outlives its caller.

A thread cannot be cancelled. `asyncio.to_thread` returns at once when its caller is, and leaves
the thread to write into what the caller then removes; `in_thread` waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(
    stop: threading.Event | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``function`` in a thread and return its result.

    Where the machine has no more threads it runs here: a host that is held up for a moment is
    better than one that cannot clean up.

    Cancellation sets ``stop``, which the function may look at to end early, and is raised only
    once the function has ended.
    """
    result: Future[T] = Future()

    def run() -> None:
        if result.set_running_or_notify_cancel():
            try:
                result.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                result.set_exception(error)

    try:
        asyncio.get_running_loop().run_in_executor(None, run)
    except RuntimeError:  # no thread can be made; but one that there is may have taken it
        if result.cancel():
            return function(*args, **kwargs)
    work = asyncio.wrap_future(result)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if stop is not None:
            stop.set()
        await _ended(work)
        raise


async def _ended(work: asyncio.Future[T]) -> None:
    """Wait for the end, however often the waiting is cancelled, and drop the result."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # looked at, so that the loop does not report it as lost
