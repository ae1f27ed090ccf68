"""What is installed beside what indexes have, without a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.index_kit import Host, made, put
from tests.support.package_kit import tree

from vconnect.errors import InstallError, UnknownPluginError, VerificationError
from vconnect.index.build import withdraw
from vconnect.logs.plugin_logs import PluginLogs
from vconnect.operations.packages import Packages
from vconnect.operations.queries import several
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.state_file import HostState
from vconnect.settings.parts import LogSettings


class Orders:
    """Starts nothing."""

    async def start_plugin(self, name: str) -> None:
        pass

    async def restart_plugin(self, name: str) -> None:
        pass

    async def stop_plugin(self, name: str) -> bool:
        return True

    def is_disabled(self, name: str) -> bool:
        return False


def packages(directory: Path, *places: Any, with_indexes: bool = True) -> Packages:
    host = Host(directory, *places)
    registry = Registry()
    catalog = Catalog(
        registry,
        host.installer,
        host.live,
        PluginLogs(host.live.now.part(LogSettings)),
        HostState(host.live.now.state_directory, Path("/run/host.sock")),
    )
    indexes = host.indexes if with_indexes else None
    state = directory / "state"
    return Packages(Orders(), catalog, registry, host.installer.store, state, indexes=indexes)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    put(directory, "1.0.0", description="Says hello")
    made(directory)
    return directory


async def test_what_an_index_has_and_what_is_installed(tmp_path: Path, site: Path) -> None:
    host = packages(tmp_path, site)
    found = await host.info("example")
    assert (found.index, found.description) == (f"{site}/index.json", "Says hello")
    assert found.installed == ()
    await host.install(["example"], start=False)
    found = await host.info("wk.plugin.example")
    assert [(one.version, one.states) for one in found.installed] == [("1.0.0", ("current",))]
    assert [one.name for one in (await host.search("hello")).plugins] == ["example"]


async def test_what_is_installed_is_told_without_any_index(tmp_path: Path, site: Path) -> None:
    host = packages(tmp_path)
    with pytest.raises(InstallError, match="has no index to ask"):
        await host.info("example")
    await host.install([str(site / "example-1.0.0.vp")], start=False)
    found = await host.info("example")
    assert [one.version for one in found.installed] == ["1.0.0"]
    assert (found.index, found.versions) == ("", ())
    assert "has no index to ask" in found.notes[0]


async def test_a_host_that_has_no_indexes_at_all(tmp_path: Path) -> None:
    host = packages(tmp_path, with_indexes=False)
    with pytest.raises(InstallError, match="there is no index to ask"):
        await host.search()


async def test_one_that_nobody_has(tmp_path: Path, site: Path) -> None:
    with pytest.raises(UnknownPluginError, match="no index has a plugin of this name"):
        await packages(tmp_path, site).info("nobody")


async def test_an_old_copy_is_no_matter_of_what_is_installed(tmp_path: Path, site: Path) -> None:
    old = (site / "index.json").read_bytes()
    put(site, "1.1.0")
    made(site)
    host = packages(tmp_path, site)
    await host.install(["example"], start=False)
    (site / "index.json").write_bytes(old)
    with pytest.raises(VerificationError, match="old copy"):
        await host.info("example")


async def test_what_is_outdated_is_known_from_the_index(tmp_path: Path, site: Path) -> None:
    host = packages(tmp_path, site)
    await host.install(["example@^1"], start=False)
    (found,) = await host.outdated()
    assert (found.state, found.available, found.latest, found.reason) == (
        "current",
        "1.0.0",
        "1.0.0",
        "",
    )
    put(site, "1.1.0", permissions=["log"])
    put(site, "2.0.0")
    made(site)
    withdraw(site, "example", "1.0.0", "loses data")
    before = tree(tmp_path / "plugins")
    (found,) = await host.outdated(["example"])
    assert (found.state, found.current, found.available, found.latest) == (
        "outdated",
        "1.0.0",
        "1.1.0",
        "2.0.0",
    )
    assert (found.yanked, found.reason) == ("loses data", "it asks for permissions: log")
    assert tree(tmp_path / "plugins") == before
    (site / "index.json").write_text("<html>")
    (found,) = await host.outdated()
    assert found.state == "unknown"
    assert "is not a valid index" in found.reason


async def test_an_upgrade_asks_the_index_again(tmp_path: Path, site: Path) -> None:
    host = packages(tmp_path, site)
    await host.install(["example@^1"], start=False)
    for version in ("1.1.0", "2.0.0"):
        put(site, version, description="Says hello")
    made(site)
    (change,) = await host.upgrade(["example"], dry_run=True)
    assert (change.before, change.after, change.result) == ("1.0.0", "1.1.0", "planned")
    (change,) = await host.install(["example@2"], dry_run=True)
    assert (change.code, change.result) == ("conflict", "failed")


async def test_a_note_is_in_the_row(tmp_path: Path, site: Path) -> None:
    host = packages(tmp_path, site)
    await host.install(["example"], start=False)
    withdraw(site, "example", "1.0.0", "loses data")
    (change,) = await host.install(["example"])
    assert (change.result, change.reason) == (
        "unchanged",
        "example 1.0.0 was withdrawn: loses data",
    )


def test_one_text_is_not_several_names() -> None:
    assert several(("a", "b")) == ["a", "b"]
    with pytest.raises(TypeError, match="got one text: 'ab'"):
        several("ab")
