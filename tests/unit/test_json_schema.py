"""Structs as JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import jsonschema
import msgspec
import pytest

from vconnect.json_schema import DIALECT, fields_in_words, schema_of, schema_of_output


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


class Written(Outer, kw_only=True):
    """A whole with more.

    Attributes:
        until: When it ends; ``None`` for never.
        left: What is left, if anything is.
        path: Where.
    """

    until: float | None = None
    left: int | msgspec.UnsetType = msgspec.UNSET
    path: Path


class Sparse(msgspec.Struct, omit_defaults=True):
    """What has its default is left out.

    Attributes:
        name: Its name.
        why: Why.
    """

    name: str
    why: str = ""


def test_what_is_written_has_each_key() -> None:
    made = schema_of_output([Written], "x", "Words.")
    assert (made["title"], made["description"], made["$ref"]) == ("x", "Words.", "#/$defs/Written")
    written = made["$defs"]["Written"]
    assert sorted(written["required"]) == ["count", "inner", "level", "one", "path", "until"]
    assert written["properties"]["until"] == {
        "anyOf": [{"type": "number"}, {"type": "null"}],
        "description": "When it ends; `null` for never.",
    }
    assert written["properties"]["path"]["type"] == "string"
    # Also of what it inherits.
    assert written["properties"]["count"]["description"] == "How many."


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        ({"name": "a"}, True),
        ({"name": "a", "why": "b", "future": 1}, True),
        ({"why": "b"}, False),
        ([{"name": "a"}, {"in": []}], True),
        ([], True),
        ([{"nobody": 1}], False),
        ({"in": []}, False),
    ],
)
def test_it_may_have_several_forms(value: object, is_valid: bool) -> None:
    made = schema_of_output([Sparse, [Sparse, Inner]], "x", "Words.")
    jsonschema.Draft202012Validator.check_schema(made)
    assert jsonschema.Draft202012Validator(made).is_valid(value) is is_valid
