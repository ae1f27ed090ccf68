"""Creates a package from a directory."""

# The same directory always produces the same bytes: members are sorted, and owners, times and all
# permissions except the executable bit are left out.

from __future__ import annotations

import gzip
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vconnect.errors import InstallError, ManifestError, PluginStartError

from .archive import APPLE_DOUBLE_PREFIX, PACKAGE_SUFFIXES, unpack
from .command import production_command
from .manifest import MANIFEST_NAME, Manifest, read_manifest

_SKIPPED_DIRECTORIES = frozenset({".git", "__pycache__"})
_SKIPPED_FILES = frozenset({".DS_Store"})
_SKIPPED_SUFFIXES = (".pyc", *PACKAGE_SUFFIXES)
_SKIPPED_AT_TOP = frozenset({"target"})  # cargo's build directory; below, it may be anything

# Characters that are safe in a file name on every system.
_VERSION_IN_NAME = re.compile(r"[A-Za-z0-9._+-]+")


def pack(source: Path, output: Path | None = None) -> Path:
    """Create a package from a directory that contains ``plugin.json``. Blocks.

    Left out are ``.git``, ``__pycache__``, ``*.pyc``, ``.DS_Store``, ``._*``, other packages, and
    ``target`` at the top level. As a test, the package is unpacked once before it gets its name.

    Args:
        source: The directory.
        output: The package to create or replace; by default ``NAME-VERSION.vp`` in the working
            directory, or ``NAME.vp`` without a version.

    Returns:
        The path of the package.

    Raises:
        InstallError: The manifest is invalid, the plugin could not be started, the directory
            contains something that is not allowed in a package, or writing failed.
    """
    manifest = _read_manifest(source)
    # Checked before anything is written, and again on what an installation would unpack.
    _check_launch(source, manifest, str(source))
    output = _output(manifest) if output is None else output
    if output.suffix not in PACKAGE_SUFFIXES:
        raise InstallError(
            f"{output}: expected a file name that ends in {' or '.join(PACKAGE_SUFFIXES)}"
        )
    try:
        _write_package(source, output)
    except OSError as error:
        where = error.filename or output
        raise InstallError(f"cannot pack {where}: {error.strerror or error}") from error
    return output


def _read_manifest(source: Path) -> Manifest:
    if not source.is_dir():
        raise InstallError(f"{source}: not a directory; expected a plugin's directory")
    try:
        return read_manifest(source / MANIFEST_NAME)
    except ManifestError as error:
        raise InstallError(str(error)) from error


def _check_launch(path: Path, manifest: Manifest, origin: str) -> None:
    try:
        production_command(manifest.plugin, path, manifest)
    except PluginStartError as error:
        raise InstallError(f"{origin}: cannot be started: {error.message}") from error


def _output(manifest: Manifest) -> Path:
    if not manifest.version:
        return Path(f"{manifest.plugin}.vp")
    if not _VERSION_IN_NAME.fullmatch(manifest.version):
        raise InstallError(
            f"version {manifest.version!r} cannot be part of a file name; "
            "use letters, digits and . _ + -, or specify the output"
        )
    return Path(f"{manifest.plugin}-{manifest.version}.vp")


def _write_package(source: Path, output: Path) -> None:
    members = sorted(_members(source, Path()))
    # In the target's directory, so that the rename at the end is atomic.
    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write_archive(source, members, file)
            # mkstemp creates private files, but a package is for others.
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        _try_out(temporary, output)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def _members(source: Path, below: Path) -> Iterator[Path]:
    """Yield the paths to pack, relative to ``source``, including empty directories."""
    for item in (source / below).iterdir():
        path = below / item.name
        mode = item.lstat().st_mode
        if _is_skipped(path, stat.S_ISDIR(mode)):
            continue
        if stat.S_ISDIR(mode):
            yield path
            yield from _members(source, path)
        elif stat.S_ISREG(mode):
            yield path
        else:
            raise InstallError(f"{item}: {_not_packable(mode)}")


def _is_skipped(path: Path, is_directory: bool) -> bool:
    # An installation would refuse these.
    if path.name.startswith(APPLE_DOUBLE_PREFIX):
        return True
    if is_directory:
        at_top = len(path.parts) == 1
        return path.name in _SKIPPED_DIRECTORIES or (at_top and path.name in _SKIPPED_AT_TOP)
    return path.name in _SKIPPED_FILES or path.suffix in _SKIPPED_SUFFIXES


def _not_packable(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return (
            "is a symbolic link, which a package must not contain; replace it with the file "
            "(for node_modules/.bin: npm install --no-bin-links)"
        )
    return "is neither a regular file nor a directory; a package must not contain anything else"


def _write_archive(source: Path, members: list[Path], file: BinaryIO) -> None:
    # gzip would record the file's name and the time, which differ with every run.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in members:
            _add(archive, source / member, member.as_posix())


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    info = tarfile.TarInfo(name)
    if path.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
        return
    # What was a file when it was listed may be a link by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        info.size = status.st_size
        # The same reduction as when unpacking, so that packing again gives the same bytes.
        info.mode = 0o755 if status.st_mode & 0o111 else 0o644
        archive.addfile(info, file)


def _try_out(package: Path, output: Path) -> None:
    """Unpack the package as an installation would, to make sure that it can be installed."""
    with tempfile.TemporaryDirectory(prefix="vconnect-pack-") as scratch:
        unpacked = unpack(package, Path(scratch, "package"), origin=str(output))
        _check_launch(unpacked.path, unpacked.manifest, str(output))
