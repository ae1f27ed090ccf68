"""Checks a package, and unpacks it below one directory."""

# A package (`.vp`, or by its older name `.wkp`) is a gzip-compressed tar archive with `plugin.json`
# at its root or in its only top-level directory. Packages are not trusted: everything is checked
# before it is used, nothing is written outside the directory, and whatever violates a rule is
# refused with its name rather than repaired.

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from vconnect.errors import InstallError, ManifestError
from vconnect.names import PACKAGE_SUFFIXES as PACKAGE_SUFFIXES
from vconnect.validation import Fault

from .manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from .tar import DIRECTORY, FILE, Member, TarReader

# Large enough for a bundled runtime with its libraries, small enough not to fill an ordinary disk.
DEFAULT_MAX_BYTES = 512 * 1024 * 1024

# What macOS writes next to files and into archives: metadata that they have no field for, and how a
# window looks. It never counts, in packages as on disk.
APPLE_DOUBLE_PREFIX = "._"
LITTER = frozenset({".DS_Store", "__MACOSX"})

# The limit for one name on common file systems of Linux and macOS.
_MAX_COMPONENT_BYTES = 255
# Enough to recognize a name in an error message.
_SHOWN_CHARACTERS = 120
_SHOWN_NAMES = 5
# A package may have as many faults as members.
_MAX_FAULTS = 100
# No path is ever followed through a link (O_NOFOLLOW), and no existing file is overwritten
# (O_EXCL), even if something else writes to the directory at the same time.
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


_log = logging.getLogger(__name__)


class ArchiveLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits for one package.

    Attributes:
        packed_bytes: The size of the package file.
        unpacked_bytes: The size of the decompressed stream, including headers and padding.
        members: The number of files and directories, including those only implied by a path.
        path_bytes: The length of one path in UTF-8.
        depth: The number of components of one path.
    """

    packed_bytes: int = DEFAULT_MAX_BYTES
    unpacked_bytes: int = DEFAULT_MAX_BYTES
    members: int = 32_768
    path_bytes: int = 512
    depth: int = 32


class Unpacked(msgspec.Struct, frozen=True):
    """An unpacked package that is not installed yet.

    Attributes:
        path: The directory that contains ``plugin.json``.
        manifest: The parsed manifest.
    """

    path: Path
    manifest: Manifest


def unpack(
    archive: Path,
    directory: Path,
    limits: ArchiveLimits | None = None,
    *,
    origin: str | None = None,
    stop: threading.Event | None = None,
) -> Unpacked:
    """Unpack a package into a new directory. Blocks.

    Args:
        archive: The package.
        directory: The target, which must not exist. After an error it does not exist either.
        limits: The limits for the package.
        origin: The package's name in messages, by default its path.
        stop: Set by another thread to cancel.

    Raises:
        InstallError: The package violates a rule, or writing failed. The text begins with the
            package and, if there is one, the member.
    """
    origin = origin or str(archive)
    limits = limits or ArchiveLimits()
    try:
        directory.mkdir()
        try:
            _unpack_members(archive, directory, limits, origin, stop)
            return _inspect(directory, origin)
        except BaseException:
            # The directory is new and ours, so this cannot remove anything else.
            shutil.rmtree(directory)
            raise
    except OSError as error:
        raise InstallError(f"{origin}: {_os_words(error)}") from error


def unpack_sound(
    archive: Path, directory: Path, limits: ArchiveLimits | None = None, *, origin: str
) -> list[Fault]:
    """Unpack what no rule refuses into a new directory, to look at it. Blocks.

    Returns:
        What is wrong with the archive and its members; of a package with many faults, the first.
    """
    limits = limits or ArchiveLimits()
    faults: list[Fault] = []
    try:
        directory.mkdir()
        _unpack_members(archive, directory, limits, origin, None, faults)
    except (InstallError, OSError) as error:
        words = _os_words(error) if isinstance(error, OSError) else str(error)
        faults.append(Fault(origin, words.removeprefix(f"{origin}: ")))
    return faults


def find_refusals(
    members: Iterable[Member], origin: str, limits: ArchiveLimits | None = None
) -> Iterator[Fault]:
    """Yield which of the members that a package would have it must not have, and why."""
    names = _Names(limits or ArchiveLimits())
    for member in members:
        try:
            names.admit(member)
        except _RefusedError as refusal:
            yield _fault(origin, member, refusal)


def _fault(origin: str, member: Member, refusal: _RefusedError) -> Fault:
    return Fault(f"{origin}: {_shown(member.name)}", str(refusal))


def _unpack_members(
    archive: Path,
    directory: Path,
    limits: ArchiveLimits,
    origin: str,
    stop: threading.Event | None,
    faults: list[Fault] | None = None,
) -> None:
    """Unpack each member.

    Args:
        archive: The package.
        directory: The target, which exists.
        limits: The limits for the package.
        origin: The package's name in messages.
        stop: Set by another thread to cancel.
        faults: What is refused is appended to it; ``None`` to raise at the first.
    """
    with os.fdopen(_open_archive(archive, limits, origin), "rb") as file:
        root = os.open(directory, _DIRECTORY_FLAGS)
        try:
            # Whatever the umask: another user may have to run the plugin, but not to change it.
            os.fchmod(root, 0o755)
            names = _Names(limits)
            reader = TarReader(file, origin, limits.unpacked_bytes)
            skipped = []
            for member in reader:
                try:
                    if not _unpack_member(reader, member, root, names, origin, stop):
                        skipped.append(member.name)
                except _RefusedError as refusal:
                    fault = _fault(origin, member, refusal)
                    if faults is None:
                        raise InstallError(str(fault)) from None
                    faults.append(fault)
                    if len(faults) >= _MAX_FAULTS:
                        raise InstallError("has more faults, which are not listed") from None
        finally:
            os.close(root)
    if skipped:
        _log.warning(
            "%s: skipped %d members that macOS added, such as %s",
            origin,
            len(skipped),
            _shown(skipped[0]),
        )


def _open_archive(archive: Path, limits: ArchiveLimits, origin: str) -> int:
    # O_NONBLOCK, because opening a FIFO would wait for a writer.
    descriptor = os.open(archive, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    problem = ""
    if not stat.S_ISREG(status.st_mode):
        problem = "is not a regular file"
    elif status.st_size > limits.packed_bytes:
        problem = f"has {status.st_size} bytes; the limit is {limits.packed_bytes}"
    if problem:
        os.close(descriptor)
        raise InstallError(f"{origin}: {problem}")
    return descriptor


def _unpack_member(
    reader: TarReader,
    member: Member,
    root: int,
    names: _Names,
    origin: str,
    stop: threading.Event | None,
) -> bool:
    """Unpack one member, and return whether it counts.

    Raises:
        _RefusedError: It violates a rule.
        InstallError: Writing failed.
    """
    try:
        _check_stop(stop)
        parts = names.admit(member)
        if any(map(is_litter, parts)):
            return False
        if not parts:
            return True  # "./", the root itself
        parent = _open_directories(root, parts[:-1])
        try:
            if member.kind == DIRECTORY:
                os.close(_open_directories(parent, parts[-1:]))
            else:
                _write_file(reader, parent, parts[-1], _reduced_mode(member.mode), stop)
        finally:
            os.close(parent)
    except OSError as error:
        raise InstallError(f"{origin}: {_shown(member.name)}: {_os_words(error)}") from error
    return True


def is_litter(name: str) -> bool:
    """Return whether macOS writes a file or directory of this name next to others."""
    return name in LITTER or name.startswith(APPLE_DOUBLE_PREFIX)


def _open_directories(start: int, parts: tuple[str, ...]) -> int:
    """Create and open the directory ``parts`` below ``start``, never through a link."""
    current = os.dup(start)
    for part in parts:
        try:
            below = _open_directory(current, part)
        finally:
            os.close(current)
        current = below
    return current


def _open_directory(parent: int, name: str) -> int:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return os.open(name, _DIRECTORY_FLAGS, dir_fd=parent)
    descriptor = os.open(name, _DIRECTORY_FLAGS, dir_fd=parent)
    os.fchmod(descriptor, 0o755)  # undo the umask
    return descriptor


def _write_file(
    reader: TarReader, parent: int, name: str, mode: int, stop: threading.Event | None
) -> None:
    with os.fdopen(os.open(name, _NEW_FILE_FLAGS, mode, dir_fd=parent), "wb", 0) as file:
        # Unbuffered, and with the final mode from the start; fchmod undoes the umask.
        os.fchmod(file.fileno(), mode)
        for chunk in reader.contents():
            _check_stop(stop)
            _write_all(file.fileno(), chunk)


def _check_stop(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise _RefusedError("the installation was cancelled")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _reduced_mode(mode: int) -> int:
    # Only whether it is executable is kept. Setuid and similar bits must not come from a package.
    return 0o755 if mode & 0o111 else 0o644


class _RefusedError(Exception):
    """A member violates a rule. The text says which rule; the caller adds the member."""


class _Names:
    """All paths so far, to refuse those that would collide on some file system.

    Names that differ only by case or Unicode form are one file on macOS. Only digests are kept, so
    that a package with many long names needs little memory.
    """

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        # From the digest of the folded path to its kind, and the digest of its spelling.
        self._seen: dict[bytes, bytes] = {}
        self._roots = 0

    def admit(self, member: Member) -> tuple[str, ...]:
        """Check a member, and return its path's components; empty for the root itself."""
        if member.kind not in (FILE, DIRECTORY):
            raise _RefusedError(
                f"is a {member.kind}; a package may contain only regular files and directories"
            )
        # Some tools would take the contents of a directory for the next header.
        if member.kind == DIRECTORY and member.size:
            raise _RefusedError("is a directory that has contents")
        if member.kind == FILE and member.name.endswith("/"):
            raise _RefusedError("is a regular file with a directory's name")
        parts = self._split(member.name)
        # A path implies its parent directories, which must not collide with files either.
        for end in range(1, len(parts)):
            self._add(parts[:end], b"i")
        if parts:
            self._add(parts, b"d" if member.kind == DIRECTORY else b"f")
        elif member.kind == FILE:
            raise _RefusedError("is a regular file with the name of the package's root")
        else:
            self._add_root()
        return parts

    def _split(self, name: str) -> tuple[str, ...]:
        limits = self._limits
        if len(name.encode()) > limits.path_bytes:
            raise _RefusedError(f"has a path of more than {limits.path_bytes} bytes")
        if name.startswith("/"):
            raise _RefusedError("is an absolute path; paths are relative to the package")
        if not name:
            raise _RefusedError("has no name")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if len(parts) > limits.depth:
            raise _RefusedError(f"is more than {limits.depth} directories deep")
        for part in parts:
            _check_part(part)
        return parts

    def _add(self, parts: tuple[str, ...], kind: bytes) -> None:
        """Record a path of kind ``f`` (file), ``d`` (directory) or ``i`` (implied directory)."""
        path = "/".join(parts)
        # The key is what a file system that ignores case would compare; the kept digest is the
        # spelling.
        key = _digest(_folded(path))
        known = self._seen.get(key, b"")
        if known:
            self._check_again(known, kind, _digest(path))
        elif len(self._seen) >= self._limits.members:
            raise self._one_too_many()
        # An implied directory may be listed later, once, which then counts as listed.
        if not known or kind == b"d":
            self._seen[key] = kind + _digest(path)

    def _add_root(self) -> None:
        """Count an entry for the root: however often it is listed, it is no new path."""
        self._roots += 1
        if self._roots > self._limits.members:
            raise self._one_too_many()

    def _one_too_many(self) -> _RefusedError:
        return _RefusedError(f"is one member too many; the limit is {self._limits.members}")

    @staticmethod
    def _check_again(known: bytes, kind: bytes, spelling: bytes) -> None:
        if known[1:] != spelling:
            raise _RefusedError(
                "differs from an earlier member only by case or Unicode form; "
                "on some systems the two are one file"
            )
        if b"f" in (known[:1], kind) or (known[:1] == kind == b"d"):
            raise _RefusedError("is in the package twice")


def _check_part(part: str) -> None:
    if part == "..":
        raise _RefusedError("leads upward ('..'); paths must stay inside the package")
    if len(part.encode()) > _MAX_COMPONENT_BYTES:
        raise _RefusedError(f"has a name of more than {_MAX_COMPONENT_BYTES} bytes")
    # They could forge lines of a log, or hide in a listing.
    if not part.isprintable():
        raise _RefusedError("has control or other unprintable characters in its name")


def _folded(path: str) -> str:
    # Normalized twice: case folding may produce a form that is not normalized.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _inspect(directory: Path, origin: str) -> Unpacked:
    """Find the manifest, and check that its entry exists."""
    path = package_root(directory, origin)
    with (path / MANIFEST_NAME).open("rb") as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    try:
        manifest = parse_manifest(data, f"{origin}: {MANIFEST_NAME}")
    except ManifestError as error:
        raise InstallError(str(error)) from error
    # Before it is installed, because a missing entry would only show up at the first start.
    if manifest.entry and not (path / manifest.entry).is_file():
        raise InstallError(
            f"{origin}: {MANIFEST_NAME}: entry is {_shown(manifest.entry)}, "
            "but the package has no such file"
        )
    return Unpacked(path, manifest)


def package_root(directory: Path, origin: str) -> Path:
    """Return where the manifest is in an unpacked package.

    Raises:
        InstallError: It has none at its root or in its only top-level directory.
    """
    if (directory / MANIFEST_NAME).is_file():
        return directory
    # Archives made from outside of the directory, such as those of GitHub, have one at the top.
    top = list(directory.iterdir())
    if len(top) == 1 and (top[0] / MANIFEST_NAME).is_file():
        return top[0]
    found = ", ".join(_shown(path.name) for path in sorted(top)[:_SHOWN_NAMES]) or "nothing"
    raise InstallError(
        f"{origin}: no {MANIFEST_NAME}; it must be at the root of the package "
        f"or in its only top-level directory, and at the root is: {found}"
    )


def _shown(name: str) -> str:
    """Quote an untrusted name: without control characters, and limited in length."""
    short = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
    return repr(short)


def _os_words(error: OSError) -> str:
    return f"cannot be unpacked: {error.strerror or error}"
