"""Runs an action for each plugin, after those of the plugins that it depends on."""

# A plugin that waits for others is wanted from the first moment on: an event that must not pass
# without it does not pass while it waits.

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from vconnect.errors import PluginStartError
from vconnect.order import Position, find_cycle
from vconnect.plugins.status import Substate
from vconnect.supervision.supervisor import Supervisor


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


async def start_in_order(supervisors: Sequence[Supervisor]) -> None:
    """Start plugins, each once those that it requires are ready, or started if that is enough.

    A failure does not affect other plugins; the supervisor has logged it.
    """
    by_name = {one.plugin.name: one for one in supervisors}
    ready: dict[str, list[str]] = {}
    starts: dict[str, Callable[[], Awaitable[object]]] = {}
    for name, one in by_name.items():
        known = {other: must for other, must in one.plugin.requirements.items() if other in by_name}
        ready[name] = [other for other, must_be_ready in known.items() if must_be_ready]
        begun = [by_name[other] for other, must_be_ready in known.items() if not must_be_ready]
        starts[name] = partial(_start_or_leave, one, begun)
        one.plugin.want("running")
        if known:
            one.plugin.explain(Substate.WAITING, f"waits for {', '.join(known)}")
    await run_in_order(starts, ready)


async def _start_or_leave(supervisor: Supervisor, begun: Iterable[Supervisor]) -> None:
    for other in begun:
        await other.wait_until_begun()
    # An operator may have stopped it while it waited.
    if supervisor.plugin.desired == "running":
        with suppress(PluginStartError):
            await supervisor.start(is_urgent=False)
