"""Moments: see ``test_latency`` for their use with rows."""

from __future__ import annotations

from vconnect.plugins.moments import Moments


def test_a_young_host_has_a_short_window():
    now = [5.0]
    moments = Moments(lambda: now[0])
    now[0] += 3
    assert moments.window_s == 3.0
    now[0] += 7
    assert moments.next() == 1
    assert (moments.first, moments.window_s) == (0, 10.0)
