"""Bringing files to the disk, so that they are there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

_NEW_SUFFIX = ".new"


def sync(path: Path) -> None:
    """Flush a file's contents, or a directory's names, to the disk.

    Raises:
        OSError: It cannot be opened or flushed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole, so that a kill at any moment leaves the old contents or the new ones.

    Missing directories are made with mode 0700; the file has mode 0600. Two writers of one path
    must not run at the same time. Blocks.

    Raises:
        OSError: The disk refuses. The old contents are there, and no temporary file.
    """
    directory = path.parent
    for missing in reversed([one for one in (directory, *directory.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    # One name for all attempts, so that a kill leaves one temporary file at most.
    new = path.with_name(path.name + _NEW_SUFFIX)
    try:
        _write_synced(new, data)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(directory)


def _write_synced(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
