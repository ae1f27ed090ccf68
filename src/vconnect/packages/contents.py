"""What is in a directory: each file with its digest, and one digest of all of that."""

# The digest of a package file changes with the compressor that made it. The one of its contents
# does not: it is of the names, the bytes and the executable bits.

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from vconnect.durable import open_regular

_CHUNK_BYTES = 1024 * 1024


def digest_of(descriptor: int) -> str:
    """Return the sha256 of an open file from its position on, in hex. Blocks.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    while chunk := os.read(descriptor, _CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def measure(file: Path) -> tuple[str, int]:
    """Return the sha256 of a regular file, in hex, and its size in bytes. Blocks.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    with open_regular(file) as opened:
        digest = digest_of(opened.fileno())
        return digest, os.lseek(opened.fileno(), 0, os.SEEK_CUR)


def entries(directory: Path) -> dict[str, tuple[str, bool]]:
    """Return everything but directories, with its sha256 and whether it is executable. Blocks.

    What is no regular file has ``not a file`` in place of a digest.

    Raises:
        OSError: Something cannot be read.
    """
    return dict(_entries(directory))


def tree_digest(files: Mapping[str, tuple[str, bool]]) -> str:
    """Return one digest of what `entries` has found, in hex."""
    whole = hashlib.sha256()
    for relative, (digest, is_executable) in sorted(files.items()):
        whole.update(f"{relative}\0{digest}\0{is_executable:d}\n".encode())
    return whole.hexdigest()


def _entries(directory: Path) -> Iterator[tuple[str, tuple[str, bool]]]:
    for parent, directories, files in os.walk(directory, onerror=_raise):
        for name in (*files, *(one for one in directories if Path(parent, one).is_symlink())):
            path = Path(parent, name)
            yield str(path.relative_to(directory)), _digest(path)


def _raise(error: OSError) -> None:
    raise error


def _digest(path: Path) -> tuple[str, bool]:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return "not a file", False
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return digest_of(descriptor), bool(status.st_mode & 0o111)
    finally:
        os.close(descriptor)
