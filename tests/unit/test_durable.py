"""Flushing to the disk: files and directories, and what cannot be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vconnect.durable import sync


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Device and inode of whatever is flushed; the flush itself is done, too."""
    seen: list[tuple[int, int]] = []
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        seen.append((found.st_dev, found.st_ino))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_named_is_flushed(
    tmp_path: Path, flushed: list[tuple[int, int]], kind: str
) -> None:
    path = tmp_path / "it"
    path.mkdir() if kind == "directory" else path.write_bytes(b"x")
    sync(path)
    found = path.stat()
    assert flushed == [(found.st_dev, found.st_ino)]


def test_a_file_that_nobody_may_write_is_flushed(
    tmp_path: Path, flushed: list[tuple[int, int]]
) -> None:
    path = tmp_path / "sealed"
    path.write_bytes(b"x")
    path.chmod(stat.S_IRUSR)
    sync(path)
    assert len(flushed) == 1
    assert path.read_bytes() == b"x"


def test_what_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        sync(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_a_flush_that_fails_is_told_and_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def fsync(descriptor: int) -> None:
        opened.append(descriptor)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        sync(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
