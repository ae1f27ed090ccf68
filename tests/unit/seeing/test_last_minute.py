"""The last minute: differences of counters between moments."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.clock import Clock
from tests.support.paper import moved, plugin, unopened

from vconnect.plugins.latency import Outcome
from vconnect.plugins.moments import Moments
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.plugins.registry import Registry
from vconnect.plugins.status import PluginStatus
from vconnect.seeing.last_minute import LastMinute, upper_s
from vconnect.wire._latency import EDGES_US, OTHER


class Made:
    def __init__(self, *names: str, **options: Any) -> None:
        self.clock = Clock()
        self.registry = Registry()
        self.plugins = [moved(plugin(name, **options), *UP) for name in names]
        for one in self.plugins:
            one.served_by(None, unopened(one.name))
            self.registry.add(one)
        self.one = LastMinute(self.registry)
        self.one._moments = Moments(self.clock)

    def passes(self, seconds: int) -> None:
        for _ in range(seconds // 10):
            self.clock.now += 10
            self.one.keep()


UP = (PluginStatus.STARTING, PluginStatus.RUNNING)


def answers(one: Any, event: str, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        one.rows.row(event).observe(seconds)
        one.rows.row(event).count(Outcome.OK)
        one.rows.sent += 1


def test_nothing_is_not_zero() -> None:
    made = Made("a")
    minute = made.one.of(made.plugins[0])
    assert (minute.events_per_s, minute.latency, minute.share) == (None, None, None)
    assert (minute.by_event, minute.outcomes) == ([], {})
    assert made.one.chains() == []
    assert made.one.loop_lag() is None


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    made = Made("a")
    (one,) = made.plugins
    answers(one, "e", 0.01, 60)
    made.passes(60)
    assert made.one.of(one).latency.count == 60
    assert made.one.of(one).events_per_s == pytest.approx(1.0)
    answers(one, "e", 0.5, 6)
    made.passes(10)
    minute = made.one.of(one)
    assert minute.latency.count == 6
    assert minute.latency.p50_s == pytest.approx(0.5, rel=0.25)
    assert minute.events_per_s == pytest.approx(0.1)
    made.passes(70)
    assert made.one.of(one).latency is None


def test_a_plugin_that_came_later_has_all_that_it_got() -> None:
    made = Made("a")
    made.passes(100)
    (one,) = made.plugins
    late = moved(plugin("b"), *UP)
    made.registry.add(late)
    answers(late, "e", 0.01, 3)
    assert made.one.of(late).latency.count == 3
    assert made.one.of(late).events_per_s == pytest.approx(3 / 60)
    assert made.one.of(one).latency is None


def test_events_are_told_one_by_one_with_their_deadline_and_cells() -> None:
    made = Made("a", event_timeout=2.0)
    (one,) = made.plugins
    answers(one, "b.x", 0.01, 3)
    answers(one, "a.x", 0.02)
    one.rows.row("a.x").count(Outcome.LATE)
    first, second = made.one.of(one).by_event
    assert (first.event, second.event) == ("a", "b")
    assert first.outcomes == {"ok": 1, "late": 1}
    assert (first.count, second.count) == (1, 3)
    assert first.timeout_s == 5.0
    ((upper, count),) = second.cells
    assert 0.01 < upper <= 0.0125
    assert count == 3


def test_the_rest_has_no_deadline() -> None:
    made = Made("a")
    (one,) = made.plugins
    for number in range(40):
        answers(one, f"f{number}.x", 0.01)
    (rest,) = [row for row in made.one.of(one).by_event if row.event == OTHER]
    assert rest.timeout_s is None


def test_a_share_is_of_the_whole_chain() -> None:
    made = Made("a", "b")
    one, other = made.plugins
    answers(one, "e", 0.03)
    answers(other, "e", 0.01)
    made.registry.chains.row("e").observe(0.04)
    assert made.one.of(one).share == pytest.approx(0.75, abs=0.01)
    assert made.one.of(other).share == pytest.approx(0.25, abs=0.01)
    made.registry.chains.row("f").observe(0.01)
    answers(one, "f", 0.05)
    assert made.one.of(one).share == 1.0


def test_chains_come_with_the_busiest_first() -> None:
    made = Made()
    for event, count in (("a", 2), ("b", 6)):
        for _ in range(count):
            made.registry.chains.row(event).observe(0.01)
    made.passes(60)
    assert [(one.event, one.count) for one in made.one.chains()] == [("b", 6), ("a", 2)]
    assert made.one.chains()[0].per_s == pytest.approx(0.1)


def test_what_was_passed_over_or_dropped_is_of_the_last_minute() -> None:
    made = Made("a")
    (one,) = made.plugins
    one.counters.dropped = 5
    one.passed_over.add("e", Reason.FAILED, Effect.REFUSED)
    made.passes(70)
    one.counters.dropped += 2
    one.passed_over.add("e", Reason.FAILED, Effect.SKIPPED)
    minute = made.one.of(one)
    assert minute.passed_over == {"skipped": 1, "refused": 0, "default": 0}
    assert minute.dropped == 2


def test_the_loops_lag_has_quantiles() -> None:
    made = Made()
    made.one.lag.observe(0.02)
    assert made.one.loop_lag().p99_s == pytest.approx(0.02, rel=0.25)


def test_a_cell_ends_at_its_edge() -> None:
    assert upper_s(0) == 8e-6
    assert upper_s(len(EDGES_US)) == 2 * EDGES_US[-1] / 1e6


async def test_it_keeps_the_present_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("vconnect.seeing.last_minute.EVERY_S", 0.001)
    made = Made()
    running = asyncio.create_task(made.one.run())
    async with asyncio.timeout(5):
        while made.one._moments.number < 3:
            await asyncio.sleep(0.001)
    running.cancel()
