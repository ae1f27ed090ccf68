"""The installer on local packages: all or nothing, and in words."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.support.package_kit import (
    SCRIPT,
    file,
    good_members,
    manifest_bytes,
    package_bytes,
    tree,
    write_package,
)

from vconnect.errors import InstallError
from vconnect.packages import installer as installer_module
from vconnect.packages.installer import PluginInstaller, check_host_version
from vconnect.packages.manifest import Manifest, parse_manifest


@pytest.fixture
def plugin_dir(tmp_path: Path) -> Path:
    return tmp_path / "plugins"


@pytest.fixture
def installer(plugin_dir: Path) -> PluginInstaller:
    return PluginInstaller(plugin_dir)


@pytest.fixture
def host_of_version(monkeypatch: pytest.MonkeyPatch):
    def pretend(version: str) -> None:
        monkeypatch.setattr(installer_module, "host_version", lambda: version)

    return pretend


def installed(plugin_dir: Path) -> dict[str, bytes | None]:
    """What is in the plugins' directory, but for the host's own."""
    return {name: data for name, data in tree(plugin_dir).items() if not name.startswith(".")}


def manifest(**fields: Any) -> Manifest:
    return parse_manifest(manifest_bytes(**fields), "plugin.json")


async def refusal(installer: PluginInstaller, package: Path) -> str:
    with pytest.raises(InstallError) as caught:
        await installer.install_from_url(str(package))
    return str(caught.value)


async def test_what_was_installed_is_found(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    package = write_package(tmp_path / "a.vp")
    plugin = await installer.install_from_url(str(package))
    assert (plugin.name, plugin.path) == ("example", plugin_dir / "example")
    assert installer.discover() == [plugin]
    assert installed(plugin_dir) == {
        "example": None,
        "example/example": SCRIPT,
        "example/plugin.json": manifest_bytes(),
    }
    assert package.exists()


async def test_it_is_logged_with_its_version(
    installer: PluginInstaller, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    package = write_package(tmp_path / "a.vp", version="1.2.3")
    await installer.install_from_url(str(package))
    assert f"from {package}" in caplog.text
    assert "example 1.2.3" in caplog.text


async def test_a_newer_version_takes_the_place_of_the_older(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    old = [*good_members(version="1"), file("only-in-the-old", b"x")]
    await installer.install_from_url(str(write_package(tmp_path / "old.vp", old)))
    await installer.install_from_url(str(write_package(tmp_path / "new.vp", version="2")))
    assert [plugin.manifest.version for plugin in installer.discover()] == ["2"]
    assert "example/only-in-the-old" not in installed(plugin_dir)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([file("plugin.json", manifest_bytes())], "could not be started"),
        ([file("plugin.json", b"{"), file("example", SCRIPT, 0o755)], "plugin.json"),
        ([file("plugin.json", manifest_bytes()), file("example", b"text", 0o644)], "chmod"),
        ([*good_members(), file("../escape")], "escape"),
        (good_members(min_host_version="999"), "requires vconnect 999"),
        (good_members(min_host_version="soon"), "min_host_version is 'soon'"),
    ],
)
async def test_a_refusal_leaves_nothing_and_names_the_package(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path, members: list, words: str
) -> None:
    package = write_package(tmp_path / "bad.vp", members)
    message = await refusal(installer, package)
    assert message.startswith(f"{package}: ")
    assert words in message
    assert ".vconnect" not in message  # the staging directory means nothing to the operator
    assert installed(plugin_dir) == {}
    assert set(tree(plugin_dir)) <= {".vconnect", ".vconnect/lock"}


async def test_a_refusal_keeps_the_older_version(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    await installer.install_from_url(str(write_package(tmp_path / "good.vp", version="1")))
    before = installed(plugin_dir)
    await refusal(installer, write_package(tmp_path / "bad.vp", min_host_version="999"))
    assert installed(plugin_dir) == before


async def test_a_source_that_is_none_makes_no_directory(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    assert "extension" in await refusal(installer, tmp_path / "a.zip")
    assert not plugin_dir.exists()


async def test_a_package_larger_than_allowed_is_refused(plugin_dir: Path, tmp_path: Path) -> None:
    package = write_package(tmp_path / "a.vp", [*good_members(), file("large", bytes(50_000))])
    small = PluginInstaller(plugin_dir, max_package_bytes=20_000)
    assert "more than 20000 bytes" in await refusal(small, package)
    packed = package.stat().st_size
    smaller = PluginInstaller(plugin_dir, max_package_bytes=packed - 1)
    assert str(packed - 1) in await refusal(smaller, package)


async def test_two_of_one_plugin_at_once_leave_one_whole_version(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    packages = [
        write_package(tmp_path / f"{n}.vp", [*good_members(version=f"{n}"), file(f"of-{n}")])
        for n in range(4)
    ]
    await asyncio.gather(*(installer.install_from_url(str(package)) for package in packages))
    (plugin,) = installer.discover()
    left = [name for name in installed(plugin_dir) if "/of-" in name]
    assert left == [f"example/of-{plugin.manifest.version}"]


async def test_a_cancelled_one_leaves_nothing(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    package = write_package(tmp_path / "a.vp")
    task = asyncio.create_task(installer.install_from_url(str(package)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert installed(plugin_dir) == {}


def test_a_directory_that_is_not_there_has_no_plugins(installer: PluginInstaller) -> None:
    assert installer.discover() == []


def test_a_package_that_somebody_broke_is_listed_with_its_problem(
    installer: PluginInstaller, plugin_dir: Path
) -> None:
    (plugin_dir / "broken").mkdir(parents=True)
    (plugin_dir / "broken" / "plugin.json").write_text("{")
    (plugin,) = installer.discover()
    assert plugin.name == "broken"
    assert plugin.problem


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("", "0.1"),
        ("0.1.0", "0.1"),
        ("0.1", "0.1.0"),
        ("0", "0.1.0"),
        ("1.2", "1.10"),
        ("1.9", "1.10.dev3"),
        ("1.2", "1.2rc1"),
        ("999", ""),
    ],
)
def test_a_host_that_is_new_enough(wanted: str, version: str) -> None:
    check_host_version(manifest(min_host_version=wanted), version, "a.vp")


@pytest.mark.parametrize(("wanted", "version"), [("0.1.1", "0.1"), ("1.10", "1.9"), ("2", "1.99")])
def test_a_host_that_is_too_old(wanted: str, version: str) -> None:
    with pytest.raises(InstallError, match=rf"^a\.vp: requires vconnect {wanted} or newer"):
        check_host_version(manifest(min_host_version=wanted), version, "a.vp")


@pytest.mark.parametrize("wanted", ["v1", "1.", ".1", "1..2", ">=1", "1.2rc1", " 1", "1" * 10])
def test_what_is_no_version(wanted: str) -> None:
    with pytest.raises(InstallError, match="min_host_version"):
        check_host_version(manifest(min_host_version=wanted), "1.0", "a.vp")


async def test_it_is_this_hosts_version_that_counts(
    installer: PluginInstaller, tmp_path: Path, host_of_version
) -> None:
    package = tmp_path / "a.vp"
    package.write_bytes(package_bytes(good_members(min_host_version="5.1")))
    host_of_version("5.0.9")
    assert "this is 5.0.9" in await refusal(installer, package)
    host_of_version("5.1")
    assert (await installer.install_from_url(str(package))).name == "example"
