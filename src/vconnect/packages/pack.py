"""Creates a package from a directory."""

# The same directory always produces the same bytes: members are sorted, and owners, times and all
# permissions except the executable bit are left out.

from __future__ import annotations

import gzip
import os
import re
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from vconnect.errors import InstallError, PluginStartError

from .archive import PACKAGE_SUFFIXES, unpack
from .command import production_command
from .config_schema.check import check_schema
from .manifest import MANIFEST_NAME, Manifest, read_manifest
from .selection import LeftOut, Selection, select

# Characters that are safe in a file name on every system.
_VERSION_IN_NAME = re.compile(r"[A-Za-z0-9._+-]+")


class PackedFile(msgspec.Struct, frozen=True):
    """A file in a package.

    Attributes:
        path: Its path in the package.
        size_bytes: Its size.
    """

    path: str
    size_bytes: int


class Packed(msgspec.Struct, frozen=True):
    """A package that was created.

    Attributes:
        path: The package.
        size_bytes: Its size.
        files: The files in it.
        left_out: What of the directory is not in it.
    """

    path: Path
    size_bytes: int
    files: tuple[PackedFile, ...]
    left_out: tuple[LeftOut, ...]


def pack(source: Path, output: Path | None = None, *, include: Sequence[str] = ()) -> Packed:
    """Create a package from a directory that contains ``plugin.json``. Blocks.

    `selection.select` decides what is left out. As a test, the package is unpacked once before it
    gets its name.

    Args:
        source: The directory.
        output: The package to create or replace; by default ``NAME-VERSION.vp`` in the working
            directory, or ``NAME.vp`` without a version.
        include: Paths relative to the directory that are packed whatever the rules say.

    Raises:
        ManifestError: There is no valid ``plugin.json``, or its ``config_schema`` cannot be used.
        InstallError: The plugin could not be started, what starts it is left out, the directory
            contains something that is not allowed in a package, or writing failed.
    """
    if not source.is_dir():
        raise InstallError(f"{source}: not a directory; expected a plugin's directory")
    manifest = read_manifest(source / MANIFEST_NAME)
    check_schema(manifest.config_schema, str(source / MANIFEST_NAME))
    # Checked before anything is written, and again on what an installation would unpack.
    program = _check_launch(source, manifest, str(source))
    output = _output(manifest) if output is None else output
    if output.suffix not in PACKAGE_SUFFIXES:
        raise InstallError(
            f"{output}: expected a file name that ends in {' or '.join(PACKAGE_SUFFIXES)}"
        )
    try:
        selection = select(source, include)
        for needed in (MANIFEST_NAME, program):
            _check_selected(needed, selection, source)
        files = _write_package(source, selection.members, output)
        return Packed(output, output.stat().st_size, files, selection.left_out)
    except OSError as error:
        where = error.filename or output
        raise InstallError(f"cannot pack {where}: {error.strerror or error}") from error


def _check_selected(path: str, selection: Selection, source: Path) -> None:
    """Refuse to leave out what every installation needs."""
    left = selection.why_left_out(path)
    if left is None:
        return
    remedy = f"pack it with --include {path}" if left.is_secret else f"add !/{path} to .vpignore"
    raise InstallError(
        f"{source}: {path} is needed to start the plugin, but left out: {left.reason}; {remedy}"
    )


def _check_launch(path: Path, manifest: Manifest, origin: str) -> str:
    """Return the program that starts a plugin, relative to its directory."""
    try:
        command = production_command(manifest.plugin, path, manifest)
        return Path(command[0]).relative_to(path.absolute()).as_posix()
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


def _write_package(source: Path, members: tuple[Path, ...], output: Path) -> tuple[PackedFile, ...]:
    # In the target's directory, so that the rename at the end is atomic.
    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            files = _write_archive(source, members, file)
            # mkstemp creates private files, but a package is for others.
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        _try_out(temporary, output)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return files


def _write_archive(
    source: Path, members: tuple[Path, ...], file: BinaryIO
) -> tuple[PackedFile, ...]:
    # gzip would record the file's name and the time, which differ with every run.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        added = [_add(archive, source / member, member.as_posix()) for member in members]
    return tuple(PackedFile(one.name, one.size) for one in added if one.isreg())


def _add(archive: tarfile.TarFile, path: Path, name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    if path.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
        return info
    # What was a file when it was listed may be a link by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        info.size = status.st_size
        # The same reduction as when unpacking, so that packing again gives the same bytes.
        info.mode = 0o755 if status.st_mode & 0o111 else 0o644
        archive.addfile(info, file)
    return info


def _try_out(package: Path, output: Path) -> None:
    """Unpack the package as an installation would, to make sure that it can be installed."""
    with tempfile.TemporaryDirectory(prefix="vconnect-pack-") as scratch:
        unpacked = unpack(package, Path(scratch, "package"), origin=str(output))
        _check_launch(unpacked.path, unpacked.manifest, str(output))
