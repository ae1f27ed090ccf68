"""What is in a directory, and the digest of all of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vconnect.packages.contents import digest_of, entries, tree_digest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "data").write_bytes(b"data")
    (tmp_path / "run").write_bytes(b"run")
    (tmp_path / "run").chmod(0o700)
    return tmp_path


def test_each_file_has_its_digest_and_its_bit(directory: Path) -> None:
    assert entries(directory) == {
        "lib/data": (hashlib.sha256(b"data").hexdigest(), False),
        "run": (hashlib.sha256(b"run").hexdigest(), True),
    }


def test_what_is_no_file_is_told_and_not_followed(directory: Path) -> None:
    (directory / "link").symlink_to("lib")
    (directory / "dangling").symlink_to("nowhere")
    os.mkfifo(directory / "pipe")
    found = entries(directory)
    assert {name for name, (digest, _) in found.items() if digest == "not a file"} == {
        "link",
        "dangling",
        "pipe",
    }


def test_what_cannot_be_read_is_an_error(directory: Path) -> None:
    with pytest.raises(FileNotFoundError):
        entries(directory / "none")


@pytest.mark.parametrize("change", ["name", "content", "mode"])
def test_one_digest_of_names_contents_and_bits(directory: Path, change: str) -> None:
    before = tree_digest(entries(directory))
    os.utime(directory / "run", (1, 1))
    (directory / "empty").mkdir()
    assert tree_digest(entries(directory)) == before
    if change == "name":
        (directory / "run").rename(directory / "walk")
    elif change == "content":
        (directory / "run").write_bytes(b"ran")
    else:
        (directory / "run").chmod(0o600)
    assert tree_digest(entries(directory)) != before


def test_the_digest_of_an_open_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        assert digest_of(descriptor) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    finally:
        os.close(descriptor)
