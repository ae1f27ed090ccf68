"""What has changed is found key by key, and secrets are not shown."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vconnect.settings.differences import (
    config_differences,
    host_differences,
    is_same,
    leaves,
    option_differences,
)
from vconnect.settings.model import PluginOptions, Settings


def shown(found: list[Any]) -> list[Any]:
    return msgspec.to_builtins(found)


def test_a_key_is_shown_with_both_values_and_what_it_needs() -> None:
    old, new = Settings(window=5), Settings(window=6, plugin_dir="/p")
    assert shown(host_differences(old, new)) == [
        {"key": "plugin_dir", "from": "./plugins", "to": "/p", "effect": "host"},
        {"key": "window", "from": 5, "to": 6, "effect": "restart"},
    ]
    assert host_differences(old, old) == []


def test_entries_of_a_table_are_shown_one_by_one_and_variables_without_their_values() -> None:
    old, new = Settings(env={"A": "secret", "B": "2"}), Settings(env={"B": "2", "C": "3"})
    assert shown(host_differences(old, new)) == [
        {"key": "env.A", "from": "***", "effect": "restart"},
        {"key": "env.C", "to": "***", "effect": "restart"},
    ]


def test_tables_of_single_plugins_are_none_of_the_hosts() -> None:
    new = Settings(options={"a": PluginOptions(window=3)}, config={"a": {"x": 1}})
    assert host_differences(Settings(), new) == []


def test_options_of_a_plugin() -> None:
    found = option_differences(PluginOptions(timeout=1.0), PluginOptions(secrets={"KEY": "/k"}))
    assert [(one.key, one.root, one.effect) for one in found] == [
        ("timeout", "timeout", "now"),
        ("secrets.KEY", "secrets", "restart"),
    ]


def test_a_configuration_is_compared_value_by_value() -> None:
    old = {"a": 1, "limits": {"rate": 5, "burst": 6}, "token": "x", "empty": {}}
    new = {"a": 1, "limits": {"rate": 7}, "token": "y", "list": [1], "empty": {}}
    found = config_differences(old, new, frozenset([("token",)]))
    assert shown(found) == [
        {"key": "config.limits.rate", "from": 5, "to": 7, "effect": "asked"},
        {"key": "config.limits.burst", "from": 6, "effect": "asked"},
        {"key": "config.token", "from": "***", "to": "***", "effect": "asked"},
        {"key": "config.list", "to": [1], "effect": "asked"},
    ]


def test_leaves_have_the_whole_path() -> None:
    assert list(leaves({"a": {"b": {"c": 1}}, "d": {}})) == [(("a", "b", "c"), 1), (("d",), {})]


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), ("1", 1)])
def test_a_value_of_another_type_is_another_value(one: Any, other: Any) -> None:
    assert is_same(one, one)
    assert not is_same(one, other)
    assert is_same({"x": one, "y": 2}, {"y": 2, "x": one})


def test_another_order_of_indexes_is_a_change() -> None:
    tables = {"https://a/": {"index": True}, "https://b/": {"index": True}, "https://c/": {}}
    old = msgspec.convert({"sources": tables}, Settings)
    new = msgspec.convert({"sources": dict(reversed(tables.items()))}, Settings)
    (found,) = host_differences(old, new)
    assert (found.key, found.before, found.after) == (
        "sources",
        ["https://a/", "https://b/"],
        ["https://b/", "https://a/"],
    )
    other = {"https://c/": {}, "https://a/": {"index": True}, "https://b/": {"index": True}}
    assert host_differences(old, msgspec.convert({"sources": other}, Settings)) == []
