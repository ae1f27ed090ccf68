"""Directories as a whole: sealed against changes, and synced to disk."""

# A version is sealed after it was unpacked: read-only directories and files, so that neither the
# plugin nor an operator's editor changes what the receipt says. Before it is moved into place, its
# contents are synced, files before the directories that name them, so that a power cut leaves a
# version that is whole or none.

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import msgspec

from vconnect.durable import sync
from vconnect.packages.contents import digest_of, tree_digest

_READ_ONLY = 0o444
_RUNNABLE = 0o555


class Sealed(msgspec.Struct, frozen=True):
    """What is in a tree that no longer changes.

    Attributes:
        files: Each file's sha256, and whether it is executable.
        digest: The sha256 of all of that.
    """

    files: dict[str, tuple[str, bool]]
    digest: str


def seal(directory: Path) -> Sealed:
    """Make a tree read-only, sync it to disk, and return what is in it. Blocks.

    Raises:
        OSError: Something cannot be read, changed or flushed, or is not a regular file.
    """
    files: dict[str, tuple[str, bool]] = {}
    parents: list[str] = []
    # Contents before names; so all files, and then the directories from the deepest up.
    for parent, _, names in os.walk(directory, topdown=False):
        parents.append(parent)
        for name in names:
            path = Path(parent, name)
            files[str(path.relative_to(directory))] = _seal_file(path)
    for parent in parents:
        Path(parent).chmod(_RUNNABLE)
        sync(Path(parent))
    return Sealed(files, tree_digest(files))


def _seal_file(path: Path) -> tuple[str, bool]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        is_executable = bool(status.st_mode & 0o111)
        os.fchmod(descriptor, _RUNNABLE if is_executable else _READ_ONLY)
        digest = digest_of(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest, is_executable


def sync_tree(directory: Path) -> None:
    """Sync a tree to disk, contents before names. Blocks.

    Raises:
        OSError: Something cannot be opened or flushed.
    """
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            path = Path(parent, name)
            # A link is a name in its directory, and a pipe would wait for a writer.
            if stat.S_ISREG(path.lstat().st_mode):
                sync(path)
        sync(Path(parent))
