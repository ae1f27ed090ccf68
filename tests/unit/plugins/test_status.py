"""The table of transitions, edge by edge."""

from __future__ import annotations

from itertools import product

import pytest

from vconnect.errors import IllegalTransitionError
from vconnect.plugins.status import TRANSITIONS, PluginStatus, Substate, advance

# Written down again, by hand: a change of the table is to be a change of this test.
LEGAL = {
    ("Installed", "Starting"), ("Installed", "Running"), ("Installed", "Error"),
    ("Starting", "Running"), ("Starting", "Stopping"), ("Starting", "Stopped"),
    ("Starting", "Error"),
    ("Running", "Starting"), ("Running", "Stopping"), ("Running", "Stopped"),
    ("Running", "Error"),
    ("Stopping", "Stopped"), ("Stopping", "Error"),
    ("Stopped", "Starting"), ("Stopped", "Running"),
    ("Error", "Starting"), ("Error", "Running"), ("Error", "Stopped"),
}  # fmt: skip


@pytest.mark.parametrize(("current", "wanted"), list(product(PluginStatus, repeat=2)))
def test_every_edge(current, wanted):
    if (current.value, wanted.value) in LEGAL:
        assert advance("example", current, wanted) is wanted
        return
    with pytest.raises(IllegalTransitionError) as caught:
        advance("example", current, wanted)
    text = str(caught.value)
    assert text.startswith(f"example: cannot change from {current} to {wanted}")
    assert all(status in text for status in TRANSITIONS[current])


def test_every_status_has_a_row_and_a_way_out():
    assert set(TRANSITIONS) == set(PluginStatus)
    assert all(TRANSITIONS.values())


def test_words():
    assert str(PluginStatus.RUNNING) == "Running"
    assert len({*Substate}) == len(Substate)
    assert all(word == word.lower() for word in Substate)
