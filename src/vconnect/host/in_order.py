"""Runs an action for each plugin, after those of the plugins that it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from vconnect.plugins.order import Position, find_cycle


async def run_in_order(
    actions: Mapping[str, Callable[[], Awaitable[object]]],
    after: Mapping[str, Iterable[str]],
) -> None:
    """Run each action once the actions that it comes after have ended; run others concurrently.

    A failure does not affect other actions, not even those that come after it. Actions in a cycle
    do not wait for each other. Cancellation cancels the actions and waits for them.

    Args:
        actions: The actions by name.
        after: For each name, the names that it comes after; names without an action are ignored.

    Raises:
        ExceptionGroup: All exceptions of actions, once all actions have ended.
    """
    tasks: dict[str, asyncio.Task[None]] = {}
    errors: list[Exception] = []
    positions = {name: Position(after=tuple(after.get(name, ()))) for name in actions}

    async def run(name: str) -> None:
        # All tasks exist by the time that the first one runs, since creating them does not run
        # them.
        earlier = [tasks[other] for other in positions[name].after if other in tasks]
        # Waiting in a cycle would never end. Its plugins are refused for it when they start.
        if earlier and not find_cycle(positions, name):
            await asyncio.wait(earlier)
        try:
            await actions[name]()
        except Exception as error:  # noqa: BLE001 - a task group would cancel the other actions
            errors.append(error)

    async with asyncio.TaskGroup() as group:
        for name in actions:
            tasks[name] = group.create_task(run(name))
    if errors:
        raise ExceptionGroup("some plugins failed", errors)
