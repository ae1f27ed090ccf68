"""Connections that follow one another too fast."""

from __future__ import annotations

import gc

from vconnect.supervision.reconnects import MAX_CONNECTIONS, WITHIN_S, Reconnects


class Someone:
    """A process or a plugin."""


def test_so_many_are_counted_and_no_more_until_the_first_is_long_ago() -> None:
    now = [100.0]
    seen, one = Reconnects(lambda: now[0]), Someone()
    assert all(seen.allow(one) for _ in range(MAX_CONNECTIONS))
    now[0] += WITHIN_S - 0.1
    assert not seen.allow(one)
    now[0] += 0.2
    # What was not allowed is not counted: all of them are long ago.
    assert all(seen.allow(one) for _ in range(MAX_CONNECTIONS))
    assert not seen.allow(one)


def test_each_has_its_own_count() -> None:
    seen, one, other = Reconnects(lambda: 100.0), Someone(), Someone()
    for _ in range(MAX_CONNECTIONS + 1):
        seen.allow(one)
    assert seen.allow(other)


def test_who_has_gone_is_forgotten() -> None:
    seen, one = Reconnects(), Someone()
    seen.allow(one)
    assert len(seen._times) == 1
    del one
    gc.collect()
    assert len(seen._times) == 0
