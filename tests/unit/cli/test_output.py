"""What is printed: whole, one JSON value, and never a plugin's control characters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vconnect.cli import output

EVIL = "\x1b]0;owned\x07\x1b[31m[bold red]x[/]\x9b2J\u202e\r\n<script>"
NEUTRAL = r"\x1b]0;owned\x07\x1b[31m[bold red]x[/]\x9b2J\u202e\r\n<script>"


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


def test_what_is_not_utf8_is_json_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    # A path from the command line, for example.
    output.print_json({"file": "a\udcff.vp"})
    output.print_json_lines([{"file": "a\udcff.vp"}])
    assert capsys.readouterr().out == '{\n  "file": "a?.vp"\n}\n{"file":"a?.vp"}\n'


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


def test_the_lag_of_the_hosts_loop_is_shown_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    lag = {"p50_s": 0.000224, "p99_s": 0.037027839999999965, "count": 48}
    output.print_host({"uptime_s": 2.0, "loop_lag": lag})
    words = capsys.readouterr().out.splitlines()[1].split()
    assert words == ["loop_lag", "p50", "224", "µs,", "p99", "37", "ms"]
    output.print_host({"uptime_s": 2.0, "loop_lag": None})
    assert "lag" not in capsys.readouterr().out
