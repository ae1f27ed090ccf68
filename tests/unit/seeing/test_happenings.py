"""The feed of what happened."""

from __future__ import annotations

from typing import Any

from vconnect.seeing.happenings import Happenings


def test_the_newest_are_kept_and_told():
    happenings = Happenings()
    told: list[Any] = []
    happenings.on_happening = told.append
    for number in range(300):
        happenings.add("a", "error", f"{number} " + "x" * 10_000)
    kept = happenings.newest()
    assert (len(kept), kept[-1].seq, len(told)) == (200, 300, 300)
    assert kept[-1].shape == "error"
    assert len(kept[-1].text) < 1100
