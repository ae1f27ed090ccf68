"""Errors of msgspec, split into a place and words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vconnect.validation import place_and_words


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int = 0


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner = Inner()
    names: dict[str, int] = {}
    numbers: dict[int, str] = {}


def error_of(value: Any) -> msgspec.ValidationError:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Outer)
    return caught.value


@pytest.mark.parametrize(
    ("value", "place", "words"),
    [
        ({"inner": {"count": "x"}}, "$.inner.count", "expected `int`, got `str`"),
        ({"names": {"a": None}}, "$.names[...]", "expected `int`, got `null`"),
        ({"inner": {"size": 1}}, "$.inner", "object contains unknown field `size`"),
        ({"size": 1}, "$", "object contains unknown field `size`"),
        ({"numbers": {"a": "b"}}, "$.numbers", "expected `int`, got `str`"),
        (1, "$", "expected `object`, got `int`"),
    ],
)
def test_the_place_stands_apart_from_the_words(value: Any, place: str, words: str) -> None:
    assert place_and_words(error_of(value)) == (place, words)


def test_text_that_is_no_json_has_no_place() -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(b"{", type=Outer)
    assert place_and_words(caught.value) == ("$", "input data was truncated")


def test_an_error_without_words_stays_empty() -> None:
    assert place_and_words(msgspec.ValidationError("")) == ("$", "")
