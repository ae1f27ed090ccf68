"""Token buckets, with a clock in the test's hand."""

from __future__ import annotations

from vconnect.sockets import pace as module
from vconnect.sockets.pace import Pace, PaceOfEach


def test_a_burst_and_then_a_rate() -> None:
    now = [10.0]
    pace = Pace(3, 2.0, lambda: now[0])
    assert [pace.take() for _ in range(4)] == [True, True, True, False]
    now[0] += 0.5
    assert pace.take()
    assert pace.is_used_up()
    now[0] += 100.0
    assert [pace.take() for _ in range(4)] == [True, True, True, False]


def test_it_is_used_up_with_its_last_token() -> None:
    pace = Pace(2, 1.0, lambda: 0.0)
    pace.take()
    assert not pace.is_used_up()
    pace.take()
    assert pace.is_used_up()


def test_each_process_has_its_own() -> None:
    pace = PaceOfEach(1, 1.0, lambda: 0.0)
    assert [pace.take(7), pace.take(7), pace.take(8)] == [True, False, True]


def test_a_token_can_be_given_back() -> None:
    pace = PaceOfEach(1, 0.001, lambda: 0.0)
    for _ in range(5):
        assert pace.take(7)
        pace.give_back(7)
    pace.give_back(7)  # no more than there were
    assert [pace.take(7), pace.take(7)] == [True, False]
    pace.give_back(8)  # unknown


def test_the_number_of_processes_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(module, "_MAX_SESSIONS", 10)
    pace = PaceOfEach(1, 1.0, lambda: 0.0)
    for pid in range(100):
        assert pace.take(pid)
    assert len(pace._of) == 10
    assert not pace.take(99)  # the most recent are remembered
