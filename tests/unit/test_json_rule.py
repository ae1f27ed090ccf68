"""Where a value breaks the one rule for JSON."""

from __future__ import annotations

import dataclasses
import datetime
import math
from enum import StrEnum
from typing import Any, NamedTuple

import pytest

from vconnect._framing import encode_frame
from vconnect.errors import PayloadError
from vconnect.json_rule import MAX_LEVELS, find_problem


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@dataclasses.dataclass
class Order:
    price: float


class Size(StrEnum):
    SMALL = "small"


class Point(NamedTuple):
    x: int
    y: int


BROKEN: list[tuple[Any, str]] = [
    (math.nan, "$: nan is not"),
    ({"price": math.inf}, "$.price: inf is not"),
    ({"a": None, "b": [1, {"c": -math.inf}]}, "$.b[1].c: -inf is not"),
    ((1, math.nan), "$[1]: nan is not"),
    (Order(math.nan), "$.price: nan is not"),
    ([Order(1.0), Order(math.inf)], "$[1].price: inf is not"),
    ({"id": 1 << 64}, "$.id: the integer has more than 64 bits"),
    ({"id": -(1 << 63) - 1}, "$.id: the integer has more than 64 bits"),
    (["ok", "\ud83d"], "$[1]: the text has half a surrogate pair"),
    ({"\ud83d": 1}, "$: a key has half a surrogate pair"),
    ({"a": {1: 2}}, "$.a: the key 1 is not a string"),
    ({"a": {Size.SMALL: 2}}, "is a Size; use a plain string"),
    ({"a": Point(1, 2)}, "$.a: JSON has no Point"),
    ({"a": [{1, 2}]}, "$.a[0]: JSON has no set"),
    ({"a": b"x"}, "$.a: JSON has no bytes"),
    (nested(MAX_LEVELS + 1), "nested too deeply; the limit is 254 levels"),
    ({"big": ["x"] * 5000, "price": math.nan}, "$.price: nan is not"),
    ({"big": list(range(5000)), "price": math.nan}, "$.price: nan is not"),
]


@pytest.mark.parametrize(("value", "words"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_value_is_refused_with_its_place(value: Any, words: str) -> None:
    assert words in find_problem(value)
    with pytest.raises(PayloadError) as refused:
        encode_frame(value)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        1.5,
        (1 << 64) - 1,
        -(1 << 63),
        "ä😀",
        [],
        {},
        {"a": None, "null": "null"},
        (None, [None]),
        Order(1.5),
        {"at": datetime.date(2026, 1, 2)},
        {"orders": [Order(1.5), None]},
        nested(MAX_LEVELS),
        [None] * 5000,
        {"text": "null" * 5000},
    ],
    ids=range(17),
)
def test_everything_else_is_sent(value: Any) -> None:
    assert find_problem(value) == ""
    assert encode_frame(value)
