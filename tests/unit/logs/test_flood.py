"""What passes in a second, by a clock that only the test moves."""

from __future__ import annotations

from tests.support.clock import Clock

from vconnect.logs.flood import FloodControl


def pass_all(flood: FloodControl, size: int = 1) -> int:
    """Let as many lines pass as may, and count them."""
    count = 0
    while flood.room():
        flood.take(size)
        count += 1
    return count


def test_a_seconds_worth_may_pass_at_once(clock: Clock) -> None:
    flood = FloodControl(10, 1000, clock)
    assert flood.room() == 10
    assert pass_all(flood) == 10
    assert flood.room() == 0


def test_it_fills_up_evenly(clock: Clock) -> None:
    flood = FloodControl(10, 1000, clock)
    pass_all(flood)
    passed = 0
    for _ in range(20):
        clock.now += 0.05
        passed += pass_all(flood)
    assert 9 <= passed <= 10  # in the end floats decide


def test_half_a_line_is_none(clock: Clock) -> None:
    flood = FloodControl(10, 1000, clock)
    pass_all(flood)
    clock.now += 0.0625
    assert flood.room() == 0
    clock.now += 0.0625
    assert flood.room() == 1


def test_a_long_silence_saves_no_more_than_a_second(clock: Clock) -> None:
    flood = FloodControl(10, 1000, clock)
    pass_all(flood)
    clock.now += 3600
    assert pass_all(flood) == 10


def test_bytes_run_out_before_lines(clock: Clock) -> None:
    flood = FloodControl(1000, 100, clock)
    assert pass_all(flood, 10) == 10
    assert flood.room() == 0


def test_a_line_larger_than_the_bucket_passes_and_is_paid_for(clock: Clock) -> None:
    flood = FloodControl(1000, 100, clock)
    flood.take(300)
    clock.now += 1.99
    assert flood.room() == 0
    clock.now += 0.5
    assert flood.room() > 0


def test_lines_are_paid_for_too(clock: Clock) -> None:
    flood = FloodControl(2, 1000, clock)
    for _ in range(4):
        flood.take(1)
    assert flood.room() <= 0
    clock.now += 1.0
    assert flood.room() == 0
    clock.now += 0.5
    assert flood.room() == 1


def test_a_second_look_at_the_same_time_gives_nothing(clock: Clock) -> None:
    flood = FloodControl(10, 1000, clock)
    flood.take(1)
    assert [flood.room() for _ in range(100)] == [9] * 100
