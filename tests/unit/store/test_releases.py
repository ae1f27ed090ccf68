"""Which version a start uses, and what comes of it."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
from tests.support.store_kit import current, install, plain, waiting

from vconnect.errors import InstallError
from vconnect.settings.model import Settings
from vconnect.settings.parts import StoreSettings
from vconnect.store.home import PluginHome
from vconnect.store.releases import Releases
from vconnect.store.store import PluginStore


@pytest.fixture
def store(tmp_path: Path) -> PluginStore:
    return PluginStore(tmp_path / "plugins")


@pytest.fixture
def releases(store: PluginStore) -> Releases:
    settings = Settings(plugin_dir=str(store.plugin_dir), socket_path="/run/host.sock")
    return Releases(store, settings.part(StoreSettings))


def results(store: PluginStore) -> list[tuple[str, str]]:
    history = store.home("example").record().history
    return [(entry.version, entry.result) for entry in history]


async def test_a_version_that_was_ready_becomes_current(
    store: PluginStore, releases: Releases
) -> None:
    install(store, "1")
    second = install(store, "2")
    assert releases.locate(second.home).version != second
    await releases.make_current("example", second)
    assert releases.locate(second.home).version == second
    assert waiting(store) == ""
    assert results(store) == [("1", "installed"), ("2", "ready")]


async def test_that_the_current_one_was_ready_is_recorded_once(
    store: PluginStore, releases: Releases
) -> None:
    first = install(store, "1")
    for _ in range(3):
        await releases.make_current("example", first)
    assert results(store) == [("1", "installed"), ("1", "ready")]


async def test_a_version_that_failed_is_not_tried_again(
    store: PluginStore, releases: Releases
) -> None:
    install(store, "1")
    second = install(store, "2")
    await releases.failed("example", second, "no handshake within 10 s")
    assert (current(store), waiting(store)) == ("1", "")
    assert results(store)[-1] == ("2", "failed")
    assert store.home("example").record().history[-1].reason == "no handshake within 10 s"
    await releases.collect("example")
    assert second.package.is_dir()


async def test_a_disk_that_refuses_the_switch_refuses_it_all(
    store: PluginStore, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(store, "1")
    second = install(store, "2")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PluginHome, "switch", full)
    with pytest.raises(InstallError, match="No space left on device"):
        await releases.make_current("example", second)
    assert (current(store), waiting(store)) == ("1", "2")


async def test_what_cannot_be_recorded_after_the_switch_is_a_warning(
    store: PluginStore,
    releases: Releases,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = install(store, "1")
    second = install(store, "2")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PluginHome, "write", full)
    await releases.make_current("example", second)
    assert current(store) == "2"
    assert "No space left on device" in caplog.text
    await releases.failed("example", first, "why")  # a warning too


async def test_a_version_that_is_gone_cannot_become_current(
    store: PluginStore, releases: Releases
) -> None:
    install(store, "1")
    second = install(store, "2")
    second.directory.rename(second.directory.with_name("gone"))
    with pytest.raises(InstallError, match="is not there any more"):
        await releases.make_current("example", second)
    assert current(store) == "1"


async def test_old_versions_are_collected_and_running_ones_kept(
    store: PluginStore, releases: Releases
) -> None:
    versions = []
    for version in ("1", "2", "3", "4"):
        versions.append(install(store, version))
        await releases.make_current("example", versions[-1])
    held = releases.acquire(versions[0])
    await releases.collect("example")
    left = [version.version for version in store.home("example").all_versions()]
    assert left == ["1", "3", "4"]
    os.close(held)
    plain(store, "other")
    await releases.collect_all()
    left = [version.version for version in store.home("example").all_versions()]
    assert left == ["3", "4"]


async def test_who_changes_a_plugin_is_not_waited_for_to_collect(
    store: PluginStore, releases: Releases, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    install(store, "1")
    install(store, "2")
    with store.changing("example", "an upgrade"):
        async with asyncio.timeout(5):
            await releases.collect_all()
    assert "old versions are kept: example: an upgrade (PID" in caplog.text


async def test_what_was_written_into_a_package_is_carried(
    store: PluginStore, releases: Releases, tmp_path: Path
) -> None:
    home = plain(store, version="0.9")
    (home / "rows").write_bytes(b"rows")
    assert not releases.must_carry(home)
    install(store, "1")
    assert releases.must_carry(home)
    await releases.carry("example", home)
    assert not releases.must_carry(home)
    (data,) = store.private.glob("hosts/*/data/example/rows")
    assert data.read_bytes() == b"rows"
