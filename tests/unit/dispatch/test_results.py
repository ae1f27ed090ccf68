"""What a caller learns of an event, and how it looks when it is sent on."""

from __future__ import annotations

import msgspec
import pytest

from vconnect.dispatch.results import Outcome, PluginResult


def test_an_answer_needs_no_more_than_who_and_whether():
    result = PluginResult(plugin="a", ok=True)
    assert (result.data, result.error, result.error_code) == (None, None, None)
    assert (result.stop, result.is_default, result.duration_ms) == (False, False, 0.0)


def test_a_chain_that_nobody_ended_says_so():
    outcome = Outcome([PluginResult(plugin="a", ok=True)], None, {"x": 1})
    assert (outcome.stopped_by, outcome.reason) == (None, None)


@pytest.mark.parametrize(
    ("struct", "field"),
    [(PluginResult(plugin="a", ok=True), "ok"), (Outcome([], None, 1), "payload")],
)
def test_what_has_happened_does_not_change(struct, field):
    with pytest.raises(AttributeError):
        setattr(struct, field, None)


def test_they_go_over_the_wire_and_back():
    result = PluginResult(
        plugin="a", ok=False, error="no", error_code="internal", stop=True, duration_ms=1.5
    )
    outcome = Outcome([result], "a", [1, {"x": None}], "a failed")
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome
