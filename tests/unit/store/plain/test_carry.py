"""What a plugin wrote into its package directory is in its data directory, once and whole."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from tests.support.deep import nest
from tests.support.package_kit import tree
from tests.support.store_kit import install, plain

from vconnect.removal import remove_tree
from vconnect.store.plain.carry import Pending, written_files
from vconnect.store.store import PluginStore


@pytest.fixture
def store(tmp_path: Path) -> PluginStore:
    return PluginStore(tmp_path / "plugins")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def home(store: PluginStore) -> Path:
    """A plain directory that a plugin has worked in."""
    home = plain(store, version="0.9")
    (home / "content").write_bytes(b"of the package")
    for path in home.iterdir():
        os.utime(path, (1000, 1000))
    (home / "data" / "deep").mkdir(parents=True)
    (home / "data" / "deep" / "rows").write_bytes(b"rows")
    (home / "__pycache__").mkdir()
    (home / "__pycache__" / "x.pyc").write_bytes(b"x")
    (home / "latest").symlink_to("data/deep/rows")
    (home / "folder").symlink_to("data")
    os.mkfifo(home / "pipe")
    return home


def carried(state: Path) -> dict[str, bytes | None]:
    return tree(state / "data" / "example")


def test_a_plain_directory_has_nothing_to_carry_yet(home: Path, state: Path) -> None:
    assert not Pending(home, state)


def test_what_the_plugin_wrote_is_carried_and_only_that(
    store: PluginStore, home: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    install(store, "1")
    # It runs until it is restarted, and goes on writing.
    legacy = store.home("example").current().package
    (legacy / "late").write_bytes(b"late")
    pending = Pending(home, state)
    assert pending
    pending.carry("example")
    data = state / "data" / "example"
    assert set(carried(state)) == {
        "data",
        "data/deep",
        "data/deep/rows",
        "folder",
        "late",
        "latest",
    }
    assert (data / "late").read_bytes() == b"late"
    assert str((data / "latest").readlink()) == "data/deep/rows"
    assert f"copied what it wrote into its package directory to {data}" in caplog.text
    assert "data/deep/rows, folder, late, latest" in caplog.text
    assert data.stat().st_mode & 0o777 == 0o700
    # The old files stay, for who goes back to them.
    assert (legacy / "late").exists()


def test_a_file_of_the_package_that_was_written_is_carried(
    store: PluginStore, home: Path, state: Path
) -> None:
    install(store, "1")
    (legacy,) = (path for path in (home / "versions").iterdir() if "legacy" in path.name)
    assert "content" not in written_files(legacy)
    (legacy / "pkg" / "content").write_bytes(b"changed by the plugin")
    assert "content" in written_files(legacy)


def test_without_a_manifest_only_other_names_are_carried(
    store: PluginStore, home: Path, state: Path
) -> None:
    (home / "plugin.json").unlink()
    install(store, "1")
    Pending(home, state).carry("example")
    assert "content" not in carried(state)
    assert "data/deep/rows" in carried(state)


def test_the_log_is_not_flooded(
    store: PluginStore, home: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(60):
        (home / f"file-{number:02}").touch()
    (home / "a\nb").touch()
    install(store, "1")
    Pending(home, state).carry("example")
    assert r"'a\nb', data/deep/rows, file-00" in caplog.text
    assert "file-47 and 14 more" in caplog.text


def test_it_is_carried_once(store: PluginStore, home: Path, state: Path) -> None:
    install(store, "1")
    Pending(home, state).carry("example")
    assert not Pending(home, state)
    (state / "data" / "example" / "latest").unlink()
    Pending(home, state).carry("example")
    assert "latest" not in carried(state)


def test_each_host_has_its_own(store: PluginStore, home: Path, state: Path, tmp_path: Path) -> None:
    install(store, "1")
    Pending(home, state).carry("example")
    other = Pending(home, tmp_path / "other")
    assert other
    other.carry("example")
    assert carried(tmp_path / "other") == carried(state)


def test_what_is_there_stays(store: PluginStore, home: Path, state: Path) -> None:
    rows = state / "data" / "example" / "data" / "deep" / "rows"
    rows.parent.mkdir(parents=True)
    rows.write_bytes(b"newer")
    install(store, "1")
    Pending(home, state).carry("example")
    assert rows.read_bytes() == b"newer"


def test_a_disk_that_is_full_halfway_leaves_no_half(
    store: PluginStore, home: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(store, "1")

    def full(source: Path, target: Path, **_: object) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("vconnect.store.plain.carry._copy_data", full)
        with pytest.raises(OSError, match="No space left"):
            Pending(home, state).carry("example")
    assert [name for name, data in carried(state).items() if data is not None] == []
    assert Pending(home, state)
    Pending(home, state).carry("example")
    assert carried(state)["data/deep/rows"] == b"rows"


@pytest.mark.parametrize("ends_with", ["data", "hole"])
def test_holes_of_a_file_stay_holes(
    store: PluginStore, home: Path, state: Path, ends_with: str
) -> None:
    with (home / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(50_000_000)
        if ends_with == "data":
            file.write(b"end")
        file.truncate(60_000_000 if ends_with == "hole" else 50_000_003)
    install(store, "1")
    Pending(home, state).carry("example")
    carried_file = state / "data" / "example" / "sparse"
    status = carried_file.stat()
    assert status.st_size == (60_000_000 if ends_with == "hole" else 50_000_003)
    assert status.st_blocks * 512 < 1_000_000
    with carried_file.open("rb") as file:
        assert file.read(5) == b"begin"
        file.seek(50_000_000)
        assert file.read(3) == (b"end" if ends_with == "data" else b"\0\0\0")


def test_directories_that_are_nested_too_deeply_are_an_error(
    store: PluginStore, home: Path, state: Path
) -> None:
    nest(home, 1500)
    install(store, "1")
    try:
        with pytest.raises(OSError, match="nested too deeply"):
            Pending(home, state).carry("example")
    finally:
        remove_tree(home)  # pytest could not
