"""Which versions there are, and which one is meant."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from tests.support.package_kit import write_package

from vconnect.errors import InstallError
from vconnect.operations.versions import last_words, source_of, summarize_versions, target_of
from vconnect.plugins.runtime import PluginRuntime
from vconnect.store.home import PluginHome
from vconnect.store.installer import PluginInstaller


@pytest.fixture
def plugin(tmp_path: Path) -> PluginRuntime:
    """A plugin whose version 1 is current, 2 has failed, and 3 waits."""
    installer = PluginInstaller(tmp_path / "plugins")
    for version in "123":
        package = write_package(tmp_path / f"{version}.vp", version=version)
        installed = asyncio.run(installer.install_from_url(str(package)))
    home = PluginHome(installed.home)
    second = next(one for one in home.all_versions() if one.version == "2")
    home.write(home.record().with_entry(second, "start", "failed", "no token"))
    return PluginRuntime("example", installed.home)


def digest_of(plugin: PluginRuntime, version: str) -> str:
    assert plugin.home is not None
    return next(v.digest for v in PluginHome(plugin.home).all_versions() if v.version == version)


def test_they_are_described_with_the_current_one_first(plugin: PluginRuntime) -> None:
    assert plugin.home is not None
    found = summarize_versions(plugin.home, PluginHome(plugin.home).current())
    assert {one.version: one.states for one in found} == {
        "1": ("current", "running"),
        "2": ("failed",),
        "3": ("next",),
    }
    assert found[0].version == "1"
    assert found[0].size > 0
    assert found[0].source.endswith("1.vp")


def test_one_that_is_removed_meanwhile_is_none(
    plugin: PluginRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plugin.home is not None
    listed = PluginHome(plugin.home).all_versions()
    monkeypatch.setattr(PluginHome, "all_versions", lambda _: listed)
    gone = next(one for one in listed if one.version == "2")
    shutil.rmtree(gone.directory)
    assert [one.version for one in summarize_versions(plugin.home, None)] == ["1", "3"]
    # What is there and cannot be read is told.
    (listed[0].directory / "install.json").unlink()
    with pytest.raises(InstallError, match="cannot be read"):
        summarize_versions(plugin.home, None)


def test_the_source_of_the_current_one_is_known(plugin: PluginRuntime) -> None:
    assert source_of(plugin).endswith("1.vp")


def test_what_has_failed_has_last_words(plugin: PluginRuntime) -> None:
    assert last_words(plugin, digest_of(plugin, "2")) == "no token"
    assert last_words(plugin, digest_of(plugin, "1")) == ""


def test_by_default_one_that_has_been_ready_is_meant(plugin: PluginRuntime) -> None:
    with pytest.raises(InstallError, match="no earlier version"):
        target_of(plugin, "")
    assert plugin.home is not None
    home = PluginHome(plugin.home)
    third = next(one for one in home.all_versions() if one.version == "3")
    home.write(home.record().with_entry(third, "start", "ready"))
    assert target_of(plugin, "").version == "3"


def test_one_is_meant_by_version_directory_or_digest(plugin: PluginRuntime) -> None:
    digest = digest_of(plugin, "2")
    for name in ("2", f"2+{digest[:16]}", digest[:8], digest):
        assert target_of(plugin, name).version == "2"
    assert target_of(plugin, "1").version == "1"  # the current one: nothing is to be done
    for name in ("9", digest[:7]):
        with pytest.raises(InstallError, match="no other version"):
            target_of(plugin, name)
