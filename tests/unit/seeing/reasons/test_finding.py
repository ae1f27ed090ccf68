"""What findings are made of: which crashes count, last words, and the parts of a sentence."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support.fake_manager import plugin_summary
from tests.support.why_kit import ALONE, ERROR, EXIT, NOW, crash

from vconnect.plugins.status import PluginStatus
from vconnect.seeing.reasons.finding import (
    counted,
    is_ours,
    is_recent,
    last_said,
    next_try,
    span,
    split,
    story,
    unexplained,
    words_of,
)


def test_a_story_is_of_the_last_ten_minutes_before_the_last_crash() -> None:
    old, early, late = crash(-601), crash(-599), crash()
    assert story(plugin_summary("a", crashes=(old, early, late))) == [early, late]
    assert story(plugin_summary("a", crashes=(old,))) == [old]
    assert story(plugin_summary("a")) == []


def test_a_story_begins_again_when_crashes_are_forgotten() -> None:
    early, late = crash(-10), crash()
    forgotten = plugin_summary("a", crashes=(early, late), forgotten_at=NOW - 65)
    assert story(forgotten) == [late]


@pytest.mark.parametrize(
    ("reason", "recent"),
    [("restarted: exited: code 1", True), ("exited: code 1", False), ("", False)],
)
def test_what_has_been_restarted_says_so(reason: str, recent: bool) -> None:
    assert is_recent(plugin_summary("a", reason=reason)) is recent


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("killed by SIGSEGV", False),
        ("exited: code 1", False),
        ("no handshake within 10 s", True),
        ("memory_limit: 2 process(es)", True),
    ],
)
def test_an_end_by_the_host_has_another_reason(reason: str, ours: bool) -> None:
    assert is_ours(reason) is ours


def test_ends_come_within_whole_seconds_and_at_least_one() -> None:
    assert span([crash(), crash(5.0), crash(9.6)]) == 10
    assert span([crash()]) == 1


@pytest.mark.parametrize(
    ("events", "words"),
    [(("e",), "e"), (("e", "f"), "e and 1 more"), (("e", "f", "g"), "e and 2 more")],
)
def test_events_are_counted_after_the_first(events: tuple[str, ...], words: str) -> None:
    assert counted(events) == words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"last_stderr": ("one", "two")}, "two"),
        ({"last_stderr": ("waiting", "KeyboardInterrupt"), "said": "waiting"}, "waiting"),
        ({"last_stderr": ("KeyboardInterrupt",), "said": ""}, ""),
    ],
)
def test_last_words_are_those_before_the_signal_of_the_host(
    fields: dict[str, Any], words: str
) -> None:
    assert words_of(crash(**fields)) == words


def test_last_words_are_of_the_last_process() -> None:
    crashes = (crash(last_stderr=("first",)), crash(last_stderr=("second",)))
    assert last_said(plugin_summary("a", crashes=crashes, last_stderr=("third",))) == "second"
    assert last_said(plugin_summary("a", last_stderr=("third",))) == "third"
    assert last_said(plugin_summary("a")) == ""


def test_the_next_try_is_at_once_or_at_a_time() -> None:
    failed: dict[str, Any] = {**ERROR, "crashes": (crash(**EXIT),)}
    assert next_try(plugin_summary("a", **failed)) == ""
    soon = plugin_summary("a", **failed, next_retry_at=time.time())
    assert next_try(soon) == ". It is tried again at once"
    later = plugin_summary("a", **failed, next_retry_at=time.time() + 300)
    assert next_try(later).startswith(". Next try ")


@pytest.mark.parametrize(
    ("reason", "parts"),
    [
        ("b has this name; rename one", ("b has this name", "rename one")),
        ("its disk is gone; try: mount it", ("its disk is gone", "mount it")),
        ("no key; to make one, ask ada", ("no key", "make one, ask ada")),
        ("one; two; do it", ("one; two", "do it")),
        ("exited: code 1; last stderr: no x", ("exited: code 1; last stderr: no x", "")),
        ("no disk", ("no disk", "")),
        ("", ("", "")),
    ],
)
def test_the_advice_is_behind_the_last_semicolon(reason: str, parts: tuple[str, str]) -> None:
    assert split(reason) == parts


@pytest.mark.parametrize(
    ("reason", "cause"), [("no disk", "no disk"), ("", str(PluginStatus.ERROR))]
)
def test_before_it_is_explained_there_is_only_its_reason(reason: str, cause: str) -> None:
    finding = ALONE.explain(plugin_summary("a", **ERROR, reason=reason), ALONE)
    assert finding == unexplained(plugin_summary("a", **ERROR, reason=reason), ALONE)
    assert (finding.code, finding.cause, finding.next) == ("unknown", cause, "")
