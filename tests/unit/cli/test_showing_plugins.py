"""The list, the details of a plugin, and the sentence that says whether anything is wrong."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from tests.support.fake_manager import plugin_summary

from vconnect.admin.answers import PluginList
from vconnect.cli import showing_plugins
from vconnect.plugins.crashes import CrashReport, QuarantinedEvent
from vconnect.plugins.latency import Latency
from vconnect.seeing.summary import PluginSummary, Queue

EVIL = "\x1b]0;owned\x07\x1b[31m[bold red]x[/]\x9b2J\u202e\r\n<script>"
NEUTRAL = r"\x1b]0;owned\x07\x1b[31m[bold red]x[/]\x9b2J\u202e\r\n<script>"
NONE = "\N{EN DASH}"
Printed = pytest.CaptureFixture[str]


def running(name: str = "example", **fields: Any) -> PluginSummary:
    return plugin_summary(
        name, **{"state": "running", "shape": "running", "serving": True, **fields}
    )


def barred(**fields: Any) -> PluginSummary:
    words = "circuit open: 10 answers in a row came after 200 ms"
    return plugin_summary(
        **{
            "name": "word-filter",
            "state": "circuit open",
            "shape": "barred",
            "code": "circuit_open",
            "why": words,
            "events_per_s": 2.6,
            "latency": Latency(0.0009, 0.203, 160),
            "passed_over": {"refused": 214, "skipped": 0},
            **fields,
        }
    )


def listed(*plugins: PluginSummary) -> PluginList:
    return PluginList("chat-1", 1.0, 60.0, list(plugins))


def test_the_list_has_one_line_per_plugin_and_a_sentence(capsys: Printed) -> None:
    stopped = plugin_summary(
        "geoip", state="stopped", shape="stopped", code="stopped", why="stopped by alice, 3 d ago"
    )
    showing_plugins.print_plugins(listed(barred(), running(), stopped))
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "NAME STATE EVENTS P99 WHY",
        "⊘ word-filter circuit open 2.6/s 203 ms 10 answers in a row came after 200 ms",
        f"● example running {NONE} {NONE}",
        f"○ geoip stopped {NONE} {NONE} by alice, 3 d ago",
        "1 of 3 does not serve; 214 events refused in the last minute. "
        "Next: vconnect why word-filter",
    ]
    assert all(line == line.rstrip() for line in lines)


def test_the_wide_list_says_of_how_many_answers(capsys: Printed) -> None:
    plugin = barred(queue=Queue(3, 64, 0), window=8, in_flight=2, rss_bytes=48 << 20)
    showing_plugins.print_plugins(listed(plugin), wide=True)
    row = capsys.readouterr().out.splitlines()[1]
    assert "900 µs  203 ms  160" in row
    assert "2/8" in row
    assert "3/64" in row
    assert "48 MiB" in row


@pytest.mark.parametrize(
    ("plugins", "sentence"),
    [
        ([running(), running("b")], "2 of 2 serve"),
        (
            [running(), plugin_summary("b", code="stopped", serving=False)],
            "1 of 2 serve; 1 stopped on purpose",
        ),
        (
            [running(), running("b", why="slow: 71 % of the chain's time", code="slow")],
            "all serve; 1 plugin with trouble. Next: vconnect why b",
        ),
        (
            [running(passed_over={"skipped": 3}, why="x", code="passed_over")],
            "3 events passed a plugin over in the last minute. Next: vconnect why example",
        ),
    ],
)
def test_the_sentence_says_what_to_do_first(plugins: list[PluginSummary], sentence: str) -> None:
    assert showing_plugins.headline(plugins) == sentence


def test_an_empty_list_says_what_to_do(capsys: Printed) -> None:
    showing_plugins.print_plugins(listed())
    assert "--dev NAME:PATH" in capsys.readouterr().out


def test_without_utf8_shapes_are_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    shapes = "running starting error barred quarantine stopped installed".split()
    drawn = [showing_plugins.shape_of(running(shape=shape)) for shape in shapes]
    assert drawn == ["[+]", "[~]", "[!]", "[x]", "[?]", "[ ]", "[-]"]
    assert showing_plugins.latency(0.00009) == "90 us"
    assert showing_plugins.rate(None) == "-"


def test_no_text_of_a_plugin_steers_the_terminal(capsys: Printed) -> None:
    crash = CrashReport(
        at=1_700_000_000.0,
        generation=3,
        ran_for_s=75.0,
        reason=EVIL,
        exit_code=1,
        exit_signal=None,
        last_stderr=(EVIL,),
        in_flight=(EVIL,),
        max_rss_bytes=None,
        cpu_s=None,
    )
    quarantined = QuarantinedEvent(fingerprint="ab12", event=EVIL, payload=EVIL, skipped=2)
    plugin = running(
        EVIL,
        version=EVIL,
        why=EVIL,
        next=EVIL,
        description=EVIL,
        crashes=(crash,),
        quarantine=(quarantined,),
        last_stderr=(EVIL,),
    )
    showing_plugins.print_plugin(plugin, crashes=True)
    showing_plugins.print_plugins(listed(plugin))
    printed = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert printed.count(NEUTRAL) >= 10


def test_a_plugin_is_shown_without_what_is_empty(capsys: Printed) -> None:
    showing_plugins.print_plugin(running(outcomes={"ok": 143, "late": 17}, exit_signal="SIGINT"))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "● example 0.1.0, running",
        "  serves       message.incoming (filter, priority 1)",
        "  process      4242, generation 1, up 1 h 02 min",
        "  answers      143 ok, 17 late of 160",
        "  path         /plugins/example",
    ]
    showing_plugins.print_plugin(running(pid=None, exit_signal="SIGINT"))
    assert "none; the last one ended with SIGINT" in capsys.readouterr().out
