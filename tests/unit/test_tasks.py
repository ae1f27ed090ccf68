"""Waiters that wake at a change, and work that is completed whoever waits for it."""

from __future__ import annotations

import asyncio

import pytest

from vconnect.tasks import Changes, finish

# --- changes ---------------------------------------------------------------------------------


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_holds_already_is_not_waited_for():
    async with asyncio.timeout(1):
        await Changes().wait_for(lambda: True)


async def test_a_condition_counts_only_at_a_change():
    changes, state = Changes(), [False]
    waiting = asyncio.create_task(changes.wait_for(lambda: state[0]))
    await turns()
    state[0] = True
    await turns()
    assert not waiting.done()
    changes.notify_all()
    await turns()
    assert waiting.done()


async def test_each_waiter_has_a_condition_of_its_own():
    changes, count = Changes(), [0]
    waiting = [
        asyncio.create_task(changes.wait_for(lambda n=n: count[0] >= n)) for n in range(1, 5)
    ]
    for seen in range(5):
        count[0] = seen
        changes.notify_all()
        await turns()
        assert [one.done() for one in waiting] == [n <= seen for n in range(1, 5)]


async def test_a_waiter_that_goes_away_takes_nobody_along():
    changes, state = Changes(), [False]
    leaving, staying = (asyncio.create_task(changes.wait_for(lambda: state[0])) for _ in range(2))
    await turns()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    state[0] = True
    changes.notify_all()
    async with asyncio.timeout(1):
        await staying


async def test_a_condition_that_fails_fails_its_waiter_alone():
    changes, state = Changes(), [False]

    def breaks() -> bool:
        return bool(state[0] and 1 / 0)

    failing = asyncio.create_task(changes.wait_for(breaks))
    staying = asyncio.create_task(changes.wait_for(lambda: state[0]))
    await turns()
    state[0] = True
    changes.notify_all()
    await staying
    with pytest.raises(ZeroDivisionError):
        await failing


async def test_changes_that_nobody_waits_for_are_forgotten():
    changes = Changes()
    for _ in range(3):
        changes.notify_all()
    waiting = asyncio.create_task(changes.wait_for(lambda: False))
    await turns()
    assert not waiting.done()
    waiting.cancel()


# --- work ------------------------------------------------------------------------------------


async def test_it_waits_and_passes_on_what_went_wrong():
    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await finish(asyncio.create_task(fail()), lambda: None)


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_however_often_it_is_cancelled_the_work_is_done_first(times):
    hurried: list[str] = []
    may_end = asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        hurried.append("done")

    waiting = asyncio.create_task(
        finish(asyncio.create_task(work()), lambda: hurried.append("hurry"))
    )
    for _ in range(times):
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
    assert not waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert hurried == ["hurry"] * times + ["done"]


async def test_what_is_done_already_is_not_waited_for():
    async def work() -> None:
        return None

    task = asyncio.create_task(work())
    await task
    await finish(task, lambda: pytest.fail("there is nothing to hurry"))
