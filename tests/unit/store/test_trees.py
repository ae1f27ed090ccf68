"""Directories as a whole: sealed and synced."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vconnect.removal import remove_tree
from vconnect.store.trees import seal, sync_tree


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "pkg"
    (directory / "lib").mkdir(parents=True)
    (directory / "lib" / "data").write_bytes(b"data")
    (directory / "run").write_bytes(b"run")
    (directory / "run").chmod(0o700)
    return directory


def test_what_is_sealed_is_read_only_and_told(directory: Path) -> None:
    sealed = seal(directory)
    assert sealed.files == {
        "lib/data": (hashlib.sha256(b"data").hexdigest(), False),
        "run": (hashlib.sha256(b"run").hexdigest(), True),
    }
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.rglob("*")}
    assert modes == {"lib": 0o555, "data": 0o444, "run": 0o555}
    assert directory.stat().st_mode & 0o777 == 0o555
    assert seal(directory) == sealed


@pytest.mark.parametrize("change", ["name", "content", "mode"])
def test_the_digest_is_of_names_contents_and_modes(directory: Path, change: str) -> None:
    before = seal(directory).digest
    directory.chmod(0o755)
    if change == "name":
        (directory / "run").rename(directory / "walk")
    elif change == "content":
        (directory / "run").unlink()
        (directory / "run").write_bytes(b"ran")
        (directory / "run").chmod(0o700)
    else:
        (directory / "run").chmod(0o600)
    assert seal(directory).digest != before


def test_only_regular_files_are_sealed(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        seal(directory)


def test_a_link_is_not_followed(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").touch(mode=0o644)
    (directory / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        seal(directory)
    assert (tmp_path / "precious").stat().st_mode & 0o777 == 0o644


def test_what_is_sealed_can_be_removed(directory: Path) -> None:
    seal(directory)
    remove_tree(directory)
    assert not directory.exists()
    remove_tree(directory)  # nothing to remove is no trouble


def test_syncing_passes_over_what_is_no_file(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    (directory / "dangling").symlink_to("nowhere")
    sync_tree(directory)
