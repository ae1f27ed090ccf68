"""The schema of ``plugin.json`` and the parser say the same."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from jsonschema import ValidationError

from vconnect.errors import ManifestError
from vconnect.packages.manifest import Manifest, parse_manifest
from vconnect.packages.manifest_schema import manifest_schema

GOOD: list[dict[str, Any]] = [
    {"name": "x"},
    {"name": "wk.plugin.example"},
    {"name": "v.plugin.a-b_c.d"},
    {"name": "_9"},
    {"name": "x" * 64},
    {"name": "wk.plugin." + "x" * 64},
    {"name": "wk.pluginx"},
    {"name": "x", "plugin_no": ""},
    {"name": "x", "plugin_no": "wk.plugin.y"},
    {"name": "x", "version": "1.2.3-rc.1+build"},
    {"name": "x", "version": "v" * 64},
    {"name": "x", "version": "größer"},
    {"name": "x", "description": "a\nb", "author": "Ann"},
    {"name": "x", "capabilities": ["message", "user.*", "*"]},
    {"name": "x", "capabilities": ["a"] * 256},
    {"name": "x", "capabilities": ["a" * 255]},
    {"name": "x", "priority": -5},
    {"name": "x", "priority": (1 << 64) - 1},
    {"name": "x", "config": {"a": [1, None, {"b": 1.5}]}},
    {"name": "x", "config_schema": {"type": "object"}},
    {"name": "x", "entry": "bin/run"},
    {"name": "x", "entry": "./a/..b/c..", "platform": "linux-amd64"},
    {"name": "x", "dev": {"command": ["npm", "start"], "future": 1}},
    {"name": "x", "permissions": ["log", "event"]},
    {"name": "x", "requires": ["users", "cache:started", "wk.plugin.y"]},
    {"name": "x", "requires": ["users >=1.2 <2", "cache:started ^1", "a ~1.2, 1.*"]},
    {"name": "x", "requires": ["a =nightly", "a nightly", "a >=v1.2.3-rc.1+b", " a  1 , 2 "]},
    {"name": "x", "requires": ["a *", "a >= 1", "a 1.x", "a 1>0"]},
    {"name": "x", "before": ["y"], "after": ["z"]},
    {"name": "x", "min_host_version": "0.2", "exclusive": True},
    {"name": "x", "future": [1], "raw": 7, "$schema": "./plugin.schema.json"},
]
BAD: list[Any] = [
    {},
    [],
    "x",
    {"name": None},
    {"name": 5},
    {"name": ""},
    {"name": "wk.plugin."},
    {"name": "wk.plugin.v.plugin.x"},
    {"name": "../x"},
    {"name": ".x"},
    {"name": "-x"},
    {"name": "a b"},
    {"name": "ü"},
    {"name": "x\n"},
    {"name": "x" * 65},
    {"name": "x", "plugin_no": "a/b"},
    {"name": "x", "plugin_no": None},
    {"name": "x", "version": 1},
    {"name": "x", "version": "v" * 65},
    {"name": "x", "version": "1\n2"},
    {"name": "x", "version": "1\u202e9"},
    {"name": "x", "capabilities": "a"},
    {"name": "x", "capabilities": ["a", 1]},
    {"name": "x", "capabilities": ["a"] * 257},
    {"name": "x", "permissions": ["a" * 256]},
    {"name": "x", "priority": "1"},
    {"name": "x", "priority": 1.5},
    {"name": "x", "priority": True},
    {"name": "x", "priority": 1 << 64},
    {"name": "x", "config": []},
    {"name": "x", "config_schema": True},
    {"name": "x", "entry": "/bin/sh"},
    {"name": "x", "entry": "../x"},
    {"name": "x", "entry": "a/../../x"},
    {"name": "x", "entry": "a/.."},
    {"name": "x", "entry": "a\0b"},
    {"name": "x", "entry": "a" * 1025},
    {"name": "x", "dev": []},
    {"name": "x", "dev": {"command": "npm"}},
    {"name": "x", "requires": ["users >="]},
    {"name": "x", "requires": ["users ^1 || ^2"]},
    {"name": "x", "requires": ["users >=latest"]},
    {"name": "x", "requires": ["users ^1.*"]},
    {"name": "x", "requires": ["users >=1.2abc"]},
    {"name": "x", "requires": ["a b c!"]},
    {"name": "x", "requires": ["a >=01.2"]},
    {"name": "x", "before": ["y"] * 257},
    {"name": "x", "after": {}},
    {"name": "x", "min_host_version": 2},
    {"name": "x", "exclusive": 1},
    {"name": "x", "platform": ["linux-amd64"]},
    {"name": "x", "platform": "a\tb"},
]


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Any:
    """Match as editors do: in their language `$` is the very end."""
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError("")


VALIDATOR = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})(
    manifest_schema()
)


def is_parsed(value: Any) -> bool:
    try:
        parse_manifest(json.dumps(value).encode(), "here")
    except ManifestError:
        return False
    return True


def test_it_is_a_schema_of_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_schema())
    properties = manifest_schema()["properties"]
    assert set(properties) == set(Manifest.__struct_fields__) - {"raw"}
    assert all(one["description"] for one in properties.values())


@pytest.mark.parametrize("value", GOOD, ids=lambda value: str(value)[:60])
def test_what_is_a_manifest(value: Any) -> None:
    assert is_parsed(value)
    assert VALIDATOR.is_valid(value)


@pytest.mark.parametrize("value", BAD, ids=lambda value: str(value)[:60])
def test_what_is_none(value: Any) -> None:
    assert not is_parsed(value)
    assert not VALIDATOR.is_valid(value)


def test_a_text_that_does_not_match_takes_no_longer() -> None:
    assert not VALIDATOR.is_valid({"name": "x", "requires": ["a " + "1 , =2 " * 35 + "!"]})
