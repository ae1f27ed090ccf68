"""Waiting for what other tasks do: for a condition, and for work that must be completed."""

# Everything happens on one event loop, so that no locks are needed: between two awaits nobody else
# runs. What remains is to wait for the right thing. A condition is looked at again at each change,
# and work that must be completed runs in a task of its own, which no caller's cancellation reaches.

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """Wakes all waiters at each change, so that each re-evaluates its own condition.

    An `asyncio.Condition` without its lock: everything happens on one event loop. Create it in a
    running loop.
    """

    def __init__(self) -> None:
        self._next = asyncio.get_running_loop().create_future()

    def notify_all(self) -> None:
        """Wake all waiters."""
        # Replaced before it is set: a waiter that runs meanwhile must wait for the next change.
        current, self._next = self._next, asyncio.get_running_loop().create_future()
        current.set_result(None)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition()`` is true. Cancelling one waiter does not affect the others."""
        while not condition():
            # Shielded, because the future is shared: a cancelled waiter would cancel it for all.
            await asyncio.shield(self._next)


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
