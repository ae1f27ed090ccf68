"""Carries what a plugin wrote into its package directory to its data directory."""

# A plugin in a plain directory works there, and the package directory is also where it keeps its
# files. The first start from the store works in the data directory, so the files must be there
# before it. They are copied, not moved: a second host with the same `plugin_dir` has data of its
# own, and begins with the same files.
#
# It is done at that start, not when the package is installed: until its process has ended, the
# plugin goes on writing.

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vconnect.durable import make_directories, open_regular, read_own, replace_file, sync
from vconnect.store.home import CARRIED, CARRY
from vconnect.store.layout import LEGACY, PACKAGE, VERSIONS

_MANIFEST = "plugin.json"
# What was unpacked with the manifest was written at about the same time. Seconds.
_SLACK_S = 2.0
# Enough to recognize what was carried.
_SHOWN = 50
_NEW = ".vconnect-carried.new"
_CHUNK_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


class Pending:
    """The files that one host has yet to carry for one plugin.

    Args:
        home: The plugin's directory in ``plugin_dir``.
        state_dir: The host's state directory, which has the data and remembers what was carried.
    """

    def __init__(self, home: Path, state_dir: Path) -> None:
        self._plugin = home.name
        self._data = state_dir / "data"
        self._marks = state_dir / "carried"
        self._versions = home / VERSIONS

    def __bool__(self) -> bool:
        """Whether there is anything to carry. Looks at a few names only."""
        return next(self._legacies(), None) is not None

    def carry(self, plugin: str) -> None:
        """Copy the files into the data directory of ``plugin``. Blocks.

        What is there already stays. After a kill it can be done again.

        Raises:
            OSError: A file cannot be read or written.
        """
        for legacy in self._legacies():
            target = self._data / plugin
            make_directories(target)
            carried = [name for name in written_files(legacy) if _copy(legacy, name, target)]
            if carried:
                _log.info(
                    "plugin %s: copied what it wrote into its package directory to %s: %s",
                    plugin,
                    target,
                    _listed(carried),
                )
            make_directories(self._marks)
            replace_file(self._mark(legacy), b"")
            replace_file(legacy / CARRIED, b"")

    def _legacies(self) -> Iterator[Path]:
        try:
            names = [path.name for path in self._versions.iterdir() if LEGACY in path.name]
        except OSError:
            return
        for name in sorted(names):
            legacy = self._versions / name
            if (legacy / CARRY).exists() and not self._mark(legacy).exists():
                yield legacy

    def _mark(self, legacy: Path) -> Path:
        return self._marks / f"{self._plugin}-{legacy.name}"


def written_files(legacy: Path) -> list[str]:
    """List the files that the plugin wrote into what was its plain directory. Blocks.

    They are those that the package that replaced it does not have, and those that are newer than
    the directory's manifest.

    Raises:
        OSError: The directory cannot be read.
    """
    root = legacy / PACKAGE
    packaged = set(msgspec.json.decode(read_own(legacy / CARRY), type=list[str]))
    try:
        newest = (root / _MANIFEST).stat().st_mtime + _SLACK_S
    except OSError:
        newest = float("inf")
    try:
        return sorted(_written(root, packaged, newest))
    except RecursionError:
        words = "its directories are nested too deeply"
        raise OSError(errno.ENAMETOOLONG, words, str(root)) from None


def _written(root: Path, packaged: set[str], newest: float) -> Iterator[str]:
    for parent, directories, files in os.walk(root):
        directories[:] = [name for name in directories if name != "__pycache__"]
        links = [name for name in directories if Path(parent, name).is_symlink()]
        for name in (*files, *links):
            path = Path(parent, name)
            relative = str(path.relative_to(root))
            status = path.lstat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                continue  # a socket or a pipe: its program creates it again
            if relative != _MANIFEST and (relative not in packaged or status.st_mtime > newest):
                yield relative


def _listed(names: list[str]) -> str:
    """Return names for one line of the log."""
    shown = [name if name.isprintable() else repr(name) for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more


def _copy_data(source: Path, new: Path) -> None:
    """Copy the contents, but not the holes: a file may have many of these and no block."""
    with open_regular(source, os.O_NOFOLLOW) as file, new.open("xb", buffering=0) as copy:
        reader, writer, offset = file.fileno(), copy.fileno(), 0
        while (offset := _next_data(reader, offset)) >= 0:
            end = os.lseek(reader, offset, os.SEEK_HOLE)
            while offset < end:
                chunk = os.pread(reader, min(_CHUNK_BYTES, end - offset), offset)
                if not chunk:
                    return  # it has just been cut
                offset += os.pwrite(writer, chunk, offset)
        os.ftruncate(writer, os.fstat(reader).st_size)


def _next_data(descriptor: int, offset: int) -> int:
    """Return where the next contents are; -1 if there are only holes."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return -1
        raise


def _copy(legacy: Path, name: str, data: Path) -> bool:
    """Copy one file if it is not there yet; a kill leaves the whole file or none."""
    source, target = legacy / PACKAGE / name, data / name
    if os.path.lexists(target):
        return False
    make_directories(target.parent)
    new = target.with_name(_NEW)
    try:
        new.unlink(missing_ok=True)
        if source.is_symlink():
            new.symlink_to(source.readlink())
        else:
            _copy_data(source, new)
            shutil.copystat(source, new)
            sync(new)
        new.rename(target)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync(target.parent)
    return True
