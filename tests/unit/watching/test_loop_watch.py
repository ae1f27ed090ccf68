"""What holds the loop of the host is told, counted, and has an end."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from tests.support.paper import plugin

from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import Substate
from vconnect.watching import loop_watch as module
from vconnect.watching.loop_watch import LoopWatch


class Supervised:
    def __init__(self) -> None:
        self.plugin: PluginRuntime = plugin("slow")
        self.reasons: list[str] = []

    def condemn(self, substate: Substate, reason: str) -> None:
        assert substate is Substate.WATCHDOG
        self.reasons.append(reason)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_it_is_told_once_a_minute_and_counted_each_time(caplog, monkeypatch) -> None:
    caplog.set_level(logging.WARNING)
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch, one = LoopWatch(), Supervised()
    for seconds in (0.2, 0.5, 0.3):
        watch.blame(one, seconds, "reading what it sent", is_its_own=True)
    assert told(caplog) == [
        "plugin slow: held the host's event loop for 200 ms: reading what it sent"
    ]
    now[0] += 60
    watch.blame(one, 0.1, "its call log", is_its_own=True)
    assert told(caplog)[1:] == [
        "plugin slow: held the host's event loop for 100 ms: its call log, and 2 times before"
    ]
    assert (watch.stalls, watch.longest_s, one.plugin.counters.stalls) == (4, 0.5, 4)


@pytest.mark.parametrize(
    ("seconds_between", "is_its_own", "ends"), [(5, 1, 1), (7, 1, 0), (0, 0, 0)]
)
def test_who_does_it_too_often_is_replaced(
    monkeypatch, seconds_between: float, is_its_own: bool, ends: int
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch, one = LoopWatch(), Supervised()
    for _ in range(module._TOO_OFTEN):
        assert one.reasons == []
        watch.blame(one, 0.2, "reading what it sent", is_its_own=bool(is_its_own))
        now[0] += seconds_between
    assert len(one.reasons) == ends
    if ends:
        assert one.reasons[0] == (
            "it held the host's event loop 10 times within 60 s, at last for 200 ms "
            "(reading what it sent)"
        )


@pytest.mark.parametrize("is_blamed", [False, True])
async def test_what_nobody_is_blamed_for_is_the_applications(
    caplog, monkeypatch, is_blamed: bool
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    watch, one = LoopWatch(), Supervised()
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0.05)
    assert watch.stalls == 0
    time.sleep(0.15)
    if is_blamed:
        watch.blame(one, 0.15, "reading what it sent", is_its_own=True)
    await asyncio.sleep(0.05)
    running.cancel()
    assert watch.stalls == 1
    assert ("of the application" in caplog.text) is not is_blamed


@pytest.mark.parametrize("share", [0.2, 0.9])
async def test_who_has_caused_most_of_the_work_is_to_blame(
    caplog, monkeypatch, share: float
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    watch, one, other = LoopWatch(), Supervised(), Supervised()
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0.05)
    time.sleep(0.2)
    for _ in range(10):
        watch.note_work(one, 0.02 * share)
    watch.note_work(other, 0.01)
    await asyncio.sleep(0.05)
    running.cancel()
    is_blamed = share > 0.5
    assert watch.stalls == 1
    assert one.plugin.counters.stalls == is_blamed
    assert other.plugin.counters.stalls == 0
    assert ("many pieces of work for its calls" in caplog.text) is is_blamed
    assert ("of the application" in caplog.text) is not is_blamed


async def test_work_of_long_ago_is_no_reason(monkeypatch) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    watch, one = LoopWatch(), Supervised()
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0.03)
    watch.note_work(one, 1.0)
    await asyncio.sleep(0.05)
    time.sleep(0.2)
    await asyncio.sleep(0.05)
    running.cancel()
    assert (watch.stalls, one.plugin.counters.stalls) == (1, 0)
