"""What is simple, and what is said of what is wrong."""

from __future__ import annotations

import time
from typing import Any

import pytest

from vconnect.packages.config_schema.rules import (
    MAX_SCHEMA_BYTES,
    is_simple,
    judge,
    problem_of_form,
)


@pytest.mark.parametrize(
    ("schema", "config", "simple"),
    [
        ({"properties": {f"k{n}": {"type": "string"} for n in range(90)}}, {"k1": "x"}, True),
        ({"properties": {f"k{n}": {"type": "string"} for n in range(110)}}, {}, False),
        ({"pattern": "a" * 1000}, {}, True),
        ({"pattern": "a" * 1001}, {}, False),
        ({"patternProperties": {"a" * 600: {}, "b" * 600: {}}}, {}, False),
        ({"description": "a" * 16_000}, {}, True),
        ({"description": "a" * 17_000}, {}, False),
        ({}, {"k": "x" * 64_000}, True),
        ({}, {"k": "x" * 66_000}, False),
        ({}, {"k": object()}, True),
    ],
)
def test_what_is_simple(schema: dict[str, Any], config: dict[str, Any], simple: bool) -> None:
    assert is_simple(schema, config) is simple


def test_the_form_is_looked_at_first() -> None:
    assert problem_of_form({}) == ""
    assert problem_of_form({"a": object()}).startswith(": Type is not JSON serializable")
    text = "a" * MAX_SCHEMA_BYTES
    assert problem_of_form({"a": text}) == " has 65544 bytes; the limit is 65536"


def test_long_keys_are_cut_and_not_compared() -> None:
    known: dict[str, Any] = {f"{'k' * 30_000}{n}": {} for n in range(2)}
    schema = {"properties": known, "additionalProperties": False}
    began = time.thread_time()
    violation = judge(schema, {"k" * 29_000: 1}, 1.0).violation
    assert time.thread_time() - began < 0.5
    assert violation.startswith("$: unknown key 'kkk")
    assert len(violation) < 300
