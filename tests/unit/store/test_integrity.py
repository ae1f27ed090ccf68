"""Whether an installed version is as it was installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.store_kit import install

from vconnect.store.integrity import is_sound
from vconnect.store.layout import InstalledVersion
from vconnect.store.store import PluginStore


@pytest.fixture
def version(tmp_path: Path) -> InstalledVersion:
    made = install(PluginStore(tmp_path / "plugins"))
    made.package.chmod(0o755)
    return made


def test_what_nobody_has_touched_is_sound(version: InstalledVersion) -> None:
    assert is_sound(version)


@pytest.mark.parametrize("change", ["contents", "mode", "missing", "extra", "receipt"])
def test_any_difference_counts(version: InstalledVersion, change: str) -> None:
    content = version.package / "content"
    content.chmod(0o644)
    if change == "contents":
        content.write_text("other")
    elif change == "mode":
        content.chmod(0o755)
    elif change == "missing":
        content.unlink()
    elif change == "extra":
        (version.package / "link").symlink_to("/etc/passwd")
    else:
        (version.directory / "install.json").unlink()
    assert not is_sound(version)


def test_what_was_changed_is_put_in_place_again(tmp_path: Path, version: InstalledVersion) -> None:
    content = version.package / "content"
    content.chmod(0o644)
    content.write_text("changed by hand")
    again = install(PluginStore(tmp_path / "plugins"))
    assert again.directory == version.directory
    assert is_sound(again)
