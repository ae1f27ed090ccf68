"""Events that a plugin did not get: counted by event, reason and effect, and bounded."""

from __future__ import annotations

import time

from vconnect.plugins.passed_over import WORDS, Effect, PassedOver, Reason
from vconnect.wire._latency import OTHER


def test_each_event_reason_and_effect_is_a_row() -> None:
    made = PassedOver()
    began = time.time()
    for event, reason, effect in (
        ("a", Reason.STOPPED, Effect.SKIPPED),
        ("a", Reason.STOPPED, Effect.SKIPPED),
        ("a", Reason.STOPPED, Effect.REFUSED),
        ("b", Reason.QUEUE_FULL, Effect.DEFAULT),
    ):
        made.add(event, reason, effect)
    found = {(row.event, row.reason, row.effect): row.count for row in made.rows}
    assert found == {
        ("a", "stopped", "skipped"): 2,
        ("a", "stopped", "refused"): 1,
        ("b", "queue_full", "default"): 1,
    }
    assert (made.count, made.by_effect) == (4, {"skipped": 2, "refused": 1, "default": 1})
    assert all(began <= row.first <= row.last <= time.time() for row in made.rows)


def test_the_latest_comes_first() -> None:
    made = PassedOver()
    for event in ("a", "b", "a"):
        made.add(event, Reason.FAILED, Effect.SKIPPED)
        time.sleep(0.002)
    assert [row.event for row in made.rows] == ["a", "b"]


def test_many_events_cost_a_bounded_number_of_rows() -> None:
    made = PassedOver()
    for number in range(100_000):
        made.add(f"e{number}", Reason.CIRCUIT_OPEN, Effect.REFUSED)
    assert len(made.rows) == 129
    (other,) = [row for row in made.rows if row.event == OTHER]
    assert sum(row.count for row in made.rows) == made.count == 100_000
    assert other.count == 100_000 - 128


def test_the_last_minute_is_a_difference() -> None:
    made = PassedOver()
    made.keep(3)
    assert made.since(3) == {"skipped": 0, "refused": 0, "default": 0}
    made.add("a", Reason.FAILED, Effect.SKIPPED)
    assert made.since(3)["skipped"] == 1, "before, there was nothing"
    made.keep(4)
    made.add("a", Reason.FAILED, Effect.SKIPPED)
    made.add("a", Reason.FAILED, Effect.REFUSED)
    assert made.since(4) == {"skipped": 1, "refused": 1, "default": 0}
    assert made.since(3)["skipped"] == 2


def test_every_reason_has_words() -> None:
    assert set(WORDS) == set(Reason)
    assert len(set(WORDS.values())) == len(Reason)
