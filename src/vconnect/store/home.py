"""One plugin's store directory: its versions, which one is current, and which ones are kept."""

# Whoever changes it holds the plugin's lock. Readers hold none: each change is one rename.

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from vconnect.durable import sync, try_lock
from vconnect.errors import InstallError
from vconnect.removal import remove_tree

from .integrity import is_sound
from .layout import (
    CURRENT,
    DOOMED,
    IN_USE,
    VERSIONS,
    InstalledVersion,
    current_version,
    is_version_name,
    is_whole,
    read_version,
)
from .record import Record, read_record, write_record

#: What of a replaced plain directory belongs to its package; until its files are carried.
CARRY = "carry.json"
#: Made once a host has carried the files, so that the directory may go.
CARRIED = ".carried"

# The errors of file systems without locks, as some that are on a network.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)

_log = logging.getLogger(__name__)


class PluginHome:
    """A store directory. Every method blocks.

    Args:
        path: The plugin's directory in ``plugin_dir``.

    Attributes:
        path: The same.
        versions: The directory of the versions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions = path / VERSIONS

    def current(self) -> InstalledVersion | None:
        """Return the current version, or ``None`` if there is none that can be used."""
        try:
            return current_version(self.path)
        except InstallError:
            return None

    def all_versions(self) -> list[InstalledVersion]:
        """List the complete versions, by the name of their directory."""
        return [version for version in map(_readable, sorted(self._names())) if version]

    def find(self, digest: str) -> InstalledVersion | None:
        """Return the version with this digest, if it is there with all of its files."""
        return next(
            (one for one in self.all_versions() if one.digest == digest and is_whole(one)), None
        )

    def next_version(self) -> InstalledVersion | None:
        """Return the version that the next start tries, or ``None``."""
        name = read_record(self.path).next
        return _readable(self.versions / name) if is_version_name(name) else None

    def place(self, directory: Path) -> InstalledVersion:
        """Move a complete version, already synced, to its place; keep it if it is there.

        Args:
            directory: Its directory, with the name that it will have.

        Raises:
            InstallError: Another package has this name.
            OSError: It cannot be moved.
        """
        target = self.versions / directory.name
        if os.path.lexists(target):
            ours, other = read_version(directory), _readable(target)
            if other is not None and other.digest == ours.digest and is_sound(other):
                return other  # another process has just installed it, and may already run it
            if other is not None and other.digest != ours.digest:
                raise InstallError(
                    f"{target} is another package, whose digest begins the same: "
                    f"{other.digest}, not {ours.digest}"
                )
            # Incomplete, or broken by hand. Moved before it is deleted: a kill leaves no half.
            self._discard(target)
        self.versions.mkdir(mode=0o755, exist_ok=True)  # it may have been deleted
        directory.rename(target)
        sync(self.versions)
        return read_version(target)

    def switch(self, version: InstalledVersion) -> None:
        """Make a version current, in one step.

        Raises:
            OSError: The link cannot be written; nothing has changed then.
        """
        new = self.path / f"{CURRENT}.new"
        with suppress(FileNotFoundError):
            new.unlink()
        try:
            new.symlink_to(f"{VERSIONS}/{version.directory.name}")
            new.replace(self.path / CURRENT)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise
        try:
            # The link itself cannot be synced; its directory has it.
            sync(self.path)
        except OSError as error:
            # It is switched, whatever is said now.
            _log.warning("%s: cannot be synced: %s", self.path, error.strerror)

    def record(self) -> Record:
        """Read what happened to the versions."""
        return read_record(self.path)

    def write(self, record: Record) -> None:
        """Write down what happened to the versions.

        Raises:
            OSError: Writing failed; the old record is unchanged.
        """
        write_record(self.path, record)

    def set_next(self, version: InstalledVersion | None) -> None:
        """Say which version the next start tries.

        Raises:
            OSError: Writing failed.
        """
        record = self.record()
        name = version.directory.name if version is not None else ""
        if record.next != name:
            self.write(msgspec.structs.replace(record, next=name))

    def sweep(self) -> None:
        """Finish what a killed process has begun."""
        with suppress(FileNotFoundError, NotADirectoryError):
            (self.path / f"{CURRENT}.new").unlink()
        if self.versions.is_dir():
            for path in self.versions.iterdir():
                if path.name.startswith(DOOMED):
                    remove_tree(path)

    def collect(self, keep_versions: int) -> None:
        """Delete the versions that are neither kept nor run by any host.

        Kept are the current one, the next one, ``keep_versions - 1`` that were current before, and
        the one whose first start failed last.
        """
        current = self.current()
        if current is None:
            return  # which one was meant is unknown
        record = self.record()
        kept = {current.digest, *_previous(record, current, self.all_versions(), keep_versions - 1)}
        if record.history and record.history[-1].result == "failed":
            kept.add(record.history[-1].digest)
        for path in self._names():
            version = _readable(path)
            if path.name == record.next or (version is not None and version.digest in kept):
                continue
            # The only copy of what a plugin wrote, until a host has carried it.
            if (path / CARRY).exists() and not (path / CARRIED).exists():
                continue
            self._delete_unused(path)
        self._remove_old_paths()

    def _names(self) -> Iterator[Path]:
        with suppress(FileNotFoundError, NotADirectoryError):
            yield from (path for path in self.versions.iterdir() if is_version_name(path.name))

    def _delete_unused(self, path: Path) -> None:
        """Delete a version, unless a process runs it: those hold a shared lock."""
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path / IN_USE, flags, 0o600)
        except OSError as error:
            _log.warning("%s cannot be removed: %s", path, error.strerror)
            return
        try:
            if try_lock(descriptor):
                _log.info("removing %s, which is not used any more", path)
                self._discard(path)
        finally:
            os.close(descriptor)

    def _remove_old_paths(self) -> None:
        """Remove the links that stand for the files of a plain directory that is deleted now."""
        for path in self.path.iterdir():
            if path.is_symlink() and path.name != CURRENT and not path.exists():
                path.unlink()

    def _discard(self, path: Path) -> None:
        doomed = path.with_name(DOOMED + path.name)
        remove_tree(doomed)
        path.rename(doomed)
        remove_tree(doomed)


def acquire(version: InstalledVersion) -> int:
    """Lock a version for as long as the returned descriptor, or a copy of it, is open.

    Raises:
        OSError: It is gone, or is being deleted.
    """
    file = version.directory / IN_USE
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(file, flags)
    except FileNotFoundError:
        descriptor = os.open(file, flags | os.O_CREAT, 0o600)
    try:
        if descriptor < 3:  # a host that has closed its standard descriptors; a child has those
            low, descriptor = descriptor, fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(low)
        # Who deletes it takes the lock, and then moves it away.
        if not _share(descriptor) or not _is_at(descriptor, file):
            raise FileNotFoundError(2, "this version is being removed", str(version.directory))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _share(descriptor: int) -> bool:
    try:
        return try_lock(descriptor, shared=True)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True  # no other host can use this directory anyway


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        there = file.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _readable(directory: Path) -> InstalledVersion | None:
    try:
        return read_version(directory)
    except InstallError:
        return None


def _previous(
    record: Record, current: InstalledVersion, there: list[InstalledVersion], count: int
) -> list[str]:
    """List the digests of the versions that were current before, newest first."""
    digests = {version.digest for version in there}
    before: list[str] = []
    for entry in reversed(record.history):
        if entry.result != "failed" and entry.digest in digests - {current.digest, *before}:
            before.append(entry.digest)
    if not record.history:  # lost: then none of them is worth less than another
        before = sorted(digests - {current.digest})
        count = len(before) if count else 0
    return before[:count]
