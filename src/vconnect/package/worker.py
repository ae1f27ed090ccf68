"""Blocking work in a thread that never outlives its caller.

A thread cannot be cancelled. `asyncio.to_thread` returns at once when its caller is, and leaves
the thread to write into what the caller then removes; `in_thread` waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(
    stop: threading.Event | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``function`` in a thread and return its result.

    Cancellation sets ``stop``, which the function may look at to end early, and is raised only
    once the function has ended.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if stop is not None:
            stop.set()
        await _ended(work)
        raise


async def _ended(work: asyncio.Task[T]) -> None:
    """Wait for the end, however often the waiting is cancelled, and drop the result."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # looked at, so that the loop does not report it as lost
