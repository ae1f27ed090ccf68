"""Traces of single events."""

from __future__ import annotations

from typing import Any

import pytest

from vconnect.seeing.trace import Hop, Traces, matches


def hop(outcome="ok"):
    return Hop(plugin="a", outcome=outcome, reason="", duration_s=0.001)


class WatchedTraces(Traces):
    """Traces with a clock, and what they have switched."""

    def __init__(self) -> None:
        self.now = [0.0]
        self.switched: list[bool] = []
        super().__init__(lambda: 0.1, self.switched.append, lambda: self.now[0])


@pytest.fixture
def traces():
    return WatchedTraces()


GOOD = (hop(),)


def add(traces, event="e", outcome="passed", seconds=0.001, hops=GOOD, payload=None):
    traces.add(event, "chain", outcome, seconds, tuple(hops), payload)


def test_traces_are_made_only_while_somebody_watches(traces):
    first, second = traces.watch(lambda _: None), traces.watch(print)
    first()
    second()
    second()
    assert traces.switched == [True, False, False]


def test_of_very_many_the_ordinary_ones_are_only_counted(traces):
    seen: list[Any] = []
    traces.watch(seen.append)
    for _ in range(1000):
        add(traces)
    for _ in range(50):
        add(traces, outcome="refused")
    assert (len(seen), traces.not_shown) == (150, 900)
    traces.now[0] += 1
    add(traces)
    assert len(seen) == 151


def test_payloads_are_kept_for_a_while_if_somebody_asks(traces):
    add(traces, payload={"secret": 1})
    traces.keep_payloads(5)
    add(traces, payload={"shown": 1})
    add(traces, payload="x" * 100_000)
    traces.now[0] += 6
    add(traces, payload={"secret": 1})
    payloads = [one.payload for one in traces.newest(9)]
    assert payloads[0] is payloads[3] is None
    assert payloads[1] == '{"shown":1}'
    assert len(payloads[2]) == 16 * 1024


def test_a_filter_lets_through_what_failed(traces):
    add(traces, event="user.online", seconds=0.2)
    add(traces, event="message.incoming", hops=[hop("late")])
    slow, failed = traces.newest(9)
    everything: dict[str, Any] = {"event": "", "plugin": "", "slow_s": 0.0}
    assert matches(slow, **everything)
    assert matches(failed, **{**everything, "slow_s": 0.1})
    assert matches(slow, **{**everything, "slow_s": 0.1})
    assert not matches(slow, **{**everything, "slow_s": 0.3})
    assert not matches(slow, **{**everything, "event": "message.*"})
    assert not matches(slow, **{**everything, "plugin": "b"})
