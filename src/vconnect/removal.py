"""Removes a tree, whatever a plugin has made of it."""

# A plugin can nest directories without limit, so nothing here recurses, and no path is ever put
# together: each directory is lifted up to the root before it is looked into. Links are removed and
# never followed. Directories without permissions are opened up first.

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from itertools import count
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OURS = 0o700


def remove_tree(path: Path) -> None:
    """Remove a tree of any depth, a file, or a link, even if something else is removing it. Blocks.

    Raises:
        OSError: Something cannot be removed, such as a mount point; the rest is gone or lies in the
            top directory.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        path.chmod(_OURS)
        root = os.open(path, _OPEN)
        try:
            _empty(root)
        finally:
            os.close(root)
        path.rmdir()


def _empty(root: int) -> None:
    """Remove everything in an open directory."""
    # A prefix that no plugin knows, so that what is lifted meets nothing of this name.
    names = map(f".{secrets.token_hex(8)}-{{}}".format, count())
    waiting = [name for name in os.listdir(root) if not _is_removed(name, root)]
    while waiting:
        name = waiting.pop()
        with suppress(FileNotFoundError):
            directory = os.open(name, _OPEN, dir_fd=root)
            try:
                for inner in os.listdir(directory):  # noqa: PTH208
                    if not _is_removed(inner, directory):
                        lifted = next(names)
                        os.rename(inner, lifted, src_dir_fd=directory, dst_dir_fd=root)
                        waiting.append(lifted)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=root)


def _is_removed(name: str, directory: int) -> bool:
    """Remove an entry, unless it is a directory that is not empty: that one is opened up."""
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            os.unlink(name, dir_fd=directory)
            return True
        with suppress(OSError):  # usually not empty
            os.rmdir(name, dir_fd=directory)
            return True
        os.chmod(name, _OURS, dir_fd=directory)
    except FileNotFoundError:
        return True
    return False
