"""What lines say: levels, fields."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.support.heap import bytes_in_use

from vconnect.logs.records import (
    LineParser,
    LogRecord,
    from_call,
    guess_level,
    parse_line,
    without_level,
)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("hello", "info"),
        ("", "info"),
        ("[ERROR] no", "error"),
        ("[error] no", "error"),
        ("<warning> no", "warn"),
        ("ERROR no", "error"),
        ("ERROR", "error"),
        ("ERROR: no", "error"),
        ("WARNING example: no", "warn"),
        ("WARNING:root:no", "warn"),
        ("CRITICAL example: no", "error"),
        ("DEBUG example: event x", "debug"),
        ("TRACE example: x", "trace"),
        ("NOTICE x", "info"),
        (" INFO target: x", "info"),
        ("2024-05-06T07:08:09.123456Z ERROR example::net: lost", "error"),
        ("2024-05-06T07:08:09.123456Z  WARN example::net: lost", "warn"),
        ("2024-05-06T07:08:09+02:00 DEBUG x", "debug"),
        ("[2024-05-06T07:08:09Z ERROR example] lost", "error"),
        ("2024-05-06 07:08:09,123 - example - ERROR - lost", "error"),
        ("2024-05-06 07:08:09,123 WARNING example: lost", "warn"),
        ("[2024-05-06 07:08:09] [error] lost", "error"),
        ("level=error msg=x", "error"),
        ('time=x level="warn" msg=x', "warn"),
        ("ts=1 lvl=dbg msg=x", "debug"),
        ("level=loud msg=x", "info"),
        ("sublevel=error", "info"),
        ("ERRORS are many", "info"),
        ("Error handling is easy", "info"),
        ("no ERROR here", "info"),
        ("error", "info"),
    ],
)
def test_levels_are_guessed(text: str, level: str) -> None:
    assert guess_level(text) == level


def test_levels_are_found_behind_colors() -> None:
    line = b"\x1b[2m2024-05-06T07:08:09.1Z\x1b[0m \x1b[31mERROR\x1b[0m \x1b[2mx\x1b[0m: lost"
    content = parse_line(line)
    assert (content.level, content.text) == ("error", "2024-05-06T07:08:09.1Z ERROR x: lost")


@pytest.mark.parametrize(
    "text",
    [
        *(" " * 16384, "a." * 8192, "[" * 16384, "level=" * 2700 + "x"),
        *("thread '" + "' " * 8192, "A." * 8192, "a: " * 5400, "+|" * 8192),
    ],
)
def test_no_line_is_expensive(text: str) -> None:
    parser = LineParser()
    for _ in range(100):
        assert guess_level(text) == "info"
        assert parser.parse(text.encode()).level == "info"


@pytest.mark.parametrize(
    ("value", "level", "text", "fields"),
    [
        ({"message": "m", "level": "error", "n": 1}, "error", "m", {"n": 1}),
        ({"msg": "m", "lvl": "WARN", "time": 5}, "warn", "m", {}),
        ({"text": "m", "severity": "Debug", "timestamp": "x"}, "debug", "m", {}),
        ({"msg": "pino", "level": 50, "time": 1}, "error", "pino", {}),
        ({"msg": "pino", "level": 60}, "error", "pino", {}),
        ({"msg": "pino", "level": 10}, "trace", "pino", {}),
        ({"level": "loud", "msg": "m"}, "info", "m", {}),
        ({"level": None, "msg": None}, "info", "", {}),
        ({"a": {"b": [1]}}, "info", "", {"a": {"b": [1]}}),
        ({"msg": {"a": 1}}, "info", '{"a":1}', {}),
        ({"msg": "\x1b[31mred\x1b[0m\x07"}, "info", "red", {}),
        ({"msg": "two\nlines"}, "info", r"two\nlines", {}),
        (
            {"timestamp": "x", "level": "WARN", "fields": {"message": "m", "n": 1}, "target": "t"},
            "warn",
            "m",
            {"target": "t", "n": 1},
        ),
    ],
)
def test_json_lines_have_fields(
    value: dict[str, Any], level: str, text: str, fields: dict[str, Any]
) -> None:
    content = parse_line(orjson.dumps(value))
    assert (content.level, content.text) == (level, text)
    assert orjson.loads(content.fields_json) == fields


@pytest.mark.parametrize(
    "line",
    [b"{", b"{}}", b"{ERROR}", b'{"a": \xff}', b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"],
)
def test_what_only_looks_like_json_is_text(line: bytes) -> None:
    content = parse_line(line)
    assert content.text == line.decode("utf-8", "replace")
    assert content.fields_json == b"{}"


def test_a_call_brings_level_and_fields() -> None:
    content = from_call("warn", "low\x1b[2J\nnext", {"left": 3})
    assert (content.level, content.text, content.fields_json) == (
        "warn",
        r"low\nnext",
        b'{"left":3}',
    )


def test_a_call_is_bounded() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert b"too deeply" in from_call("info", "x", {"deep": deep}).fields_json
    large = from_call("info", "x" * 100_000, {"large": "x" * 100_000})
    assert len(large.text) + len(large.fields_json) < 20_000


def test_a_record_is_one_line() -> None:
    record = LogRecord(1, 0.0, "log", "info", "took", b'{"ms":5,"who":"ada","deep":{"a":[1]}}')
    assert record.line() == 'took ms=5 who=ada deep={"a":[1]}'
    assert record.fields == {"ms": 5, "who": "ada", "deep": {"a": [1]}}
    assert LogRecord(1, 0.0, "stdout", "info", "plain").line() == "plain"
    assert LogRecord(1, 0.0, "stdout", "info", "", b'{"a":1}').line() == "a=1"


# --- lines that continue a record ------------------------------------------------------------


HANDLER = """\
INFO p: hello
ERROR p: the handler of m failed
Traceback (most recent call last):
  File "sdk/answering.py", line 96, in call
    result = await handler(context)
             ^^^^^^^^^^^^^^^^^^^^^^
ConnectionError: no database

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "plugin.py", line 5, in m
NoSuchRoomYet
goodbye
"""


def levels(*lines: str) -> list[str]:
    parser = LineParser()
    return [parser.parse(line.encode()).level for line in lines]


def test_a_traceback_has_the_level_of_the_record_that_announces_it():
    assert levels(*HANDLER.splitlines()) == ["info", *["error"] * 12, "info"]
    warned = HANDLER.replace("ERROR", "WARNING").splitlines()
    assert levels(*warned) == ["info", *["warn"] * 12, "info"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # What nobody has caught is an error, whatever was said before it.
        (["INFO x", "Traceback (most recent call last):", "  File", "E", "y"], "ieeei"),
        (["x", "TypeError: no", "    at f (t.js:1:36)", "", "Node.js v20.20.2"], "ieeei"),
        (["", "thread 'main' (7) panicked at a.rs:1:2:", "boom", "note: run with"], "ieei"),
        (["panic: no database", "", "goroutine 1 [running]:", "main.main()"], "eeii"),
        (['Exception in thread "main" X: y', "\tat J.main(J.java:1)", "Caused by: Z"], "eee"),
        (["  + Exception Group Traceback (most recent call last):", "  |   File", "x"], "eee"),
        # An indented line belongs to the one before it.
        (["ERROR it failed", "  why: so", "\tagain", "x", "  y"], "eeeii"),
        (["WARN it is late", "  by 5 s", "ERROR no", "  yes"], "wwee"),
        (['{"level": "error", "msg": "x"}', "  more", '{"msg": "y"}', "  more"], "eeii"),
        (["  x", "y"], "ii"),
    ],
)
def test_a_line_without_a_level_may_continue_the_one_before(lines, expected):
    assert "".join(level[0] for level in levels(*lines)) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ERROR example: no", "example: no"),
        ("ERROR: no", "no"),
        ("ERROR - no", "no"),
        ("ERROR|no", "no"),
        ("ERROR -5 is too cold", "-5 is too cold"),
        ("[ERROR] no", "no"),
        ("[error] no", "no"),
        ("WARNING:root:no", "root:no"),
        ("2024-05-06T07:08:09.1Z ERROR x: lost", "2024-05-06T07:08:09.1Z x: lost"),
        ("[2024-05-06T07:08:09Z ERROR x] lost", "[2024-05-06T07:08:09Z x] lost"),
        ("[2024-05-06T07:08:09Z ERROR] lost", "[2024-05-06T07:08:09Z] lost"),
        ("[2024-05-06 07:08:09] [error] lost", "[2024-05-06 07:08:09] lost"),
        ("2024-05-06 07:08:09,1 - x - ERROR - lost", "2024-05-06 07:08:09,1 - x - lost"),
        # What says more than the level, or nothing but it, stays.
        ("CRITICAL no", "CRITICAL no"),
        ("ERROR", "ERROR"),
        ("no ERROR here", "no ERROR here"),
        ("", ""),
    ],
)
def test_a_level_is_not_told_twice(text, shown):
    assert without_level(text, guess_level(text)) == shown
    assert LogRecord(1, 0, "stderr", guess_level(text), text).line() == shown
    assert without_level(text, "trace") == text  # shown after another level


def test_the_fields_of_a_kept_record_take_no_more_memory_than_their_text() -> None:
    fields: dict[str, Any] = {"k": [[]] * 5_000}
    before = bytes_in_use()
    kept = [from_call("info", "x", fields) for _ in range(20)]
    assert bytes_in_use() - before < 1.2 * sum(len(one.fields_json) for one in kept)
