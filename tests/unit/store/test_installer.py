"""The installer on local packages: all or nothing, and in words."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.package_kit import (
    SCRIPT,
    file,
    good_members,
    leftovers,
    manifest_bytes,
    package_bytes,
    tree,
    write_package,
)

from vconnect.errors import InstallError
from vconnect.packages.fitness import check_host_version
from vconnect.packages.manifest import Manifest, parse_manifest
from vconnect.store import installer as installer_module
from vconnect.store.installer import PluginInstaller
from vconnect.store.offers import Offer


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
    assert (plugin.name, plugin.home) == ("example", plugin_dir / "example")
    assert plugin.path == plugin.current.package
    assert plugin.path.parent.parent == plugin_dir / "example" / "versions"
    assert installer.discover() == [plugin]
    assert tree(plugin.path) == {"example": SCRIPT, "plugin.json": manifest_bytes()}
    assert package.exists()


async def test_it_is_logged_with_its_version(
    installer: PluginInstaller, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    package = write_package(tmp_path / "a.vp", version="1.2.3")
    await installer.install_from_url(str(package))
    assert f"from {package}" in caplog.text
    assert "example 1.2.3" in caplog.text


async def test_another_version_is_put_beside_the_first_and_waits(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    old = [*good_members(version="1"), file("only-in-the-old", b"x")]
    await installer.install_from_url(str(write_package(tmp_path / "old.vp", old)))
    await installer.install_from_url(str(write_package(tmp_path / "new.vp", version="2")))
    (plugin,) = installer.discover()
    assert (plugin.manifest.version, plugin.next.version) == ("1", "2")
    assert (plugin.path / "only-in-the-old").exists()
    assert sorted(tree(plugin.next.package)) == ["example", "plugin.json"]


def inodes(directory: Path) -> dict[str, tuple[int, int]]:
    """Where each file is, and when it was changed."""
    found = {path: path.lstat() for path in directory.rglob("*")}
    return {str(path): (status.st_ino, status.st_mtime_ns) for path, status in found.items()}


async def test_what_is_current_already_changes_nothing(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    package = str(write_package(tmp_path / "a.vp"))
    first = await installer.install_from_url(package)
    before = inodes(plugin_dir)
    assert await installer.install_from_url(package) == first
    assert inodes(plugin_dir) == before


async def test_a_version_that_is_there_is_chosen_and_not_unpacked_again(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    one = str(write_package(tmp_path / "1.vp", version="1"))
    two = str(write_package(tmp_path / "2.vp", version="2"))
    for package in (one, two):
        await installer.install_from_url(package)
    before = inodes(plugin_dir / "example" / "versions")
    # What was wanted last counts: the version that waited is not wanted any more.
    assert (await installer.install_from_url(one)).next is None
    assert (await installer.install_from_url(two)).next.version == "2"
    assert inodes(plugin_dir / "example" / "versions") == before


@pytest.mark.parametrize("name", ["host", "current", "versions", "all", "vconnect"])
async def test_a_name_that_means_something_else_is_refused(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path, name: str
) -> None:
    members = [file("plugin.json", manifest_bytes(name=name)), file(name, SCRIPT, 0o755)]
    message = await refusal(installer, write_package(tmp_path / "a.vp", members))
    assert "cannot be a plugin's name" in message
    assert installed(plugin_dir) == {}


@pytest.mark.parametrize(
    ("version", "words"), [("1/2", "without '/'"), ("v" * 65, "65 bytes"), ("\0", "control")]
)
async def test_a_version_that_cannot_name_a_directory_is_refused(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path, version: str, words: str
) -> None:
    assert words in await refusal(installer, write_package(tmp_path / "a.vp", version=version))
    assert installed(plugin_dir) == {}


async def test_a_local_file_that_changes_while_it_is_read_is_refused(
    installer: PluginInstaller,
    plugin_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = write_package(tmp_path / "a.vp")
    from vconnect.packages.archive import unpack

    def unpack_and_change(*arguments: Any, **options: Any) -> Any:
        unpacked = unpack(*arguments, **options)
        write_package(package, version="9")
        return unpacked

    monkeypatch.setattr("vconnect.store.installer.unpack", unpack_and_change)
    assert "was changed while it was read" in await refusal(installer, package)
    assert installed(plugin_dir) == {}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([file("plugin.json", manifest_bytes())], "could not be started"),
        ([file("plugin.json", b"{"), file("example", SCRIPT, 0o755)], "plugin.json"),
        ([file("plugin.json", manifest_bytes()), file("example", b"text", 0o644)], "chmod"),
        ([*good_members(), file("../escape")], "escape"),
        (good_members(min_host_version="999"), "requires vconnect 999"),
        (good_members(platform="plan9-vax"), "it is for 'plan9-vax', this machine is"),
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
    assert leftovers(plugin_dir) == []


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
    for version in (plugin.current, plugin.next):
        assert [path.name for path in version.package.glob("of-*")] == [f"of-{version.version}"]
    assert leftovers(plugin_dir) == []


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
        (">=0.3", "1.10.dev3"),
        ("^1.2", "1.9"),
        (">=1 <2", "1.99"),
        ("*", "0.1"),
    ],
)
def test_a_host_that_is_new_enough(wanted: str, version: str) -> None:
    check_host_version(manifest(min_host_version=wanted), version, "a.vp")


@pytest.mark.parametrize(("wanted", "version"), [("0.1.1", "0.1"), ("1.10", "1.9"), ("2", "1.99")])
def test_a_host_that_is_too_old(wanted: str, version: str) -> None:
    with pytest.raises(InstallError, match=rf"^a\.vp: requires vconnect {wanted} or newer"):
        check_host_version(manifest(min_host_version=wanted), version, "a.vp")


@pytest.mark.parametrize(
    ("wanted", "version"), [("<1", "1.0"), ("^1", "2.1"), (">=2 <3", "1.9"), ("~1.2", "1.3.dev1")]
)
def test_a_host_that_is_not_in_the_range(wanted: str, version: str) -> None:
    with pytest.raises(InstallError, match=rf"requires vconnect {re.escape(wanted)}, this is"):
        check_host_version(manifest(min_host_version=wanted), version, "a.vp")


@pytest.mark.parametrize("wanted", ["v1", "1.", ".1", "1..2", ">=", "^x", "1.2rc1", " 1", "1" * 10])
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


# --- what the configuration names ------------------------------------------------------------


async def applied(installer: PluginInstaller, package: Path) -> tuple[str, str]:
    """Install it as the configuration would, and return which version is current, and which waits.

    What waits is then made current, as the next start does.
    """
    plugin = await installer.apply(installer.parse(str(package)))
    waits = plugin.next.version if plugin.next is not None else ""
    if plugin.next is not None:
        installer.store.home(plugin.name).switch(plugin.next)
    return plugin.current.version, waits


async def test_what_the_configuration_names_is_installed_once(
    installer: PluginInstaller,
    plugin_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    package = write_package(tmp_path / "a.vp", version="1")
    assert await applied(installer, package) == ("1", "")
    before = inodes(plugin_dir)
    assert await applied(installer, package) == ("1", "")
    assert inodes(plugin_dir) == before
    assert f"{package}: example 1 is installed already" in caplog.text


async def test_an_operators_choice_outlives_an_unchanged_configuration(
    installer: PluginInstaller, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    package = write_package(tmp_path / "a.vp", version="1")
    await applied(installer, package)
    chosen = await installer.install_from_url(str(write_package(tmp_path / "b.vp", version="2")))
    installer.store.home("example").switch(chosen.next)
    assert await applied(installer, package) == ("2", "")
    assert "example 2 is current, the configuration says 1" in caplog.text


async def test_another_entry_and_the_old_one_again_are_applied(
    installer: PluginInstaller, tmp_path: Path
) -> None:
    one = write_package(tmp_path / "1.vp", version="1")
    two = write_package(tmp_path / "2.vp", version="2")
    assert await applied(installer, one) == ("1", "")
    assert await applied(installer, two) == ("1", "2")
    assert await applied(installer, two) == ("2", "")
    assert await applied(installer, one) == ("2", "1")
    assert await applied(installer, one) == ("1", "")


async def test_a_local_file_that_was_replaced_is_applied(
    installer: PluginInstaller, tmp_path: Path
) -> None:
    package = write_package(tmp_path / "a.vp", version="1")
    await applied(installer, package)
    write_package(package, version="2")
    assert await applied(installer, package) == ("1", "2")
    package.unlink()
    with pytest.raises(InstallError, match="no such file"):
        await applied(installer, package)


async def test_each_host_has_a_configuration_of_its_own(plugin_dir: Path, tmp_path: Path) -> None:
    one = write_package(tmp_path / "1.vp", version="1")
    two = write_package(tmp_path / "2.vp", version="2")
    first, second = (PluginInstaller(plugin_dir, host=f"/run/{n}.sock") for n in range(2))
    await applied(first, one)
    assert await applied(second, two) == ("1", "2")
    assert await applied(first, one) == ("2", "")
    assert await applied(second, two) == ("2", "")


async def test_a_version_that_failed_is_not_tried_again_at_each_start_of_the_host(
    installer: PluginInstaller, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await applied(installer, write_package(tmp_path / "1.vp", version="1"))
    two = write_package(tmp_path / "2.vp", version="2")
    plugin = await installer.apply(installer.parse(str(two)))
    home = installer.store.home("example")
    home.write(home.record().with_entry(plugin.next, "start", "failed", "no handshake"))
    home.set_next(None)
    assert await applied(installer, two) == ("1", "")
    assert "example 2 has failed its first start (no handshake), and is not tried" in caplog.text


async def test_what_is_gone_from_the_store_is_installed_again(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    package = write_package(tmp_path / "1.vp", version="1")
    await applied(installer, package)
    await applied(installer, write_package(tmp_path / "2.vp", version="2"))
    installer.store.home("example").collect(1)
    installer.store.remember("example", str(package), "0" * 64)
    assert await applied(installer, package) == ("2", "1")


@pytest.mark.parametrize("fields", [{"plugin_no": "v.plugin.shared"}, {"name": "shared"}])
async def test_a_name_of_another_plugin_is_refused_with_its_owner(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path, fields: dict[str, str]
) -> None:
    first = write_package(tmp_path / "a.vp", name="example", plugin_no="wk.plugin.shared")
    await installer.install_from_url(str(first))
    before = installed(plugin_dir)
    members = good_members(**{"name": "beta", "entry": "example", **fields})
    words = await refusal(installer, write_package(tmp_path / "b.vp", members))
    assert f"gives the name 'shared', which the plugin in {plugin_dir / 'example'} has" in words
    assert installed(plugin_dir) == before


async def test_a_new_version_may_have_the_names_of_the_old_one(
    installer: PluginInstaller, tmp_path: Path
) -> None:
    for version in ("1", "2"):
        package = write_package(tmp_path / f"{version}.vp", version=version, plugin_no="number")
        plugin = await installer.install_from_url(str(package))
    assert plugin.next is not None


@pytest.mark.parametrize("field", ["name", "plugin_no"])
async def test_a_name_with_two_prefixes_is_refused(
    installer: PluginInstaller, tmp_path: Path, field: str
) -> None:
    members = good_members(**{"entry": "example", field: "wk.plugin.v.plugin.x"})
    words = await refusal(installer, write_package(tmp_path / "a.vp", members))
    assert "at most one of the prefixes" in words


async def test_what_is_refused_before_it_is_put_in_place_leaves_nothing(
    installer: PluginInstaller, plugin_dir: Path, tmp_path: Path
) -> None:
    seen: list[Offer] = []

    async def look(offer: Offer) -> None:
        seen.append(offer)

    async def refuse(offer: Offer) -> None:
        seen.append(offer)
        raise InstallError("not this one")

    package = write_package(tmp_path / "a.vp", version="1")
    source = installer.parse(str(package))
    with pytest.raises(InstallError, match="not this one"):
        await installer.install(source, refuse)
    assert installed(plugin_dir) == {}
    assert (seen[0].plugin, seen[0].version, seen[0].is_stored) == ("example", "1", False)
    assert (len(seen[0].digest), seen[0].size) == (64, package.stat().st_size)
    await installer.install(source, look)
    # What is there already is asked about too.
    with pytest.raises(InstallError, match="not this one"):
        await installer.install(source, refuse)
    assert seen[-1].is_stored


async def test_a_package_that_was_sent_is_installed(
    installer: PluginInstaller, tmp_path: Path
) -> None:
    package = write_package(tmp_path / "example.vp")
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    source = f"sha256:{digest}"
    assert await refusal(installer, Path(source)) == (
        f"{source}: was not sent to this host, or too long ago; send it again"
    )
    installer.store.blobs.mkdir(parents=True)
    package.rename(installer.store.blobs / digest)
    plugin = await installer.install_from_url(source)
    assert plugin.current is not None
    assert plugin.current.digest == digest
    # It has made room for others meanwhile, and the store has it.
    (installer.store.blobs / digest).unlink()
    assert (await installer.install_from_url(source)).current == plugin.current
