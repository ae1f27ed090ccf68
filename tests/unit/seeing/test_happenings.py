"""What happened lately: the last two hundred, each with a shape and words."""

from __future__ import annotations

from vconnect.seeing.happenings import Happening, Happenings


def test_what_happens_is_kept_and_passed_on() -> None:
    heard: list[Happening] = []
    made = Happenings()
    made.on_happening = heard.append
    made.add("a", "error", "killed by SIGKILL")
    made.add(None, "info", "reloaded")
    assert made.newest() == heard
    assert [(one.seq, one.plugin, one.shape) for one in heard] == [
        (1, "a", "error"),
        (2, None, "running"),
    ]


def test_the_last_two_hundred_are_kept_and_long_words_cut() -> None:
    made = Happenings()
    for _ in range(300):
        made.add("a", "warn", "x" * 100_000)
    kept = made.newest()
    assert (len(kept), kept[0].seq, made.seq) == (200, 101, 300)
    assert max(len(one.text) for one in kept) < 1100
    assert {one.shape for one in kept} == {"barred"}
