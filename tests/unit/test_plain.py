"""Results as plain JSON."""

from __future__ import annotations

import json
from enum import Enum

import orjson
import pytest
from tests.support.paper import plugin

from vconnect.dispatch.results import Outcome, PluginResult, Refusal
from vconnect.seeing.summary import summarize


class Color(Enum):
    RED = 1


def test_an_outcome_is_plain_json() -> None:
    refusal = Refusal(plugin="a", code="spam", message="no", details={"score": 1})
    outcome = Outcome(
        [PluginResult(plugin="a", ok=True, data=[1])], "a", {"x": None}, None, refusal
    )
    plain = outcome.to_dict()
    assert plain["results"][0]["data"] == [1]
    assert plain["refusal"]["details"] == {"score": 1}
    assert json.loads(outcome.to_json()) == json.loads(json.dumps(plain)) == plain


def test_a_summary_is_plain_json() -> None:
    summary = summarize(plugin("x"))
    plain = summary.to_dict()
    assert (plain["name"], plain["status"], plain["crashes"]) == ("x", "Installed", [])
    assert json.loads(json.dumps(plain)) == plain


class Label(str):
    __slots__ = ()


@pytest.mark.parametrize("value", [Label("x"), {"a": [Label("x")]}, Color.RED])
def test_it_has_the_payload_as_it_was_sent(value: object) -> None:
    outcome = Outcome([], None, value)
    assert outcome.to_dict()["payload"] == orjson.loads(orjson.dumps(value))
