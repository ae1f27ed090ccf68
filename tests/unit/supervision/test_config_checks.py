"""A configuration is checked before a start, in a thread, for each version that it may choose."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from vconnect.errors import ConfigError, ManifestError, PluginStartError
from vconnect.packages.config_schema import check
from vconnect.packages.config_schema.rules import Verdict
from vconnect.packages.manifest import MANIFEST_NAME, Manifest, read_manifest
from vconnect.plugins.runtime import PluginRuntime
from vconnect.supervision import config_checks
from vconnect.supervision.config_checks import ConfigChecks

NEEDS_PORT = {"properties": {"port": {"type": "integer"}}, "required": ["port"]}


class Place:
    """A plugin's directory, and the checks of its configuration."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.checks = ConfigChecks()
        self.threads: list[threading.Thread] = []

        def asked(*arguments: Any) -> Verdict:
            self.threads.append(threading.current_thread())
            return check.answer(*arguments)

        monkeypatch.setattr(config_checks, "answer", asked)

    def write(self, **fields: Any) -> Manifest:
        file = self.directory / MANIFEST_NAME
        file.write_text(json.dumps({"name": "x", **fields}))
        return read_manifest(file)

    def plugin(self, values: dict[str, Any], **fields: Any) -> PluginRuntime:
        return PluginRuntime("x", self.directory, self.write(**fields), config=values)

    def check(self, plugin: PluginRuntime) -> None:
        self.checks.check(plugin, plugin.manifest, self.directory / MANIFEST_NAME)


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


async def test_a_plugin_without_a_schema_costs_nothing(place):
    plugin = place.plugin({"a": 1})
    assert place.checks.is_prepared(plugin)
    place.check(plugin)
    assert place.threads == []


async def test_it_is_checked_once_in_a_thread(place):
    plugin = place.plugin({"port": 1}, config_schema=NEEDS_PORT)
    assert not place.checks.is_prepared(plugin)
    await place.checks.prepare(plugin)
    assert place.checks.is_prepared(plugin)
    place.check(plugin)
    place.check(plugin)
    (thread,) = place.threads
    assert thread is not threading.main_thread()


@pytest.mark.parametrize("change", ["configuration", "manifest"])
async def test_a_change_is_checked_again(place, change):
    plugin = place.plugin({"port": 1}, config_schema=NEEDS_PORT)
    await place.checks.prepare(plugin)
    if change == "configuration":
        plugin.config = {"port": "x"}
    else:
        schema = {"properties": {"port": {"type": "string"}}}
        plugin.manifest = place.write(config_schema=schema)
    assert not place.checks.is_prepared(plugin)
    await place.checks.prepare(plugin)
    with pytest.raises(ConfigError, match=r"\$.port: expected"):
        place.check(plugin)
    assert threading.main_thread() not in place.threads


async def test_the_operators_values_are_merged_into_the_defaults(place):
    place.check(place.plugin({}, config={"port": 1}, config_schema=NEEDS_PORT))
    plugin = place.plugin({"port": None}, config={"port": 1}, config_schema=NEEDS_PORT)
    with pytest.raises(ConfigError) as caught:
        place.check(plugin)
    assert str(caught.value) == (
        "invalid configuration: $.port: expected integer, got null; set it in [plugins.config.x]"
    )


async def test_a_schema_that_cannot_be_used_is_the_manifests_mistake(place):
    plugin = place.plugin({}, config_schema={"type": 5})
    await place.checks.prepare(plugin)  # which leaves it to the start
    with pytest.raises(ManifestError, match=r"plugin.json: config_schema.type: expected"):
        place.check(plugin)


async def test_a_manifest_that_is_gone_is_left_to_the_start(place):
    plugin = place.plugin({"port": 1}, config_schema=NEEDS_PORT)
    (place.directory / MANIFEST_NAME).unlink()
    await place.checks.prepare(plugin)
    assert place.checks.is_prepared(plugin)


async def test_results_are_forgotten_at_some_point(place, monkeypatch):
    monkeypatch.setattr(config_checks, "_MAX_RESULTS", 2)
    for port in range(5):
        place.check(place.plugin({"port": port}, config_schema=NEEDS_PORT))
    assert len(place.checks._results) <= 2


async def test_what_takes_long_is_not_checked_where_it_starts(place):
    """The manifest changes after the check, into one that another process would have to look at."""
    plugin = place.plugin({"k1": 1}, config_schema=NEEDS_PORT)
    await place.checks.prepare(plugin)
    large = {"properties": {f"k{n}": {"type": "integer"} for n in range(150)}}
    plugin.manifest = place.write(config_schema=large)
    with pytest.raises(PluginStartError, match=r"plugin\.json has changed since") as caught:
        place.check(plugin)
    assert caught.value.is_momentary
    assert not place.checks.is_prepared(plugin)
    await place.checks.prepare(plugin)
    place.check(plugin)


async def test_who_loses_its_result_is_checked_again(place, monkeypatch):
    monkeypatch.setattr(config_checks, "_MAX_RESULTS", 1)
    plugin = place.plugin({"port": 1}, config_schema=NEEDS_PORT)
    await place.checks.prepare(plugin)
    place.check(place.plugin({"port": 2}, config_schema=NEEDS_PORT))
    assert not place.checks.is_prepared(plugin)
