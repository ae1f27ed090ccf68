"""What a verdict says when nobody adds anything to it."""

from __future__ import annotations

import pytest

from vconnect.plugins.restarts import Ended
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.supervision.verdict import Verdict


def test_an_end_that_was_asked_for_needs_no_words_and_no_restart():
    verdict = Verdict(PluginStatus.STOPPED, Substate.EXITED)
    assert (verdict.reason, verdict.ended) == ("", None)


def test_a_verdict_stands():
    verdict = Verdict(PluginStatus.ERROR, Substate.KILLED, "why", Ended.FAILED)
    with pytest.raises(AttributeError):
        verdict.reason = "another one"
    assert verdict == Verdict(PluginStatus.ERROR, Substate.KILLED, "why", Ended.FAILED)
