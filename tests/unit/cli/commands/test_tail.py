"""Lines of traces; ``integration/test_watching`` has real events."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from vconnect.cli.commands.tail import format_trace
from vconnect.seeing.trace import Hop, Trace

tail = import_module("vconnect.cli.commands.tail")


def trace(outcome: str, *hops: Hop) -> str:
    return format_trace(
        Trace(
            id=1,
            time=0.0,
            event="message.incoming",
            mode="chain",
            outcome=outcome,
            duration_s=0.418,
            hops=hops,
        )
    )


def hop(plugin: str, outcome: str, **more: str) -> Hop:
    return Hop(plugin=plugin, outcome=outcome, reason=more.get("reason", ""), duration_s=0.001)


def test_a_line_says_who_did_what_in_how_long() -> None:
    line = trace("passed", hop("gate", "ok"), hop("filter", "changed"))
    assert "message.incoming" in line
    assert "418.0 ms" in line
    assert line.index("gate") < line.index("filter")


def test_what_was_refused_is_told_and_no_control_character_passes() -> None:
    line = trace("refused", hop("a\x1b[31m", "passed_over", reason="circuit\x07 open"))
    assert "REFUSED" in line
    assert "\x1b" not in line
    assert "\x07" not in line


def test_that_it_is_a_sample_is_said_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tail._Sampled(as_json=False)
    said.tell(45_210)
    said.tell(45_211)
    monkeypatch.setattr(tail.time, "monotonic", lambda: 1e12)
    said.tell(3)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if "a sample: plugins got" in line] == [
        "-- a sample: plugins got 45,210 events in the last second --",
        "-- a sample: plugins got 3 events in the last second --",
    ]
    tail._Sampled(as_json=True).tell(5)
    assert json.loads(capsys.readouterr().out) == {"sampled": 5}
