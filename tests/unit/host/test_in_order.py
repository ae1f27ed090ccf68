"""Who waits for whom, and who waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from vconnect.host.in_order import run_in_order


class Work:
    """Actions that end when the test lets them.

    Attributes:
        events: What began and ended, in order.
    """

    def __init__(self, *names: str, failing: Sequence[str] = ()) -> None:
        self.events: list[str] = []
        self.gates = {name: asyncio.Event() for name in names}
        self._failing = failing

    @property
    def actions(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {name: lambda name=name: self._act(name) for name in self.gates}

    def begin(self, after: Mapping[str, Sequence[str]]) -> asyncio.Task[None]:
        return asyncio.create_task(run_in_order(self.actions, after))

    async def end(self, name: str) -> list[str]:
        """Let an action end; return what has happened since."""
        seen = len(self.events)
        self.gates[name].set()
        await turns()
        return self.events[seen:]

    async def _act(self, name: str) -> None:
        self.events.append(f"+{name}")
        await self.gates[name].wait()
        self.events.append(f"-{name}")
        if name in self._failing:
            raise OSError(name)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_action_begins_when_those_before_it_have_ended():
    work = Work("a", "b", "c")
    running = work.begin({"c": ["a", "b"]})
    await turns()
    assert work.events == ["+a", "+b"]
    assert await work.end("a") == ["-a"]
    assert await work.end("b") == ["-b", "+c"]
    await work.end("c")
    await running


async def test_the_order_of_the_actions_does_not_matter():
    work = Work("c", "b", "a")
    running = work.begin({"c": ["b"], "b": ["a"]})
    await turns()
    assert work.events == ["+a"]
    for name, seen in (("a", ["-a", "+b"]), ("b", ["-b", "+c"]), ("c", ["-c"])):
        assert await work.end(name) == seen
    await running


async def test_nobody_waits_for_those_that_are_not_there():
    work = Work("a")
    running = work.begin({"a": ["nobody"], "nobody": ["a"]})
    await turns()
    assert work.events == ["+a"]
    await work.end("a")
    await running


@pytest.mark.parametrize(
    "after",
    [
        {"a": ["a"]},
        {"a": ["b"], "b": ["a"]},
        {"a": ["b"], "b": ["c"], "c": ["a"]},
    ],
)
async def test_those_in_a_cycle_do_not_wait_for_each_other(after):
    work = Work(*after)
    running = work.begin(after)
    await turns()
    assert sorted(work.events) == [f"+{name}" for name in sorted(after)]
    for name in after:
        await work.end(name)
    await running


async def test_one_behind_a_cycle_waits_for_it():
    work = Work("a", "b", "c")
    running = work.begin({"a": ["b"], "b": ["a"], "c": ["a"]})
    await turns()
    assert sorted(work.events) == ["+a", "+b"]
    assert await work.end("a") == ["-a", "+c"]
    await work.end("b")
    await work.end("c")
    await running


async def test_a_failure_holds_up_nobody_and_is_told_at_the_end():
    work = Work("a", "b", "c", failing=["a", "b"])
    running = work.begin({"b": ["a"], "c": ["b"]})
    await turns()
    assert await work.end("a") == ["-a", "+b"]
    assert await work.end("b") == ["-b", "+c"]
    assert not running.done()
    assert await work.end("c") == ["-c"]
    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert [str(error) for error in caught.value.exceptions] == ["a", "b"]


async def test_a_cancellation_ends_what_runs_and_begins_nothing():
    work = Work("a", "b")
    running = work.begin({"b": ["a"]})
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.events == ["+a"]


async def test_nothing_to_do_is_done_at_once():
    await run_in_order({}, {"a": ["b"]})
