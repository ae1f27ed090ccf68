"""Structs as JSON Schema."""

from __future__ import annotations

from typing import Annotated, Literal

import jsonschema
import msgspec
import pytest

from vconnect.json_schema import DIALECT, fields_in_words, schema_of


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"one_of": "in"}):
    """A part.

    More about it.

    Attributes:
        one_of: Some ``words``, which take
            two lines.
    """

    one_of: tuple[str, ...] = ()


class Outer(msgspec.Struct):
    """A whole.

    Attributes:
        count: How many.
        level: How loud.
        inner: Parts by name.
    """

    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    level: Literal["a", "b"] | None = None
    inner: dict[str, Inner] = {}
    one: Inner = Inner()


def test_the_words_of_each_field_are_those_of_the_docstring() -> None:
    assert fields_in_words(Inner) == {"one_of": "Some `words`, which take two lines."}
    made = schema_of(Outer, "outer.toml")
    assert (made["$schema"], made["title"], made["description"]) == (
        DIALECT,
        "outer.toml",
        "A whole.",
    )
    assert made["properties"]["count"]["description"] == "How many."
    inner = made["$defs"]["Inner"]
    assert inner["properties"]["in"]["description"] == "Some `words`, which take two lines."


def test_null_is_no_value_of_a_file() -> None:
    properties = schema_of(Outer, "x")["properties"]
    assert properties["count"] == {"type": "integer", "minimum": 1, "description": "How many."}
    assert properties["level"]["enum"] == ["a", "b"]
    assert properties["one"] == {"$ref": "#/$defs/Inner"}


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        ({}, True),
        ({"count": 1, "inner": {"x": {"in": ["a"]}}, "future": 1}, True),
        ({"count": 0}, False),
        ({"level": "c"}, False),
        ({"inner": {"x": {"one_of": []}}}, False),
        ({"one": {"in": [1]}}, False),
    ],
)
def test_it_is_a_schema(value: object, is_valid: bool) -> None:
    made = schema_of(Outer, "x")
    jsonschema.Draft202012Validator.check_schema(made)
    assert jsonschema.Draft202012Validator(made).is_valid(value) is is_valid
