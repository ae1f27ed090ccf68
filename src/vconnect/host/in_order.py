"""Run an action for each plugin, each after those that it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from vconnect.plugins.order import Position, find_cycle


async def run_in_order(
    actions: Mapping[str, Callable[[], Awaitable[None]]],
    after: Mapping[str, Iterable[str]],
) -> None:
    """Run each action when those that it comes after have ended; the others at the same time.

    An action that fails holds up nobody. Those in a circle do not wait for each other.

    Args:
        actions: By name.
        after: Which others each one comes after; names of nobody count for nothing.

    Raises:
        BaseExceptionGroup: What actions raised, once all have ended or were cancelled.
    """
    tasks: dict[str, asyncio.Task[None]] = {}
    positions = {name: Position(after=tuple(after.get(name, ()))) for name in actions}

    async def run(name: str) -> None:
        earlier = [tasks[other] for other in positions[name].after if other in tasks]
        if earlier and not find_cycle(positions, name):
            await asyncio.wait(earlier)
        await actions[name]()

    async with asyncio.TaskGroup() as group:
        for name in actions:
            tasks[name] = group.create_task(run(name))
