"""Whose the tables of the settings are, and names in them that are nobody's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from vconnect.errors import ConfigError
from vconnect.names import canonical_name
from vconnect.packages.manifest import Manifest
from vconnect.plugins.configuration import ConfigOverride
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.tables import PluginTables
from vconnect.settings.live import LiveSettings
from vconnect.settings.load import load_settings

#: A plugin has this many names: of its directory, its manifest, its number, each with prefixes.
ALIASES = [
    "folder",
    "wk.plugin.folder",
    "shown",
    "v.plugin.shown",
    "number7",
    "wk.plugin.number7",
]


def plugin(directory: str = "wk.plugin.folder", **fields: Any) -> PluginRuntime:
    manifest = Manifest(**({"name": "wk.plugin.shown", "plugin_no": "number7"} | fields))
    return PluginRuntime(canonical_name(directory), Path("/p", directory), manifest)


def tables(*plugins: PluginRuntime, **overrides: Any) -> PluginTables:
    settings = load_settings(overrides=overrides)
    registry = Registry(settings.event_policy)
    made = PluginTables(LiveSettings(settings), registry)
    for one in plugins:
        registry.add(one)
        made.assign(one)
    return made


@pytest.mark.parametrize("alias", ALIASES)
def test_a_table_may_have_any_alias(alias: str) -> None:
    one = plugin()
    options = {"window": 3, "breaker_failures": 2, "restart": "never"}
    made = tables(one, options={alias: options}, config={alias: {"greeting": "hello"}})
    assert (one.policy.window, one.restarts.policy.mode) == (3, "never")
    one.breaker.failed()
    one.breaker.failed()
    assert one.breaker.is_open
    assert one.config == {"greeting": "hello"}
    made.check()


def test_a_live_update_stays_when_the_tables_are_assigned_again() -> None:
    one = plugin()
    made = tables(one, config={"shown": {"greeting": "hello"}})
    made.overrides["folder"] = (
        ConfigOverride(path=("greeting",), value="good day", by="ann", at=0.0),
    )
    made.assign(one)
    assert one.config == {"greeting": "good day"}


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"options": {"folder": {}, "number7": {}}}, "plugins.options"),
        ({"config": {"number7": {}, "folder": {}}}, "plugins.config"),
        ({"events": {"e": {"may_change": {"folder": [], "number7": []}}}}, "events.'e'.may_change"),
    ],
)
def test_two_names_of_one_plugin_in_one_place_are_an_error(settings: Any, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tables(plugin(), **settings).check()
    assert str(caught.value).startswith(f"{place} has ")
    assert all(repr(name) in str(caught.value) for name in ("folder", "number7"))
    assert "which are the same plugin (folder); keep one of them" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"options": {"fodler": {}}}, "plugins.options.'fodler': {}; did you mean 'folder'?"),
        ({"config": {"wk.plugin.shwon": {}}}, "plugins.config.'wk.plugin.shwon': {}; did you mean"),
        (
            {"events": {"e": {"may_change": {"numbr7": []}}}},
            "events.'e'.may_change.'numbr7': {}; did you mean 'number7'?",
        ),
        ({"options": {"quite-another": {}}}, "plugins.options.'quite-another': {}"),
    ],
)
def test_a_name_of_nobody_is_told_once(
    settings: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = tables(plugin(), **settings)
    made.check()
    made.check()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(words.format("no plugin is meant by that name"))


def test_where_plugins_attach_on_their_own_only_a_typo_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    tables(plugin(), options={"fodler": {}, "later": {}}, allow_external=True).check()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_name_of_two_plugins_means_neither_and_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alpha = plugin("alpha", name="alpha", plugin_no="shared")
    beta = plugin("beta", name="beta", plugin_no="shared")
    made = tables(alpha, beta, options={"v.plugin.shared": {"window": 3}})
    made.assign(alpha)  # it had the name for itself until the other one came
    assert alpha.policy.window == beta.policy.window == 64
    with pytest.raises(ConfigError) as caught:
        made.check()
    assert str(caught.value).startswith(
        "plugins.options.'v.plugin.shared': it is a name of alpha (/p/alpha) and beta (/p/beta); "
    )
    tables(alpha, beta).check()
    for one, other in (("alpha", "beta"), ("beta", "alpha")):
        assert (
            f"plugin {one} (/p/{one}) has the name 'shared', which {other} (/p/{other}) has too"
        ) in caplog.text


@pytest.mark.parametrize("key", ["before", "after"])
def test_an_order_with_nobody_is_told(key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    other = PluginRuntime("other", Path("/p/other"), Manifest(name="other"))
    names: dict[str, Any] = {key: ("othr", "number7", "zebra")}
    tables(plugin(**names), other).check()
    place = f"plugin folder: plugin.json: {key} names"
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", f"{place} 'othr': no plugin is meant by that name; did you mean 'other'?"),
        ("INFO", f"{place} 'zebra': no plugin is meant by that name"),
    ]
