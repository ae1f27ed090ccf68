"""Manifests and their schemas: whatever they contain, the only errors are ours."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vconnect.errors import ManifestError
from vconnect.packages.config_schema import rules
from vconnect.packages.config_schema.check import check_schema, find_violation
from vconnect.packages.manifest import parse_manifest
from vconnect.settings.explain import explain
from vconnect.settings.model import PluginOptions, Settings

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "#", "#/$defs/a", "(a+)+$", "(", "string", "object", "urn:x"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "^a", "$ref"]), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.sampled_from(["a", "b", "^a", "(a+)+$"])


def schemas_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    one, many = inner, st.lists(inner, min_size=1, max_size=2)
    tables = st.dictionaries(names, inner, max_size=3)
    kinds = {
        one: "items not if then else contains propertyNames additionalProperties",
        many: "allOf anyOf oneOf prefixItems",
        tables: "properties patternProperties $defs dependentSchemas dependencies",
        st.sampled_from(["#", "#/$defs/a", "#/properties/a", "#/allOf/0"]): "$ref $dynamicRef",
        st.sampled_from([1, 0.1, 1e-320, 2**62]): "multipleOf minimum maximum",
        values: "type enum const required pattern $id $schema $anchor minLength uniqueItems",
    }
    optional = {word: kind for kind, words in kinds.items() for word in words.split()}
    return st.fixed_dictionaries({}, optional=optional).map(
        lambda schema: dict(list(schema.items())[:6])
    )


schemas: st.SearchStrategy[Any] = st.recursive(
    st.just({}) | st.booleans(), schemas_of, max_leaves=6
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(schemas, st.dictionaries(names, values, max_size=3))
def test_a_schema_is_refused_or_can_be_used(schema, config):
    if not isinstance(schema, dict):
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rules, "_LONGEST_S", 0.2)
        with suppress(ManifestError):
            check_schema(schema, "here")
            assert isinstance(find_violation(schema, config), str)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 80), st.binary(max_size=3))
def test_a_damaged_manifest_is_refused_in_words(noise, at, bytes_):
    good = json.dumps({"name": "x", "config": {"ä": ["ö", 1.5, None]}, "version": "1"}).encode()
    for data in (noise, good[:at] + bytes_ + good[at:], good[:at] + bytes_ + good[at + 1 :]):
        with suppress(ManifestError):
            parse_manifest(data, "here")


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["config", "env", "options", "window", "watch", "debugg"]),
        st.dictionaries(st.sampled_from(["a", "b.c", "A'", "[...]"]), values, max_size=3) | values,
        max_size=4,
    ),
    st.sampled_from([Settings, PluginOptions]),
)
def test_whatever_is_wrong_in_a_table_is_explained(table, kind):
    try:
        msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        explained = str(explain(error, kind, table, "here"))
        assert explained.startswith("here")
        assert "[...]" not in explained.replace("'[...]'", "")
