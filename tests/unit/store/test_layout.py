"""The names in plugin_dir, and what a version's directory must have to count."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from tests.support.store_kit import install, plain

from vconnect.errors import InstallError
from vconnect.store.layout import (
    InstalledVersion,
    Receipt,
    check_version,
    current_version,
    directory_name,
    is_store_directory,
    is_version_name,
    read_head,
    read_version,
)
from vconnect.store.store import PluginStore

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def version(tmp_path: Path) -> InstalledVersion:
    return install(PluginStore(tmp_path / "plugins"), "1.2.0")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1.2.0", "1.2.0"),
        ("", "0"),
        ("1.0+build.5", "1.0+build.5"),
        (".hidden", "_hidden"),
        ("..", "_."),
        ("a b\n\x1b", "a_b__"),
        ("ü", "_"),
    ],
)
def test_the_name_of_a_versions_directory(text: str, name: str) -> None:
    made = directory_name(text, DIGEST)
    assert made == f"{name}+0123456789abcdef"
    assert is_version_name(made)


def test_the_name_of_what_was_a_plain_directory() -> None:
    assert directory_name("1", f"legacy-{DIGEST}") == "1+legacy-0123456789abcdef"


@pytest.mark.parametrize("name", [".del-1+0123", ".in-use", "1.2.0", ""])
def test_what_is_no_name_of_a_version(name: str) -> None:
    assert not is_version_name(name)


def test_the_longest_version() -> None:
    check_version("v" * 64, "a.vp")
    for version, words in (("v" * 65, "65 bytes"), ("ü" * 33, "66 bytes"), ("a/b", "without '/'")):
        with pytest.raises(InstallError, match=f"^a.vp: .*{words}"):
            check_version(version, "a.vp")


def test_a_version_is_what_its_receipt_says(version: InstalledVersion) -> None:
    receipt = msgspec.json.decode((version.directory / "install.json").read_bytes(), type=Receipt)
    assert read_head(version.directory).sha256 == receipt.sha256 == version.digest
    assert (receipt.name, receipt.version) == ("example", "1.2.0")
    assert sorted(receipt.files) == ["content", "example", "plugin.json"]
    assert [name for name, (_, executable) in receipt.files.items() if executable] == ["example"]
    assert read_version(version.directory) == version
    assert version.home.name == "example"
    assert not version.is_legacy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda receipt: {**receipt, "version": "1.3.0"}, "is the receipt of 1.3.0"),
        (lambda receipt: {**receipt, "sha256": "0" * 64}, "is the receipt of"),
        (lambda receipt: {**receipt, "format": 2}, "format version 2"),
        (lambda receipt: {"version": "1.2.0"}, "is not a valid receipt"),
        (lambda receipt: [], "is not a valid receipt"),
    ],
)
def test_a_receipt_that_is_not_that_of_its_directory(
    version: InstalledVersion, change, words: str
) -> None:
    file = version.directory / "install.json"
    changed = change(json.loads(file.read_text()))
    file.unlink()
    file.write_text(json.dumps(changed))
    with pytest.raises(InstallError, match=words):
        read_version(version.directory)


def test_without_its_receipt_or_its_files_a_version_does_not_count(
    version: InstalledVersion,
) -> None:
    version.package.rename(version.directory / "away")
    with pytest.raises(InstallError, match="pkg is missing"):
        read_version(version.directory)
    (version.directory / "install.json").unlink()
    with pytest.raises(InstallError, match=r"install.json: cannot be read: No such file"):
        read_version(version.directory)


def test_current_leads_to_a_version(version: InstalledVersion) -> None:
    assert current_version(version.home) == version
    assert is_store_directory(version.home)


def test_a_switch_while_current_is_read_is_no_problem(
    version: InstalledVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that was current is removed before its receipt is read."""
    link = version.home / "current"
    link.unlink()
    link.symlink_to("versions/0+gone")
    readlink = os.readlink

    def switch_after(path: Path) -> str:
        target = readlink(path)
        if target == "versions/0+gone":
            link.unlink()
            link.symlink_to(f"versions/{version.directory.name}")
        return target

    monkeypatch.setattr(os, "readlink", switch_after)
    assert current_version(version.home) == version


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/", "leads to /; expected versions/VERSION"),
        ("versions", "leads to versions; expected"),
        ("versions/../..", "expected versions/VERSION"),
        ("versions/none", "expected versions/VERSION"),
        ("versions/9+0000000000000000", "which cannot be used"),
    ],
)
def test_current_leads_elsewhere(version: InstalledVersion, target: str, words: str) -> None:
    link = version.home / "current"
    link.unlink()
    link.symlink_to(target)
    with pytest.raises(InstallError, match=words):
        current_version(version.home)
    assert is_store_directory(version.home)


def test_current_is_no_link(version: InstalledVersion) -> None:
    link = version.home / "current"
    link.unlink()
    with pytest.raises(InstallError, match="is missing, so no version is installed"):
        current_version(version.home)
    link.mkdir()
    with pytest.raises(InstallError, match="is not a symbolic link"):
        current_version(version.home)
    assert is_store_directory(version.home)


def test_a_plain_directory_may_have_anything(tmp_path: Path) -> None:
    home = plain(PluginStore(tmp_path))
    (home / "current").mkdir()
    (home / "versions").mkdir()
    assert not is_store_directory(home)
