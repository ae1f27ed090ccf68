"""Work that is completed whoever waits for it."""

from __future__ import annotations

import asyncio

import pytest

from vconnect.host.finish import finish


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
