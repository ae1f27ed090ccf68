"""Disks that are really full or read-only: the old version or the new one, never half of one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.disks import remount, small_disk
from tests.support.package_kit import file, good_members, leftovers, manifest_bytes, write_package
from tests.support.store_kit import add

from vconnect.errors import InstallError
from vconnect.settings.model import Settings
from vconnect.settings.parts import StoreSettings
from vconnect.store.installer import PluginInstaller
from vconnect.store.releases import Releases

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")

FULL = os.strerror(28)


@pytest.fixture
def packages(tmp_path: Path) -> list[str]:
    """Two versions, in which each file has the version as its contents."""
    made = []
    for version in ("1", "2"):
        extra = [file(f"lib/{n}", version.encode() * 100) for n in range(4)]
        members = [*good_members(version=version), *extra]
        made.append(str(write_package(tmp_path / f"{version}.vp", members)))
    return made


class Store:
    """A store on a disk of its own."""

    def __init__(self, place: Path) -> None:
        self.plugin_dir = place / "plugins"
        self.installer = PluginInstaller(self.plugin_dir)
        settings = Settings(plugin_dir=str(self.plugin_dir))
        self.releases = Releases(self.installer.store, settings.part(StoreSettings))

    async def steps(self, packages: list[str]) -> list[str]:
        """Install, upgrade and switch; return what was refused."""
        refused = []
        for package in packages:
            try:
                await self.installer.install_from_url(package)
            except InstallError as error:
                refused.append(str(error))
        home = self.installer.store.home("example")
        if home.path.exists() and (version := home.next_version()):
            try:
                await self.releases.make_current("example", version)
            except InstallError as error:
                refused.append(str(error))
        self.check()
        return refused

    def check(self) -> tuple[str, str]:
        """Return the current version and the next one, both of which must be whole."""
        assert leftovers(self.plugin_dir) == []
        found = self.installer.discover()
        if not found:
            return ("", "")
        (plugin,) = found
        assert plugin.problem == ""
        for version in (plugin.current, plugin.next):
            if version is not None:
                lib = sorted((version.package / "lib").iterdir())
                contents = {path.read_text() for path in lib}
                assert (len(lib), contents) == (4, {version.version * 100})
        return (plugin.current.version, plugin.next.version if plugin.next else "")


def sizes() -> Iterator[str]:
    yield from (f"{size}k" for size in range(8, 200, 8))
    yield from (f"1m,nr_inodes={count}" for count in range(6, 60, 3))


@pytest.mark.slow
async def test_a_full_disk_of_every_size(tmp_path: Path, packages: list[str]) -> None:
    outcomes = []
    for number, size in enumerate(sizes()):
        place = tmp_path / str(number)
        with small_disk(place, size):
            store = Store(place)
            refused = await store.steps(packages)
            assert all(FULL in words for words in refused)
            outcomes.append((store.check(), bool(refused)))
            # With room, the same again succeeds.
            remount(place, "size=10m,nr_inodes=1000")
            assert await store.steps(packages) == []
            assert store.check() == ("2", "")
    seen = {outcome for outcome, _ in outcomes}
    assert {("", ""), ("1", ""), ("2", "")} <= seen
    assert seen <= {("", ""), ("1", ""), ("1", "2"), ("2", "")}
    # What is refused has no effect, and what has an effect is not refused.
    assert all(outcome != ("2", "") for outcome, was_refused in outcomes if was_refused)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["exchange", "renames"])
async def test_a_full_disk_during_a_migration(
    tmp_path: Path, packages: list[str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "renames":
        monkeypatch.setattr("vconnect.store.plain.migration.exchange", lambda *_: False)
    outcomes, refused = set(), []
    for number, size in enumerate(f"{size}k" for size in range(20, 120, 4)):
        place = tmp_path / str(number)
        with small_disk(place, size):
            store = Store(place)
            plain = add(store.plugin_dir / "example", manifest_bytes(version="0"), "example")
            (plain / "rows").write_text("rows")
            try:
                await store.installer.install_from_url(packages[1])
            except InstallError as error:
                refused.append(str(error))
            assert leftovers(store.plugin_dir) == []
            (plugin,) = store.installer.discover()
            assert plugin.problem == ""
            assert (plugin.path / "rows").read_text() == "rows"
            outcomes.add(plugin.current is not None)
            remount(place, "size=10m")
            await store.installer.install_from_url(packages[1])
            (plugin,) = store.installer.discover()
            assert (plugin.current.version, plugin.next.version) == ("0", "2")
            assert (plugin.path / "rows").read_text() == "rows"
    assert outcomes == {False, True}
    assert all(FULL in words for words in refused)


@pytest.mark.slow
async def test_a_disk_that_is_read_only(tmp_path: Path, packages: list[str]) -> None:
    place = tmp_path / "disk"
    with small_disk(place, "1m"):
        store = Store(place)
        await store.installer.install_from_url(packages[0])
        remount(place, "ro")
        with pytest.raises(InstallError, match="Read-only file system"):
            await store.installer.install_from_url(packages[1])
        # Nothing has to be written for what is there.
        await store.installer.install_from_url(packages[0])
        (plugin,) = await asyncio.to_thread(store.installer.discover)
        assert plugin.problem == ""
        os.close(store.releases.acquire(plugin.current))
        await store.releases.collect_all()
        remount(place, "rw")
        await store.installer.install_from_url(packages[1])
        second = store.installer.store.home("example").next_version()
        remount(place, "ro")
        with pytest.raises(InstallError, match="Read-only file system"):
            await store.releases.make_current("example", second)
        assert store.check() == ("1", "2")
        await store.releases.failed("example", second, "why")  # a warning only
        remount(place, "rw")
        await store.releases.make_current("example", second)
        assert store.check() == ("2", "")
