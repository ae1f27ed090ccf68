"""Reads, writes and locks files: durably, and without waiting for what only looks like one."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import BinaryIO

_NEW_SUFFIX = ".new"

# Far more than any file has that vconnect itself writes.
_LARGEST = 64 << 20


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
    """Read at most ``limit`` bytes of a file, as `open_regular` opens it. Blocks.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        return file.read(limit)


def read_own(path: Path) -> bytes:
    """Read a file that vconnect has written, and that others may have replaced since. Blocks.

    Raises:
        OSError: It cannot be read, is not a regular file, or is too large to be one of those.
    """
    data = read_regular(path, _LARGEST + 1)
    if len(data) > _LARGEST:
        raise OSError(errno.EFBIG, f"it has more than {_LARGEST >> 20} MiB", str(path))
    return data


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """Open a file for reading. Blocks, but not for a writer.

    A pipe in a file's place would be waited for without end, and a device has no end.

    Args:
        path: The file.
        flags: Further flags of ``open(2)``, such as ``O_NOFOLLOW``.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        # Checked on the open descriptor: the path may lead to something else a moment later.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file unless it is locked; the lock ends when its last descriptor is closed."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_directories(directory: Path, mode: int = 0o700) -> None:
    """Create a directory and its missing parents, each with this mode at most, whatever the umask.

    ``Path.mkdir`` gives the mode to the last one only; its parents get all that the umask allows.

    Raises:
        OSError: One of them cannot be created.
    """
    if not directory.exists():  # asked from below: usually everything is there
        make_directories(directory.parent, mode)
        directory.mkdir(mode=mode, exist_ok=True)


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically: a kill at any moment leaves the old contents or the new ones.

    Missing directories are created with mode 0700. Two writers of one path must not run at the same
    time. Blocks.

    Args:
        path: The file.
        data: Its new contents.
        mode: Its mode, whatever the umask is.

    Raises:
        OSError: Writing failed. The old contents are unchanged, and no temporary file is left.
    """
    directory = path.parent
    make_directories(directory)
    # One name for all attempts, so that a kill leaves at most one temporary file.
    new = path.with_name(path.name + _NEW_SUFFIX)
    try:
        _write_synced(new, data, mode)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(directory)  # otherwise the rename itself could be lost


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    # A link in place of the temporary file is not followed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
