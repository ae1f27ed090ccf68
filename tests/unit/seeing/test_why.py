"""Why a plugin does not serve: which finding comes first, and the whole line."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fake_manager import plugin_summary
from tests.support.why_kit import ALONE, ERROR, NOW, STARTING, STOPPED, why

from vconnect.plugins.latency import Latency
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing.why import Why, explain, explained


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"events_per_s": 6.1, "latency": Latency(0.00006, 0.00031, 366)},
            "runs: 6.1 events/s, p50 60 µs, p99 310 µs of 366, none passed over",
        ),
        ({}, "runs: no event in the last minute"),
    ],
)
def test_one_that_is_well_has_its_numbers(fields: dict[str, Any], line: str) -> None:
    found = why(**fields)
    assert (found.code, found.in_words(), found.serving) == ("healthy", line, True)


def test_the_most_urgent_comes_first_and_the_rest_follows() -> None:
    found = why(
        serving=False,
        breaker="open",
        failures_in_a_row=2,
        is_slow=True,
        latency=Latency(1.0, 1.0, 1),
        refused_changes=1,
    )
    assert found.code == "circuit_open"
    assert [one.code for one in found.also] == ["slow", "refused_changes"]


def test_the_facts_are_of_this_explanation_alone() -> None:
    found = why()
    found.facts["x"] = 1
    assert why().facts == {}


@pytest.mark.parametrize("status", PluginStatus)
@pytest.mark.parametrize("substate", Substate)
def test_every_state_has_an_explanation(status: PluginStatus, substate: Substate) -> None:
    serving = status is PluginStatus.RUNNING
    found = why(status=status, substate=substate, serving=serving, reason="a reason")
    assert found.code
    assert found.cause
    assert (found.plugin, found.serving) == ("a", serving)
    assert serving or found.code != "healthy"


FAILING: dict[str, Any] = {"serving": False, "breaker": "open", "is_slow": True}


@pytest.mark.parametrize(
    "fields",
    [
        {**STOPPED, "ordered_by": "ada", "ordered_at": NOW - 60},
        {**ERROR, "reason": "its disk is gone; try: mount it"},
        {**STARTING, "substate": Substate.INITIALIZING},
        {**FAILING, "latency": Latency(1.0, 1.0, 1), "refused_changes": 1},
    ],
)
def test_a_summary_says_the_same(fields: dict[str, Any]) -> None:
    summary = plugin_summary("a", **fields)
    told, found = explained(summary, ALONE), explain(summary, ALONE)
    assert (told.code, told.why, told.next) == (found.code, found.cause, found.next)
    assert (told.since, told.also) == (found.since, found.also)


def test_the_summary_of_one_that_is_well_has_no_words() -> None:
    told = explained(plugin_summary("a"), ALONE)
    assert (told.code, told.why, told.next, told.also) == ("healthy", "", "", ())


def test_the_words_have_the_next_step_if_there_is_one() -> None:
    known: dict[str, Any] = {"plugin": "a", "serving": False, "code": "x", "cause": "no disk"}
    assert Why(**known).in_words() == "no disk"
    assert Why(**known, next="mount it").in_words() == "no disk. Next: mount it"
