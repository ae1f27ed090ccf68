"""A token bucket, with a clock in the test's hand."""

from __future__ import annotations

from vconnect.bucket import Bucket


def test_it_is_full_at_first_refills_and_holds_no_more() -> None:
    now = [10.0]
    bucket = Bucket(3, 2.0, lambda: now[0])
    assert bucket.level() == 3
    bucket.take(2)
    now[0] += 0.5
    assert bucket.level() == 2
    now[0] += 100
    assert bucket.level() == 3
    bucket.take(-5)
    assert bucket.level() == 3


def test_it_may_be_overdrawn_and_says_for_how_long() -> None:
    now = [10.0]
    bucket = Bucket(1, 0.5, lambda: now[0])
    bucket.take(3)
    assert bucket.level() == -2
    assert (bucket.seconds_until(0), bucket.seconds_until(-3)) == (4, 0)
    now[0] += 4
    assert bucket.level() == 0
