"""What lines say: levels, fields."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from vconnect.logs.records import LogRecord, from_call, guess_level, parse_line


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


@pytest.mark.parametrize("text", [" " * 16384, "a." * 8192, "[" * 16384, "level=" * 2700 + "x"])
def test_no_line_is_expensive(text: str) -> None:
    for _ in range(100):
        assert guess_level(text) == "info"


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
