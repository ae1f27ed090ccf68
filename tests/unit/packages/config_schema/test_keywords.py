"""The limits of a check, which each keyword looks at."""

from __future__ import annotations

import time

import pytest

from vconnect.packages.config_schema.keywords import (
    DEFAULT_DIALECT,
    TooDeepError,
    TooLongError,
    dialects,
    in_time,
    limited,
)


def errors_of(schema: dict, value: object) -> list:
    return list(limited(DEFAULT_DIALECT)(schema).iter_errors(value))


def test_a_check_returns_what_it_finds() -> None:
    assert in_time(1.0, lambda: errors_of({"type": "string"}, "x")) == []
    assert len(in_time(1.0, lambda: errors_of({"type": "string"}, 1))) == 1


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"type": "integer"}}, list(range(100_000))),
        ({"uniqueItems": True}, list(range(1_000_000))),
        ({"pattern": "(x+x+)+y"}, "x" * 5000),
        ({"anyOf": [{"uniqueItems": True}] * 100}, list(range(10_000))),
    ],
    ids=["items", "uniqueItems", "pattern", "anyOf"],
)
def test_it_ends_when_its_time_is_over(schema: dict, value: object) -> None:
    began = time.thread_time()
    with pytest.raises(TooLongError):
        in_time(0.02, lambda: errors_of(schema, value))
    assert time.thread_time() - began < 0.3


def test_it_does_not_go_too_deep() -> None:
    with pytest.raises(TooDeepError):
        in_time(1.0, lambda: errors_of({"$ref": "#"}, 1))


def test_both_spellings_of_an_address_are_known() -> None:
    assert dialects()[DEFAULT_DIALECT] is dialects()[DEFAULT_DIALECT + "#"]
