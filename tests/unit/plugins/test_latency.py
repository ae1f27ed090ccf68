"""Quantiles of histograms, and what became of events."""

from __future__ import annotations

import math
import random

import pytest

from vconnect.errors import (
    NotAskedError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from vconnect.plugins.latency import (
    OUTCOME_NAMES,
    Outcome,
    added,
    family_of,
    latency_of,
    outcome_of,
)
from vconnect.plugins.moments import KEPT, Moments
from vconnect.wire._latency import EDGES_US, MAX_ROWS, OTHER, Row, Rows


def observed(durations):
    row = Row("e")
    for seconds in durations:
        row.observe(seconds)
    return row.totals()[0]


def test_nothing_has_no_quantile():
    assert latency_of(Row("e").totals()[0]) is None


@pytest.mark.parametrize("middle_s", [50e-6, 2e-3, 0.4])
def test_quantiles_of_a_known_distribution_are_close(middle_s):
    chance = random.Random(7)
    durations = sorted(chance.lognormvariate(math.log(middle_s), 0.7) for _ in range(20_000))
    found = latency_of(observed(durations))
    assert found.count == 20_000
    assert found.p50_s == pytest.approx(durations[10_000], rel=0.03)
    assert found.p99_s == pytest.approx(durations[19_800], rel=0.12)


def test_no_quantile_is_beyond_what_is_possible():
    found = latency_of(observed([0.2] * 10), longest_s=0.2)
    assert found.p99_s <= 0.2


@pytest.mark.parametrize("seconds", [0.0, -1.0, 7.9e-6, 8e-6, 66.9, 68.0, 1e9])
def test_every_duration_has_a_cell(seconds):
    assert sum(observed([seconds])) == 1


def test_a_cell_has_what_is_below_its_edge():
    for at, edge in enumerate(EDGES_US):
        assert observed([(edge - 0.5) / 1e6])[at] == 1
        assert observed([(edge + 0.1) / 1e6])[at + 1] == 1


def test_the_past_is_a_difference():
    row = Row("e")
    row.observe(0.001)
    row.count(Outcome.OK)
    row.keep(3)
    row.observe(0.002)
    row.count(Outcome.LATE)
    cells, seconds, outcomes = row.since(3)
    assert sum(cells) == 1
    assert seconds == pytest.approx(0.002)
    assert outcomes == [int(one is Outcome.LATE) for one in Outcome]
    assert row.counts() == tuple(int(one in (Outcome.OK, Outcome.LATE)) for one in Outcome)


def test_an_outcome_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="expected a number below 9"):
        Row("e").count(9)


def test_names_that_are_made_up_do_not_become_rows():
    rows = Rows(str)
    for number in range(100_000):
        rows.row(f"made.up{number}").count(0)
    assert len(rows.all()) == MAX_ROWS + 1
    others = next(row for row in rows.all() if row.event == OTHER)
    assert others.counts()[0] == 100_000 - MAX_ROWS


def test_slow_durations_are_kept_while_somebody_watches():
    row = Row("e")
    row.observe(1.0)
    assert row.take_slow() == []
    row.watch_slow(0.5)
    for seconds in (0.4, 0.6, *[0.7] * 100):
        row.observe(seconds)
    slow = row.take_slow()
    assert (slow[0], len(slow)) == (0.6, 16)
    assert row.take_slow() == []


def test_buckets_are_running_sums():
    row = Row("e")
    for seconds in (20e-6, 100e-6, 1.0):
        row.observe(seconds)
    text = row.buckets(b"x{", (b"a} ", b"b} "), (len(EDGES_US) // 2, len(EDGES_US) + 1))
    assert text == b"x{a} 2\nx{b} 3\n"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PluginTimeoutError("a", "late"), Outcome.LATE),
        (PluginUnavailableError("a", "gone"), Outcome.LOST),
        (NotAskedError("a", "gone"), Outcome.LOST),
        (PluginReplyError("a", "no", "bad_answer"), Outcome.BAD_ANSWER),
        (PluginReplyError("a", "no", "its_own"), Outcome.ERROR),
    ],
)
def test_an_error_has_an_outcome(error, outcome):
    assert outcome_of(error) is outcome


def test_the_outcomes_have_names():
    assert OUTCOME_NAMES[Outcome.NOTIFIED] == "notified"
    assert added([]) == []
    assert added([[1, 2], [3, 4]]) == [4, 6]
    assert family_of("message.incoming") == family_of("message") == "message"


def test_the_window_is_a_minute_once_there_was_one():
    now = [100.0]
    moments = Moments(lambda: now[0])
    assert (moments.first, moments.window_s) == (0, 0.0)
    for _ in range(20):
        now[0] += 10
        moments.next()
    assert (moments.number, moments.first, moments.window_s) == (20, 14, 60.0)
    assert moments.number - moments.first < KEPT
