"""Traces: made while somebody watches, limited, and without payloads unless asked for."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.clock import Clock

from vconnect.seeing.trace import Hop, Trace, Traces, matches


class Made:
    def __init__(self) -> None:
        self.clock = Clock()
        self.switched: list[bool] = []
        self.one = Traces(lambda: 0.1, self.switched.append, self.clock)

    def add(
        self, event: str = "e", outcome: str = "passed", took: float = 0.01, payload: object = None
    ) -> None:
        self.one.add(event, "chain", outcome, took, (hop(),), payload)


def hop(outcome: str = "ok", plugin: str = "a") -> Hop:
    return Hop(plugin=plugin, outcome=outcome, reason="", duration_s=0.01)


def test_traces_are_made_while_anybody_watches() -> None:
    made = Made()
    seen: list[Trace] = []
    first, second = made.one.watch(seen.append), made.one.watch(lambda _: None)
    made.add()
    first()
    first()
    made.add()
    assert (len(seen), made.switched) == (1, [True])
    second()
    assert made.switched == [True, False]
    assert [one.id for one in made.one.newest(9)] == [1, 2]


def test_the_last_ones_are_kept() -> None:
    made = Made()
    for _ in range(500):
        made.clock.now += 1
        made.add()
    assert [len(made.one.newest(count)) for count in (1, 9, 1000)] == [1, 9, 200]
    assert made.one.newest(1000)[-1].id == 500


def test_of_many_in_a_second_half_the_places_are_for_what_went_wrong() -> None:
    made = Made()
    for _ in range(150):
        made.add()
    for _ in range(150):
        made.add(outcome="refused")
    assert made.one.not_shown == 50 + 50
    assert sum(one.is_notable for one in made.one.newest(1000)) == 100
    made.clock.now += 1
    made.add()
    assert made.one.not_shown == 100


def test_a_slow_event_is_no_ordinary_one() -> None:
    made = Made()
    for _ in range(100):
        made.add()
    made.add(took=0.1)
    assert made.one.not_shown == 0


def test_payloads_are_kept_for_a_while_so_many_and_so_much_of_each() -> None:
    made = Made()
    made.add(payload={"secret": 1})
    made.one.keep_payloads(10)
    for _ in range(70):
        made.add(payload="x" * 100_000)
    kept = [one.payload for one in made.one.newest(1000)]
    assert kept[0] is None
    assert [text is not None for text in kept[1:]] == [True] * 64 + [False] * 6
    assert {len(text) for text in kept if text} == {16 * 1024}
    made.one.keep_payloads(10)
    made.clock.now += 10
    made.add(payload=1)
    assert made.one.newest(1)[0].payload is None


def test_a_payload_that_is_no_json_is_left_out() -> None:
    made = Made()
    made.one.keep_payloads(10)
    made.add(payload=object())
    assert made.one.newest(1)[0].payload is None


@pytest.mark.parametrize(
    ("outcome", "hop_outcome", "notable"),
    [
        ("passed", "ok", False),
        ("stopped", "stopped", False),
        ("refused", "ok", True),
        ("failed", "ok", True),
        ("passed", "late", True),
        ("passed", "passed_over", True),
    ],
)
def test_what_went_wrong_is_notable(outcome: str, hop_outcome: str, notable: bool) -> None:
    assert trace(outcome=outcome, hops=(hop(hop_outcome),)).is_notable is notable


def trace(**fields) -> Trace:
    known: dict[str, Any] = {"id": 1, "time": 0.0, "event": "message.incoming", "mode": "chain"}
    known |= {"outcome": "passed", "duration_s": 0.05, "hops": (hop(),)}
    return Trace(**(known | fields))


@pytest.mark.parametrize(
    ("wanted", "fields", "found"),
    [
        ({}, {}, True),
        ({"event": "message"}, {}, True),
        ({"event": "message.*"}, {}, True),
        ({"event": "user.*"}, {}, False),
        ({"plugin": "a"}, {}, True),
        ({"plugin": "b"}, {}, False),
        ({"slow_s": 0.05}, {}, True),
        ({"slow_s": 0.06}, {}, False),
        ({"slow_s": 0.06}, {"outcome": "refused"}, True),
    ],
)
def test_a_filter_takes_what_it_says(wanted: dict, fields: dict, found: bool) -> None:
    asked = {"event": "", "plugin": "", "slow_s": 0.0} | wanted
    assert matches(trace(**fields), **asked) is found
