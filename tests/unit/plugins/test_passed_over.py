"""Events that passed a plugin over, counted by reason and effect."""

from __future__ import annotations

from vconnect.plugins.passed_over import WORDS, Effect, PassedOver, Reason
from vconnect.wire._latency import OTHER


def test_each_reason_and_effect_has_a_row():
    passed = PassedOver()
    passed.add("e", Reason.STOPPED, Effect.SKIPPED)
    passed.add("e", Reason.STOPPED, Effect.SKIPPED)
    passed.add("e", Reason.CIRCUIT_OPEN, Effect.REFUSED)
    assert {(row.reason, row.effect): row.count for row in passed.rows} == {
        (Reason.STOPPED, Effect.SKIPPED): 2,
        (Reason.CIRCUIT_OPEN, Effect.REFUSED): 1,
    }
    assert passed.count == 3
    assert all(row.first <= row.last for row in passed.rows)


def test_the_last_minute_is_a_difference():
    passed = PassedOver()
    passed.keep(0)
    assert passed.since(0) == {"skipped": 0, "refused": 0, "default": 0}
    passed.add("e", Reason.FAILED, Effect.REFUSED)
    passed.keep(1)
    passed.add("e", Reason.FAILED, Effect.DEFAULT)
    assert passed.since(0) == {"skipped": 0, "refused": 1, "default": 1}
    assert passed.since(1) == {"skipped": 0, "refused": 0, "default": 1}


def test_names_that_are_made_up_share_a_row():
    passed = PassedOver()
    for number in range(1000):
        passed.add(f"e{number}", Reason.FAILED, Effect.SKIPPED)
    assert len(passed.rows) == 129
    assert {row.event for row in passed.rows if row.count > 1} == {OTHER}
    assert passed.count == 1000


def test_every_reason_has_words():
    assert set(WORDS) == set(Reason)
