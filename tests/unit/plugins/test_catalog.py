"""Which plugins there are, from what lies in a real ``plugin_dir``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.support.package_kit import write_package
from tests.support.paper import catalog, unopened

from vconnect.bucket import Bucket
from vconnect.errors import ConfigError, HandshakeError, InstallError
from vconnect.packages.fetching.download import Download
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate

NOBODY_LISTENS = "https://127.0.0.1:1/x.vp"


class Known:
    """A registry, the catalog that fills it, and the directory that it looks into."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory / "plugins"
        self.registry = Registry()
        self.catalog: Catalog = catalog(self.registry, self.directory, **options)

    def put(self, name: str, **manifest: Any) -> Path:
        """Lay an installed plugin into the directory."""
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("#!/bin/sh\n")
        (path / name).chmod(0o755)
        (path / "plugin.json").write_text(json.dumps({"name": name, **manifest}))
        return path

    @property
    def names(self) -> list[str]:
        return sorted(plugin.name for plugin in self.registry)

    def get(self, name: str) -> PluginRuntime:
        return self.registry.get(name)


@pytest.fixture
def known(tmp_path: Path) -> Known:
    return Known(tmp_path)


# --- what is installed -----------------------------------------------------------------------


async def test_what_lies_there_is_found(known):
    known.put("a", version="1")
    known.put("b")
    assert await known.catalog.discover() == {"a", "b"}
    assert (known.get("a").manifest.version, known.get("a").dev) == ("1", False)
    assert known.get("b").status is PluginStatus.INSTALLED


async def test_a_directory_that_is_not_there_yet_holds_nothing(known):
    assert await known.catalog.discover() == set()


async def test_one_that_cannot_be_used_is_known_with_the_reason(known, caplog):
    (known.put("a") / "plugin.json").write_text("{")
    assert await known.catalog.discover() == {"a"}
    plugin = known.get("a")
    assert (plugin.status, plugin.substate) == (PluginStatus.ERROR, Substate.BAD_MANIFEST)
    assert "plugin.json" in plugin.reason
    assert plugin.reason in caplog.text


async def test_a_manifest_with_another_name_than_the_directory_is_told(known, caplog):
    file = known.put("a") / "plugin.json"
    file.write_text('{"name": "wk.plugin.b"}')
    known.put("wk.plugin.c")
    await known.catalog.discover()
    (told,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert told == (
        f"plugin a: {file} names it 'wk.plugin.b', but the host calls it a; "
        "use the same name in both places"
    )


async def test_a_source_with_another_name_is_told(known, tmp_path, caplog):
    (tmp_path / "plugin.json").write_text('{"name": "b"}')
    known.catalog.register_dev("a", tmp_path)
    assert "names it 'b', but the host calls it a" in caplog.text


async def test_a_new_version_is_learned_while_nothing_of_the_old_one_runs(known):
    known.put("a", version="1")
    await known.catalog.discover()
    plugin = known.get("a")
    known.put("a", version="2", plugin_no="other")
    await known.catalog.discover()
    assert (known.get("other"), plugin.manifest.version) == (plugin, "2")
    plugin.process = object()
    known.put("a", version="3")
    await known.catalog.discover()
    assert plugin.manifest.version == "2"


async def test_one_that_is_gone_is_forgotten_once_nothing_of_it_runs(known, caplog):
    caplog.set_level(logging.INFO)
    for name in ("a", "b"):
        known.put(name)
    await known.catalog.discover()
    log = known.get("a").log
    known.get("b").session = unopened("b")
    for name in ("a", "b"):
        (known.directory / name).rename(known.directory.parent / name)
    assert await known.catalog.discover() == set()
    assert known.names == ["b"]
    assert "plugin a is " in caplog.text
    known.put("a")
    await known.catalog.discover()
    assert known.get("a").log is not log


# --- what runs from source -------------------------------------------------------------------


async def test_a_source_directory_is_a_plugin_under_its_canonical_name(known, tmp_path):
    (tmp_path / "source").mkdir()
    known.catalog.register_dev("wk.plugin.a", tmp_path / "source")
    plugin = known.get("a")
    assert (plugin.dev, plugin.path) == (True, tmp_path / "source")


async def test_it_wins_over_an_installed_one_and_stays(known, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    known.put("a", version="1")
    await known.catalog.discover()
    known.catalog.register_dev("a", tmp_path)
    assert await known.catalog.discover() == {"a"}
    assert (known.get("a").dev, known.names) == (True, ["a"])
    assert f"plugin a runs from {tmp_path}" in caplog.text


async def test_the_same_one_again_changes_nothing(known, tmp_path):
    known.catalog.register_dev("a", tmp_path)
    plugin = known.get("a")
    plugin.session = unopened("a")
    known.catalog.register_dev("a", tmp_path)
    assert known.get("a") is plugin


async def test_another_directory_takes_its_place_while_it_is_idle(known, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        known.catalog.register_dev("a", tmp_path / name)
        assert known.get("a").path == tmp_path / name
    assert known.names == ["a"]


async def test_one_that_is_in_use_keeps_its_name(known, tmp_path):
    known.put("a")
    await known.catalog.discover()
    plugin = known.get("a")
    plugin.session = unopened("a")
    with pytest.raises(ConfigError, match="a plugin of this name is Installed; stop it first"):
        known.catalog.register_dev("a", tmp_path)
    assert known.get("a") is plugin


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b"])
async def test_what_is_no_name_is_no_plugin(known, tmp_path, name):
    with pytest.raises(ConfigError):
        known.catalog.register_dev(name, tmp_path)
    assert known.names == []


# --- who came by himself ---------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "desired"), [(None, "running"), ("stopped", "stopped")])
async def test_a_guest_is_wanted_unless_the_operator_has_stopped_it(known, wanted, desired):
    if wanted is not None:
        known.catalog._state.want("guest", wanted)
    plugin = known.catalog.register_external("guest")
    assert known.get("guest") is plugin
    assert (plugin.is_external, plugin.desired) == (True, desired)
    await known.catalog._state.flush()


@pytest.mark.parametrize(("connected", "is_external"), [(True, True), (False, False)])
async def test_an_installed_one_takes_the_place_of_a_guest_that_has_gone(
    known, connected, is_external
):
    plugin = known.catalog.register_external("a")
    plugin.session = unopened("a") if connected else None
    known.put("a")
    await known.catalog.discover()
    assert known.get("a").is_external is is_external


async def test_guests_that_have_gone_make_room_at_a_limited_rate(known, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(known.catalog, "_forgetting", Bucket(16, 5, lambda: clock[0]))
    for number in range(64 + 16):
        known.catalog.register_external(f"guest{number}").status = PluginStatus.STOPPED
    assert len(known.names) == 64
    assert "guest15" not in known.names
    assert "guest16" in known.names
    with pytest.raises(HandshakeError, match=r"64 external .* 5 per second .* keep a name") as told:
        known.catalog.register_external("another")
    assert told.value.code == "overloaded"
    assert len(known.names) == 64
    clock[0] += 0.2
    known.catalog.register_external("another").status = PluginStatus.STOPPED
    with pytest.raises(HandshakeError, match="too many new names"):
        known.catalog.register_external("yet-another")


async def test_guests_that_come_at_once_are_not_taken_for_gone(known):
    for number in range(200):  # none is acknowledged yet
        known.catalog.register_external(f"guest{number}")
    assert len(known.names) == 200
    for name in known.names:
        known.get(name).forgotten_at -= 60  # nor will they be
    for number in range(200, 216):
        known.catalog.register_external(f"guest{number}")
    with pytest.raises(HandshakeError, match="too many new names"):
        known.catalog.register_external("another")


async def test_no_more_guests_are_connected_than_the_operator_allows(tmp_path):
    known = Known(tmp_path, max_external=2)
    for name in "abc":
        plugin = known.catalog.register_external(name)
        assert plugin.is_external
    for name in "ab":
        known.get(name).session = unopened(name)
    with pytest.raises(HandshakeError, match="2 external plugins are connected; max_external"):
        known.catalog.register_external("d")
    known.get("a").session = None
    known.catalog.register_external("d")


async def test_guests_and_sources_are_not_missed_in_the_directory(known, tmp_path):
    known.catalog.register_external("guest")
    known.catalog.register_dev("source", tmp_path)
    await known.catalog.discover()
    assert known.names == ["guest", "source"]


# --- what is to be installed -----------------------------------------------------------------


async def test_a_package_becomes_a_plugin(known, tmp_path):
    package = write_package(tmp_path / "example.vp", version="2")
    assert await known.catalog.install(str(package)) == "example"
    assert known.get("example").manifest.version == "2"
    plugin = known.get("example")
    assert plugin.home == known.directory / "example"
    assert (plugin.current_version.version, plugin.next_version) == ("2", None)
    assert plugin.path == plugin.current_version.package


async def test_another_package_waits_for_the_next_start(known, tmp_path):
    for version in ("1", "2"):
        package = write_package(tmp_path / "example.vp", version=version)
        await known.catalog.install(str(package))
    plugin = known.get("example")
    assert (plugin.current_version.version, plugin.next_version.version) == ("1", "2")
    assert plugin.manifest.version == "1"


async def test_everything_that_the_settings_name_is_installed(tmp_path):
    packages = [
        write_package(tmp_path / "example.vp"),
        write_package(tmp_path / "newer.vp", version="9"),
    ]
    known = Known(tmp_path, install=tuple(map(str, packages)))
    await known.catalog.install_all()
    assert known.get("example").next_version.version == "9"


@pytest.mark.parametrize(
    "source", ["ftp://example.org/x.vp", "http://example.org/x.vp", "${no}.vp", "https:///x.vp"]
)
async def test_a_source_that_is_a_mistake_stops_the_host_before_anything_is_installed(
    tmp_path, source
):
    package = write_package(tmp_path / "example.vp")
    known = Known(tmp_path, install=(str(package), source))
    with pytest.raises(InstallError):
        await known.catalog.install_all()
    assert known.names == []


async def test_a_package_of_this_machine_that_is_missing_stops_the_host(tmp_path):
    known = Known(tmp_path, install=(str(tmp_path / "nowhere.vp"),))
    with pytest.raises(InstallError, match=r"nowhere\.vp"):
        await known.catalog.install_all()


async def test_a_server_that_is_away_stops_nobody(tmp_path, caplog, monkeypatch):
    async def away(_: Download) -> None:
        raise InstallError("the server is away")

    monkeypatch.setattr(Download, "run", away)
    package = write_package(tmp_path / "example.vp")
    known = Known(tmp_path, install=(NOBODY_LISTENS, str(package)))
    await known.catalog.install_all()
    assert known.names == ["example"]
    assert "the server is away" in caplog.text


async def test_each_plugin_has_what_the_settings_say_of_it(tmp_path):
    known = Known(tmp_path, config={"wk.plugin.a": {"x": 1}}, window=5)
    known.put("a")
    await known.catalog.discover()
    assert (known.get("a").config, known.get("a").policy.window) == ({"x": 1}, 5)
