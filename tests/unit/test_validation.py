"""The mistakes in what people write: their place, and words for them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vconnect.validation import explain_json, place_and_words, without_mark


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


def test_an_error_without_words_stays_empty() -> None:
    assert place_and_words(msgspec.ValidationError("")) == ("$", "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a" 1}', "f:1:6: JSON is malformed: expected ':'"),
        (b'{\n  "a": 1,\n}', "f:3:1: JSON is malformed: trailing comma in object"),
        ('{"ä": "ö", x}'.encode(), "f:1:12: JSON is malformed: object keys must be strings"),
        (b"", "f:1:1: expected JSON, got nothing"),
        (b'{"a": \n\n', "f:1:6: the JSON ends too early"),
        (b'{"a":"\\ud83d"}', r"f:1:7: \ud83d is half of a surrogate pair; write the whole pair"),
        (b'{"a":"\\ud83d\\u0041"}', r"f:1:7: \ud83d is half of a surrogate pair"),
        (b'{"a":"\\ud83d\\ud83d\\ude00"}', r"f:1:7: \ud83d is half of a surrogate pair"),
        (b'{"a":"\\ude00"}', r"f:1:7: \ude00 is half of a surrogate pair"),
        (b'{"a":"\\\\ud83d", "b":"\\ud83d\\ude00\\ud83d', r"f:1:34: \ud83d is half of"),
        (b'{"a":"\\\\ud83d"', "f:1:15: the JSON ends too early"),
    ],
)
def test_a_mistake_in_json_has_its_line_and_column(data: bytes, words: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(data)
    assert explain_json(data, caught.value, "f").startswith(words)


def test_one_byte_order_mark_is_removed() -> None:
    mark = b"\xef\xbb\xbf"
    assert without_mark(b"{}", "f") == without_mark(mark + b"{}", "f") == b"{}"
    assert without_mark(mark + mark, "f") == mark


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding: str) -> None:
    with pytest.raises(ValueError, match=r"^f: is UTF-16; save it as UTF-8$"):
        without_mark("{}".encode(encoding), "f")


def test_what_is_not_utf_8_has_its_line_and_column() -> None:
    with pytest.raises(ValueError, match=r"^f:2:4: byte 0xe4 is not UTF-8; save it as UTF-8$"):
        without_mark(b'{\n "\xc3\xa4\xe4"}', "f")
