"""Schemas of configurations: which ones can be used, what they refuse, and that they do no harm."""

from __future__ import annotations

import time
from typing import Any

import pytest

from vconnect.errors import ManifestError
from vconnect.packages.config_schema import rules
from vconnect.packages.config_schema.check import answer_at_once, check_schema, find_violation
from vconnect.packages.config_schema.rules import MAX_SCHEMA_BYTES, judge_patiently

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "port": {"type": "integer", "minimum": 1},
        "name": {"type": "string", "pattern": "^a+$"},
        "rooms": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
        "where": {"$ref": "#/$defs/place"},
    },
    "patternProperties": {"^x-": {"type": ["string", "null"]}},
    "required": ["port"],
    "additionalProperties": False,
    "$defs": {"place": {"properties": {"zone": {"const": "UTC"}}}},
}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    ("config", "violation"),
    [
        ({"port": 1, "name": "aa", "rooms": ["a", "b"], "x-y": None, "where": {}}, ""),
        ({"port": "x"}, "$.port: expected integer, got string"),
        ({"port": True}, "$.port: expected integer, got boolean"),
        ({"port": 0}, "$.port: expected minimum 1"),
        ({}, "$: missing key 'port'"),
        ({"port": 1, "name": "b"}, '$.name: expected pattern "^a+$"'),
        ({"port": 1, "nmae": "a"}, "$: unknown key 'nmae'; did you mean 'name'?"),
        ({"port": 1, "zzz": "a"}, "$: unknown key 'zzz'"),
        ({"port": 1, "rooms": ["a", "c"]}, '$.rooms[1]: expected one of ["a","b"]'),
        ({"port": 1, "rooms": ["a", "a"]}, "$.rooms: expected uniqueItems true"),
        ({"port": 1, "x-y": 1.5}, "$.x-y: expected string or null, got number"),
        ({"port": 1, "where": {"zone": "CET"}}, '$.where.zone: expected "UTC"'),
    ],
)
def test_a_violation_has_its_place_and_what_is_expected(config, violation):
    check_schema(SCHEMA, "here")
    assert find_violation(SCHEMA, config) == violation


def test_no_schema_allows_everything():
    check_schema({}, "here")
    assert find_violation({}, {"a": 1}) == ""


def test_a_value_is_never_shown():
    schema = {"properties": {"token": {"type": "string", "minLength": 99, "pattern": "^x"}}}
    assert "s3cret" not in find_violation(schema, {"token": "s3cret"})


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": DRAFT_7, "dependencies": {"a": ["b"]}},
        {"$schema": "http://json-schema.org/draft-04/schema", "minimum": 1},
        {"$id": "https://example.com/x", "$ref": "#/$defs/a", "$defs": {"a": {}}},
        {"properties": {"$ref": {"type": "string"}, "$schema": {"type": "string"}}},
        {"default": {"$ref": "https://example.com/x"}},
    ],
)
def test_schemas_that_can_be_used(schema):
    check_schema(schema, "here")
    assert find_violation(schema, {}) == ""


def test_another_draft_has_its_own_keywords():
    schema = {"$schema": DRAFT_7, "dependencies": {"a": ["b"]}}
    assert find_violation(schema, {"a": 1}) == '$: expected dependencies {"a":["b"]}'


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"minimum": "x"}}}, ".properties.a.minimum: expected number, got s"),
        ({"required": "a"}, ".required: expected array, got string"),
        ({"pattern": "("}, ".pattern: "),
        ({"patternProperties": {"(": {}}}, ".patternProperties: "),
        ({"$ref": "https://example.com/x"}, '.$ref: "https://example.com/x" is outside the sch'),
        ({"allOf": [{"$ref": "other.json"}]}, '.allOf[0].$ref: "other.json" is outside the schema'),
        ({"$ref": "#/nope"}, '.$ref: there is no "#/nope" in the schema'),
        ({"$schema": "https://example.com/x"}, ".$schema: unknown dialect"),
        ({"$schema": 5}, ".$schema: unknown dialect 5"),
        ({"properties": {"a": {"$schema": DRAFT_7}}}, ".properties.a.$schema: is allowed only at"),
        ({"title": "a" * MAX_SCHEMA_BYTES}, " has 65548 bytes; the limit is 65536"),
        ({"unevaluatedProperties": False}, ": unevaluatedProperties and unevaluatedItems are no"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_schemas_that_cannot_be_used_say_where(schema, words):
    with pytest.raises(ManifestError) as caught:
        check_schema(schema, "plugin.json")
    assert str(caught.value).startswith(f"plugin.json: config_schema{words}")


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize("levels", [20, 126, 400])
def test_one_that_is_nested_too_deeply(levels):
    with pytest.raises(ManifestError, match=r"config_schema(: Recursion| is nested too deeply)"):
        check_schema(nested(levels), "here")


def test_one_of_too_many_parts():
    with pytest.raises(ManifestError, match="has 3002 objects and lists; the limit is 2000"):
        check_schema({"allOf": [{}] * 3000}, "here")


@pytest.mark.parametrize("pattern", ["(" * 20_000, "(?:" * 5000 + ")" * 5000])
def test_a_pattern_that_is_nested_too_deeply(pattern):
    with pytest.raises(ManifestError, match=r"config_schema(.pattern|: is| has a pattern)"):
        check_schema({"pattern": pattern}, "here")


def test_one_that_is_nested_as_deeply_as_anybody_needs():
    check_schema(nested(18), "here")
    config: dict[str, Any] = {}
    for _ in range(18):
        config = {"a": config}
    assert find_violation(nested(18), config) == ""


DOUBLING = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)}


@pytest.mark.parametrize(
    ("schema", "config"),
    [
        ({"$ref": "#/$defs/a0", "$defs": {**DOUBLING, "a40": {}}}, {}),
        ({"properties": {"a": {"pattern": "(x+x+)+y"}}}, {"a": "x" * 5000}),
        ({"patternProperties": {"(x+x+)+y": {}}}, {"x" * 5000: 1}),
        (
            {"patternProperties": {"(x+x+)+y": {}}, "additionalProperties": False},
            {"x" * 5000: 1},
        ),
        (
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "allOf": [{"$ref": "#/$defs/a0"}],
                "$defs": {**DOUBLING, "a40": {}},
            },
            {},
        ),
    ],
    ids=["references", "pattern", "names", "other-names", "dialect"],
)
def test_a_check_has_an_end(schema, config, monkeypatch):
    monkeypatch.setattr(rules, "_LONGEST_S", 0.1)
    check_schema(schema, "here")
    began = time.monotonic()
    assert judge_patiently(schema, config).violation == (
        "$: checking it against config_schema takes longer than 0.1 s"
    )
    assert time.monotonic() - began < 1
    assert answer_at_once(schema, config) is None
    assert "takes longer than 1 s" in find_violation(schema, config)


def test_a_long_list_of_unique_items_takes_a_moment():
    schema = {"properties": {"a": {"uniqueItems": True}}}
    items = [{"x": number} for number in range(20_000)]
    assert find_violation(schema, {"a": items}) == ""
    assert find_violation(schema, {"a": [*items, {"x": 7}]}) == "$.a: expected uniqueItems true"


def test_a_reference_inside_of_a_part_with_an_id_may_lead_nowhere():
    part = {"$id": "https://example.com/part", "$ref": "#/$defs/a"}
    schema = {"properties": {"x": part}, "$defs": {"a": {}}}
    check_schema(schema, "here")
    words = '$: config_schema refers to "/$defs/a", which is not in it'
    assert find_violation(schema, {"x": 1}) == words


def test_a_reference_that_is_no_text_is_refused():
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "not": {"$ref": [1]}}
    check_schema(schema, "here")  # that dialect says nothing about it
    assert find_violation(schema, {}) == "$: config_schema refers to [1], which is not in it"


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"$ref": "#"}]},
        {"anyOf": [{"$ref": "#"}]},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}},
        {"$dynamicRef": "#me", "$dynamicAnchor": "me"},
        {"$schema": DRAFT_7, "if": {"$ref": "#"}},
    ],
)
def test_a_schema_that_is_its_own_part_says_so(schema, capfd):
    check_schema(schema, "here")
    words = "$: config_schema refers to itself without end, or is nested too deeply"
    assert find_violation(schema, {}) == words
    assert capfd.readouterr().err == ""  # the library's registry panics at the interpreter's limit


@pytest.mark.parametrize("value", [{5: 1, "a": 2}, "\ud83d", 2**70, float("nan"), object(), b"a"])
def test_what_is_no_json_is_left_to_who_sends_it(value):
    schema = {
        "properties": {"a": {"uniqueItems": True, "pattern": "x?", "minimum": -1, "multipleOf": 1}},
        "patternProperties": {"^x": {"propertyNames": {"pattern": "^y"}}},
        "additionalProperties": {"patternProperties": {"^x": {}}, "additionalProperties": False},
    }
    configs: list[Any] = [{"a": value}, {"a": [value, [value]]}, {"x": value}, {5: value}]
    for config in configs:
        assert isinstance(find_violation(schema, config), str)
