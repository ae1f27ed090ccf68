"""The last minute of plugins without processes."""

from __future__ import annotations

import pytest

from vconnect.plugins.latency import Outcome
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.seeing.last_minute import LastMinute


@pytest.fixture
def plugin():
    return PluginRuntime("a", None)


@pytest.fixture
def minute(plugin):
    registry = Registry()
    registry.add(plugin)
    return LastMinute(registry)


def answer(plugin, seconds=0.01, event="e"):
    row = plugin.rows.row(event)
    row.observe(seconds)
    row.count(Outcome.OK)
    plugin.counters.events += 1


def test_what_is_unknown_is_not_zero(minute, plugin):
    found = minute.of(plugin)
    assert (found.events_per_s, found.latency, found.share) == (None, None, None)
    assert (found.outcomes, found.by_event, found.dropped) == ({}, [], 0)


def test_it_has_what_came_since_its_beginning(minute, plugin):
    for _ in range(4):
        answer(plugin)
    plugin.passed_over.add("e", Reason.STOPPED, Effect.SKIPPED)
    minute._registry.chains.row("e").observe(0.1)
    found = minute.of(plugin)
    assert found.latency.count == 4
    assert found.outcomes == {"ok": 4}
    assert found.passed_over["skipped"] == 1
    assert found.share == pytest.approx(0.4, rel=0.01)
    assert [one.event for one in found.by_event] == ["e"]
    assert sum(count for _, count in found.by_event[0].cells) == 4
    (chain,) = minute.chains()
    assert (chain.event, chain.count) == ("e", 1)


def test_what_is_older_is_forgotten(minute, plugin):
    answer(plugin)
    for _ in range(7):
        minute.keep()
    answer(plugin)
    answer(plugin)
    found = minute.of(plugin)
    assert (found.latency.count, found.outcomes) == (2, {"ok": 2})
    assert found.events_per_s == pytest.approx(2, rel=0.01)


def test_the_lag_of_the_loop_is_a_row(minute):
    assert minute.loop_lag() is None
    minute.lag.observe(0.003)
    assert minute.loop_lag().count == 1
