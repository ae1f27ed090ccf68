"""Reads and writes files: durably, and without waiting for what only looks like a file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_NEW_SUFFIX = ".new"


def sync(path: Path) -> None:
    """Flush a file's contents, or a directory's names, to disk. Blocks.

    Raises:
        OSError: It cannot be opened or flushed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: Path, limit: int) -> bytes:
    """Read at most ``limit`` bytes of a file. Blocks, but not for a writer.

    A pipe in a file's place would be waited for without end, and a device has no end.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return file.read(limit)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file atomically: a kill at any moment leaves the old contents or the new ones.

    Missing directories are created with mode 0700; the file has mode 0600. Two writers of one path
    must not run at the same time. Blocks.

    Raises:
        OSError: Writing failed. The old contents are unchanged, and no temporary file is left.
    """
    directory = path.parent
    for missing in reversed([one for one in (directory, *directory.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    # One name for all attempts, so that a kill leaves at most one temporary file.
    new = path.with_name(path.name + _NEW_SUFFIX)
    try:
        _write_synced(new, data)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(directory)  # otherwise the rename itself could be lost


def _write_synced(path: Path, data: bytes) -> None:
    # A link in place of the temporary file is not followed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
