"""Lines of traces; ``integration/test_watching`` has real events."""

from __future__ import annotations

from vconnect.cli.commands.tail import format_trace
from vconnect.seeing.trace import Hop, Trace


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
