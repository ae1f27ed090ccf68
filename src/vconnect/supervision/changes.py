"""Waiting for a condition that others make true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Bell:
    """Wakes everybody who waits for a condition, so that each looks at his own again.

    Create it in a running event loop.
    """

    def __init__(self) -> None:
        self._next = asyncio.get_running_loop().create_future()

    def ring(self) -> None:
        """Say that something has changed."""
        rung, self._next = self._next, asyncio.get_running_loop().create_future()
        rung.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition()`` holds; cancelling it disturbs nobody else."""
        while not condition():
            await asyncio.shield(self._next)
