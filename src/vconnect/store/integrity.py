"""What is in an installed package now, to be compared with its receipt."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vconnect.errors import InstallError

from .layout import InstalledVersion, read_receipt
from .trees import digest_of


def is_sound(version: InstalledVersion) -> bool:
    """Return whether every file of a version is as it was installed. Blocks: each is read.

    Of what was a plain directory nothing is known, so it is sound.
    """
    if version.is_legacy:
        return True
    try:
        return entries(version.package) == read_receipt(version.directory).files
    except (InstallError, OSError):
        return False


def entries(package: Path) -> dict[str, tuple[str, bool]]:
    """Return everything but directories, with its sha256 and whether it is executable. Blocks.

    What is no regular file has ``not a file`` in place of a digest.

    Raises:
        OSError: Something cannot be read.
    """
    return dict(_entries(package))


def _entries(package: Path) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Yield everything but directories, with its digest and whether it is executable.

    Raises:
        OSError: Something cannot be read.
    """
    for parent, directories, files in os.walk(package, onerror=_raise):
        for name in (*files, *(one for one in directories if Path(parent, one).is_symlink())):
            path = Path(parent, name)
            yield str(path.relative_to(package)), _digest(path)


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
