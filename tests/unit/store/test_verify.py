"""What is installed is compared with what was installed, file by file."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from tests.support.package_kit import write_package

from vconnect.store.installer import PluginInstaller
from vconnect.store.verify import MAX_NAMED, verify


@pytest.fixture
def home(tmp_path: Path) -> Path:
    installer = PluginInstaller(tmp_path / "plugins")
    package = write_package(tmp_path / "x.vp")
    plugin = asyncio.run(installer.install_from_url(str(package)))
    return plugin.home


def package_of(home: Path) -> Path:
    (package,) = home.glob("versions/*/pkg")
    package.chmod(0o755)
    return package


def test_what_was_installed_is_sound(home: Path) -> None:
    (one,) = verify("example", home)
    assert (one.verdict, one.is_sound, one.is_current, one.version) == ("ok", True, True, "0.1.0")
    assert len(one.digest) == 64


@pytest.mark.parametrize("change", ["contents", "mode", "link"])
def test_a_changed_file_is_named(home: Path, change: str) -> None:
    program = package_of(home) / "example"
    program.chmod(0o755)
    if change == "contents":
        program.write_text("#!/bin/sh\nexit 1\n")
    elif change == "mode":
        program.chmod(0o644)
    else:
        program.unlink()
        program.symlink_to("/bin/true")
    (one,) = verify("example", home)
    assert (one.verdict, one.changed, one.missing, one.extra) == ("changed", ("example",), (), ())
    assert not one.is_sound


def test_what_is_missing_and_what_is_extra_is_named_too(home: Path) -> None:
    package = package_of(home)
    (package / "example").unlink()
    for number in range(30):
        (package / f"new{number:02}").write_text("")
    (one,) = verify("example", home)
    assert one.missing == ("example",)
    assert len(one.extra) == MAX_NAMED
    assert one.extra[0] == "new00"


def test_a_version_without_a_receipt_is_unusable(home: Path) -> None:
    (version,) = home.glob("versions/*")
    other = home / "versions" / "9+0123456789abcdef"
    shutil.copytree(version, other)
    (other / "install.json").chmod(0o644)
    (other / "install.json").write_text("{")
    good, bad = sorted(verify("example", home), key=lambda one: one.version)
    assert (good.verdict, bad.verdict, bad.version) == ("ok", "unusable", "9")
    assert "not a valid receipt" in bad.reason


def test_without_a_current_version_nothing_can_be_said(home: Path) -> None:
    (home / "current").unlink()
    (one,) = verify("example", home)
    assert one.verdict == "unusable"
    assert "current is missing" in one.reason


def test_of_a_plain_directory_nothing_is_known(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (one,) = verify("plain", plain)
    assert (one.verdict, one.is_sound) == ("not from a package", True)
