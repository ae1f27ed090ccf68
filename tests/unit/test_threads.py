"""Work in threads: results, cancellation, and machines without threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.wire_kit import until

from vconnect.threads import in_thread

pytestmark = pytest.mark.both_loops

PATIENCE_S = 10.0


class Work:
    """Runs until it is let go, or told to stop."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.release = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.release.wait(PATIENCE_S)
        self.ended.set()
        return "done"


@pytest.fixture(autouse=True)
async def _own_threads():
    """Threads that end with the test."""
    with ThreadPoolExecutor(2) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        yield


async def begun(work: Work, stop: threading.Event | None = None) -> asyncio.Task[str]:
    task = asyncio.create_task(in_thread(stop, work))
    await until(work.began.is_set)
    return task


async def test_the_result_comes_out_of_another_thread() -> None:
    assert await in_thread(None, threading.get_ident) != threading.get_ident()
    assert await in_thread(None, int, "ff", base=16) == 255


async def test_an_error_comes_out_as_it_was_raised() -> None:
    with pytest.raises(KeyError, match="missing"):
        await in_thread(None, dict[str, int]().__getitem__, "missing")


async def test_the_loop_goes_on_meanwhile() -> None:
    work = Work()
    task = await begun(work)
    assert not task.done()
    work.release.set()
    assert await task == "done"


async def test_a_cancelled_caller_waits_for_the_end() -> None:
    work, stop = Work(), threading.Event()
    task = await begun(work, stop)
    task.cancel()
    await until(stop.is_set)
    assert not task.done()
    work.release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended.is_set()


async def test_however_often_it_is_cancelled() -> None:
    work = Work()
    task = await begun(work)
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    work.release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended.is_set()


async def test_an_error_after_the_cancellation_is_lost_in_silence() -> None:
    stop = threading.Event()
    began = threading.Event()

    def work() -> None:
        began.set()
        assert stop.wait(PATIENCE_S)
        raise ValueError("called off")

    task = asyncio.create_task(in_thread(stop, work))
    await until(began.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_still_waits_for_a_thread_is_done_before_the_caller_is_cancelled() -> None:
    blockers = [Work(), Work()]
    blocking = [await begun(work) for work in blockers]
    late = Work()
    late.release.set()
    task = asyncio.create_task(in_thread(None, late))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    for work in blockers:
        work.release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert late.ended.is_set()
    assert await asyncio.gather(*blocking) == ["done", "done"]


async def test_without_a_thread_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    assert await in_thread(None, threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await in_thread(None, divmod, 1, 0)


async def test_without_a_new_thread_an_old_one_may_do_it_and_it_is_done_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit = ThreadPoolExecutor.submit
    calls: list[int] = []

    def submit_and_fail(*arguments, **keywords):
        submit(*arguments, **keywords).result(PATIENCE_S)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_and_fail)
    assert await in_thread(None, calls.append, 1) is None
    assert calls == [1]
