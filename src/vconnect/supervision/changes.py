"""Waits for conditions over state that several tasks change."""

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
