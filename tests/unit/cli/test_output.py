"""What is printed: whole, one JSON value, and never a plugin's control characters."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from rich.console import Console
from tests.support.fake_manager import plugin_summary

from vconnect.cli import output
from vconnect.plugins.status import PluginStatus, Substate

EVIL = "\x1b]0;owned\x07\x1b[31m[bold red]x[/]\x9b2J\u202e\r\n<script>"
NEUTRAL = r"\x1b]0;owned\x07\x1b[31m[bold red]x[/]\x9b2J\u202e\r\n<script>"


def plain(**fields: Any) -> dict[str, Any]:
    """A plugin as a command gets it: through JSON."""
    return msgspec.json.decode(msgspec.json.encode(plugin_summary(**fields)))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain text", "plain text"),
        ("naïve 名前", "naïve 名前"),
        ("a\tb\nc", r"a\tb\nc"),
        ("\x1b[2J\x7f", r"\x1b[2J\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u2066c\u2028", r"a\u202eb\u2066c\u2028"),
        ("\udcff", r"\udcff"),
        (EVIL, NEUTRAL),
    ],
)
def test_clean_leaves_nothing_that_a_terminal_obeys(text: str, cleaned: str) -> None:
    assert output.clean(text) == cleaned


def test_json_is_one_value_without_raw_controls(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": EVIL, "name": "名前"}
    output.print_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert "名前" in printed
    assert all(char.isprintable() or char == "\n" for char in printed)


def test_the_list_has_one_whole_line_per_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    long = "cannot be started: " + "x" * 300
    output.print_plugins(
        [
            plain(),
            plain(name="n" * 64, status=PluginStatus.ERROR, pid=None, uptime_s=None, reason=long),
            plain(name="waits", status=PluginStatus.STARTING, substate=Substate.HANDSHAKING),
        ]
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["name", "status", "pid", "version", "prio", "uptime", "events", "reason"],
        ["example", "Running", "4242", "0.1.0", "1", "1h", "02m", "7"],
        ["n" * 64, "Error", "0.1.0", "1", "7", *long.split()],
        ["waits", "Starting", "4242", "0.1.0", "1", "1h", "02m", "7", "handshaking"],
    ]


def test_the_list_fits_a_terminal_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminal() -> Console:
        return Console(width=80, force_terminal=True, highlight=False, color_system="standard")

    monkeypatch.setattr(output, "_console", terminal)
    output.print_plugins([plain(), plain(name="crashed", status=PluginStatus.ERROR, reason=EVIL)])
    printed = capsys.readouterr().out
    assert "\x1b[32mRunning" in printed
    assert "\x1b[1;31mError" in printed
    assert "\x1b]" not in printed
    assert "\x9b" not in printed
    assert "[boldred]x[/]" in "".join(printed.split())


QUARANTINED = {"fingerprint": "ab12", "event": "e", "skipped": 2, "payload": "1"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"breaker": "open"}, "[circuit open]"),
        ({"breaker": "half_open"}, "[circuit half open]"),
        ({"quarantine": [QUARANTINED]}, "[1 event in quarantine]"),
        (
            {"quarantine": [QUARANTINED] * 2, "breaker": "open", "reason": "restarted: x"},
            "[circuit open, 2 events in quarantine] restarted: x",
        ),
        (
            {"status": "Error", "substate": "crash_loop", "reason": "exited: code 3"},
            "[crash loop] exited: code 3",
        ),
        (
            {"status": "Error", "substate": "crash_loop", "next_retry_at": 1_700_000_000.0},
            "[crash loop, next try 2023-11-",
        ),
        # It exits at once, and somebody has not stopped it.
        (
            {"status": "Stopped", "substate": "backoff", "reason": "exited: code 0", "desired":
             "running", "next_retry_at": time.time()},
            "[next try ",
        ),
        (
            {"status": "Stopped", "substate": "exited", "reason": "exited: code 0", "desired":
             "running"},
            "[not stopped by a command; no next try] exited: code 0",
        ),
        ({"status": "Stopped", "substate": "", "desired": "stopped"}, ""),
    ],
)  # fmt: skip
def test_the_list_marks_what_is_passed_over_and_what_is_tried_again(
    fields: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.print_plugins([plain(**fields)])
    row = capsys.readouterr().out.splitlines()[1].split(maxsplit=8)
    assert " ".join(row[8:]).startswith(words)
    assert bool(words) == (len(row) > 8)


def test_a_running_plugin_is_shown_without_the_end_of_an_earlier_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_plugin(plain(exit_signal="SIGINT", exit_code=3))
    assert "exit_" not in capsys.readouterr().out
    output.print_plugin(plain(exit_signal="SIGINT", pid=None))
    assert "exit_signal" in capsys.readouterr().out


def test_an_empty_list_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_plugins([])
    assert "--dev NAME:PATH" in capsys.readouterr().out


def test_a_plugin_is_shown_without_its_empty_fields(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_plugin(plain(reason=EVIL, last_stderr=["one", EVIL], pid=None))
    printed = capsys.readouterr().out
    fields = dict(
        line.split(maxsplit=1) for line in printed.partition("last stderr:")[0].splitlines()
    )
    assert fields["status"].strip() == "Running"
    assert fields["reason"].strip() == NEUTRAL
    assert fields["uptime"].strip() == "1h 02m"
    assert fields["capabilities"].strip() == "message.incoming"
    assert fields["last_heartbeat"].startswith("2023-11-1")
    assert "pid" not in fields
    assert "exit_code" not in fields
    assert "next_retry_at" not in fields
    assert printed.endswith(f"last stderr:\n  one\n  {NEUTRAL}\n")


def test_a_crash_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    crash = {
        "at": 1_700_000_000.0,
        "generation": 3,
        "ran_for_s": 75.0,
        "reason": EVIL,
        "in_flight": ["message.incoming", "user.login"],
    }
    quarantined = {"fingerprint": "ab12", "event": "e", "skipped": 2, "payload": '{"a":1}'}
    output.print_plugin(
        plain(crashes=[crash, {**crash, "in_flight": []}], quarantine=[quarantined])
    )
    printed = capsys.readouterr().out.partition("crashes:\n")[2]
    first, second, heading, event = printed.splitlines()
    assert first.startswith("  2023-11-1")
    words = f"  generation 3, after 1m 15s: {NEUTRAL}"
    assert first.endswith(f"{words}; in flight: message.incoming, user.login")
    assert second.endswith(words)
    assert (heading, event) == ("quarantine:", '  ab12  e, skipped 2: {"a":1}')


def test_no_line_in_a_pipe_ends_in_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_plugin(plain(reason="x" * 300))
    output.print_plugins([plain(), plain(reason="x" * 300)])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []


def test_the_next_try_is_a_time_of_day(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_plugin(plain(next_retry_at=1_700_000_000.4))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    (day,) = [words[1] for words in lines if words[0] == "next_retry_at"]
    assert day.startswith("2023-11-1")


def test_zeros_are_values(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_plugin(plain(pid=None, exit_code=0, events=0))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["exit_code", "0"] in lines
    assert ["events", "0"] in lines


def test_an_outcome_shows_each_answer(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_outcome(
        {
            "results": [
                {"plugin": "a", "ok": True, "data": {"n": 1}, "error": None, "duration_ms": 1.25},
                {"plugin": "b", "ok": False, "data": None, "error": EVIL, "duration_ms": 30.0},
            ],
            "stopped_by": "b",
            "payload": {},
        },
        sent={},
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "plugin  answer    ms  data",
        'a       ok       1.2  {"n":1}',
        f"b       error   30.0  {NEUTRAL}",
        "stopped by b",
    ]


def test_an_outcome_shows_what_became_of_the_payload(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"plugin": "a", "ok": True, "data": None, "error": None, "duration_ms": 0.1}
    outcome = {"results": [answer], "stopped_by": None, "payload": {"content": EVIL}}
    output.print_outcome(outcome, sent={"content": EVIL})
    assert "payload" not in capsys.readouterr().out
    output.print_outcome(outcome, sent={"content": "as it was sent"})
    assert "\x1b" not in (printed := capsys.readouterr().out)
    assert printed.splitlines()[-1].startswith('payload now {"content":"')


def test_an_outcome_of_nobody_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_outcome({"results": [], "stopped_by": None, "payload": {}}, sent={})
    assert capsys.readouterr().out == "no running plugin wants this event\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (59.9, "59s"), (61, "1m 01s"), (3725, "1h 02m"), (90000, "1d 01h")],
)
def test_durations_have_two_units(
    seconds: float, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.print_plugin(plain(uptime_s=seconds))
    assert ["uptime", *text.split()] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


@pytest.mark.parametrize(
    ("refusal", "shown"),
    [
        ({"plugin": "f", "code": "stopped", "message": "f stopped it"}, "stopped by f\n"),
        ({"plugin": "f", "code": "spam", "message": "no"}, "stopped by f: no (spam)\n"),
        (None, "stopped by f\n"),
    ],
)
def test_a_refusal_is_told_even_if_nobody_was_asked(capsys, refusal, shown) -> None:
    outcome = {"results": [], "stopped_by": "f", "payload": 1, "reason": None, "refusal": refusal}
    output.print_outcome(outcome, 1)
    assert capsys.readouterr().out == shown


def record(text: str, stream: str = "stdout", **fields: Any) -> dict[str, Any]:
    return {"time": 0.0, "level": "info", "text": text, "stream": stream, "fields": fields}


def test_only_the_host_speaks_in_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    forged = "vconnect: the plugin neighbor has ended"
    output.print_records([record("it is ready", "host"), record(forged), record(forged, "log")])
    shown = [line.split("INFO  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["vconnect: it is ready", f"stdout: {forged}", f"log: {forged}"]


def test_fields_do_not_look_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"a b=c": "x y=z", "plain": "word", "empty": "", "number": 3, "quote": 'say "x"'}
    output.print_records([record("text", "log", **fields)])
    assert capsys.readouterr().out.split("text ")[1] == (
        '"a b=c"="x y=z" plain=word empty="" number=3 quote="say \\"x\\""\n'
    )
