"""What a package may hold, and unpacking it below one directory.

A package (``.vp``, or by its older name ``.wkp``) is a gzip-compressed tar with ``plugin.json``
at its root or in its single top directory. It may come from anyone: nothing in it is believed
before it is checked, nothing is written outside the directory, and what breaks a rule is refused
by name rather than repaired.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import threading
import unicodedata
from pathlib import Path

import msgspec

from vconnect.errors import InstallError, ManifestError

from .manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from .tar import DIRECTORY, FILE, Member, TarReader

PACKAGE_SUFFIXES = (".vp", ".wkp")
DEFAULT_MAX_BYTES = 512 * 1024 * 1024

# What macOS leaves beside the files it knows more about than tar can say.
APPLE_DOUBLE_PREFIX = "._"

_MAX_COMPONENT_BYTES = 255
_SHOWN_CHARACTERS = 120
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class ArchiveLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a package may be.

    Attributes:
        packed_bytes: The file itself.
        unpacked_bytes: The whole stream, headers and padding included.
        members: Files and directories, also those that are only named in a path.
        path_bytes: One path, in UTF-8.
        depth: Components of one path.
    """

    packed_bytes: int = DEFAULT_MAX_BYTES
    unpacked_bytes: int = DEFAULT_MAX_BYTES
    members: int = 32_768
    path_bytes: int = 512
    depth: int = 32


class Unpacked(msgspec.Struct, frozen=True):
    """A package on disk, not yet installed.

    Attributes:
        path: The directory that holds ``plugin.json``.
        manifest: What it says.
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
    """Unpack a package into a new directory.

    Args:
        archive: The package.
        directory: Where to; it must not exist, and does not exist after a refusal.
        limits: How large the package may be.
        origin: What to call the package in messages, by default its path.
        stop: Set by another thread to give up early.

    Raises:
        InstallError: The package breaks a rule, or the disk does not take it. The message names
            the package and, where there is one, the member.
    """
    origin = origin or str(archive)
    limits = limits or ArchiveLimits()
    try:
        directory.mkdir()
        try:
            _unpack_members(archive, directory, limits, origin, stop)
            return _inspect(directory, origin)
        except BaseException:
            shutil.rmtree(directory)
            raise
    except OSError as error:
        raise InstallError(f"{origin}: {_os_words(error)}") from error


def _unpack_members(
    archive: Path,
    directory: Path,
    limits: ArchiveLimits,
    origin: str,
    stop: threading.Event | None,
) -> None:
    with os.fdopen(_open_archive(archive, limits, origin), "rb") as file:
        root = os.open(directory, _DIRECTORY_FLAGS)
        try:
            os.fchmod(root, 0o755)
            names = _Names(limits)
            reader = TarReader(file, origin, limits.unpacked_bytes)
            for member in reader:
                _unpack_member(reader, member, root, names, origin, stop)
        finally:
            os.close(root)


def _open_archive(archive: Path, limits: ArchiveLimits, origin: str) -> int:
    # Not blocking: opening a fifo would wait for its writer.
    descriptor = os.open(archive, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    problem = ""
    if not stat.S_ISREG(status.st_mode):
        problem = "is not a regular file"
    elif status.st_size > limits.packed_bytes:
        problem = f"has {status.st_size} bytes; a package may have {limits.packed_bytes}"
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
) -> None:
    try:
        _check_stop(stop)
        parts = names.admit(member)
        if not parts:
            return  # "./", the root itself
        parent = _open_directories(root, parts[:-1])
        try:
            if member.kind == DIRECTORY:
                os.close(_open_directories(parent, parts[-1:]))
            else:
                _write_file(reader, parent, parts[-1], _reduced_mode(member.mode), stop)
        finally:
            os.close(parent)
    except _RefusedError as refusal:
        raise InstallError(f"{origin}: {_shown(member.name)}: {refusal}") from None
    except OSError as error:
        raise InstallError(f"{origin}: {_shown(member.name)}: {_os_words(error)}") from error


def _open_directories(start: int, parts: tuple[str, ...]) -> int:
    """Make and open the directory ``parts`` below ``start``, never through a link."""
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
    os.fchmod(descriptor, 0o755)  # whatever the umask took away
    return descriptor


def _write_file(
    reader: TarReader, parent: int, name: str, mode: int, stop: threading.Event | None
) -> None:
    with os.fdopen(os.open(name, _NEW_FILE_FLAGS, mode, dir_fd=parent), "wb", 0) as file:
        os.fchmod(file.fileno(), mode)
        for chunk in reader.contents():
            _check_stop(stop)
            _write_all(file.fileno(), chunk)


def _check_stop(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise _RefusedError("the installation was called off")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _reduced_mode(mode: int) -> int:
    return 0o755 if mode & 0o111 else 0o644


class _RefusedError(Exception):
    """A member breaks a rule; the message says which, the caller says whose."""


class _Names:
    """Every path seen so far, to refuse what would meet another on some file system.

    Names that differ by case or Unicode form are one file on macOS. Only digests are kept, so
    that a package of many long names costs little memory.
    """

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._seen: dict[bytes, bytes] = {}

    def admit(self, member: Member) -> tuple[str, ...]:
        """Check a member and return its path's components; none for the root itself."""
        if member.kind not in (FILE, DIRECTORY):
            raise _RefusedError(
                f"is a {member.kind}; a package may hold regular files and directories only"
            )
        if member.kind == DIRECTORY and member.size:
            raise _RefusedError("is a directory with contents of its own")
        if member.kind == FILE and member.name.endswith("/"):
            raise _RefusedError("is a regular file with a directory's name")
        parts = self._split(member.name)
        for end in range(1, len(parts)):
            self._add(parts[:end], b"i")
        if parts:
            self._add(parts, b"d" if member.kind == DIRECTORY else b"f")
        elif member.kind == FILE:
            raise _RefusedError("is a regular file with the name of the package's root")
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
        """Remember a path of kind ``f`` (file), ``d`` (directory) or ``i`` (implied directory)."""
        path = "/".join(parts)
        key = _digest(_folded(path))
        known = self._seen.get(key, b"")
        if known:
            self._check_again(known, kind, _digest(path))
        elif len(self._seen) >= self._limits.members:
            raise _RefusedError(
                f"is one member too many; a package may have {self._limits.members}"
            )
        if not known or kind == b"d":
            self._seen[key] = kind + _digest(path)

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
        raise _RefusedError("leads upward ('..'); paths stay inside the package")
    if part.startswith(APPLE_DOUBLE_PREFIX):
        raise _RefusedError(
            "is an AppleDouble file of macOS; pack again with 'vconnect pack', "
            "or with COPYFILE_DISABLE=1 in tar's environment"
        )
    if len(part.encode()) > _MAX_COMPONENT_BYTES:
        raise _RefusedError(f"has a name of more than {_MAX_COMPONENT_BYTES} bytes")
    if not part.isprintable():
        raise _RefusedError("has control or other unprintable characters in its name")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _inspect(directory: Path, origin: str) -> Unpacked:
    """Find the manifest and check what it promises."""
    path = _package_root(directory, origin)
    with (path / MANIFEST_NAME).open("rb") as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    try:
        manifest = parse_manifest(data, f"{origin}: {MANIFEST_NAME}")
    except ManifestError as error:
        raise InstallError(str(error)) from error
    if manifest.entry and not (path / manifest.entry).is_file():
        raise InstallError(
            f"{origin}: {MANIFEST_NAME}: entry is {_shown(manifest.entry)}, "
            "but the package holds no such file"
        )
    return Unpacked(path, manifest)


def _package_root(directory: Path, origin: str) -> Path:
    if (directory / MANIFEST_NAME).is_file():
        return directory
    top = list(directory.iterdir())
    if len(top) == 1 and (top[0] / MANIFEST_NAME).is_file():
        return top[0]
    raise InstallError(
        f"{origin}: no {MANIFEST_NAME}; it must stand at the root of the package "
        "or in its single top directory"
    )


def _shown(name: str) -> str:
    """Quote a stranger's name: no control characters, no endless line."""
    short = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
    return repr(short)


def _os_words(error: OSError) -> str:
    return f"cannot be unpacked: {error.strerror or error}"
