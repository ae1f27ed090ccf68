"""Waits for work that must be completed even if whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def finish(work: asyncio.Task[None], hurry: Callable[[], None]) -> None:
    """Wait until ``work`` is done. If this is cancelled, make it hurry, and still wait.

    An application may cancel more than once: a time limit around a time limit, a second Ctrl-C, or
    a scope that cancels at each ``await``. None of these reaches the work.

    Args:
        work: The work, in a task of its own.
        hurry: Called at each cancellation; afterwards the work should end soon.

    Raises:
        asyncio.CancelledError: This was cancelled; the work is done.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            # `wait` does not pass a cancellation on to what it waits for.
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
            hurry()
    if cancelled is not None:
        raise cancelled
    work.result()
