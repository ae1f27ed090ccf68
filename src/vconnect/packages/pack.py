"""Creates a package from a directory."""

# The same directory always produces the same bytes: members are sorted, and owners, times and all
# permissions except the executable bit are left out.

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec
import orjson

from vconnect.durable import open_regular, replace_file
from vconnect.errors import InstallError, PluginStartError

from .archive import PACKAGE_SUFFIXES, unpack
from .command import production_command
from .config_schema.check import check_schema
from .contents import entries, measure, tree_digest
from .manifest import MANIFEST_NAME, Manifest, read_manifest
from .preparation import Binary, PackedFile, Preparation, place_of_binary, prepare
from .selection import LeftOut

CHECKSUM_SUFFIX = ".sha256"
# Characters that are safe in a file name on every system.
_VERSION_IN_NAME = re.compile(r"[A-Za-z0-9._+-]+")
_LEVEL = 9
_FOR_ALL = 0o644

#: The contents of a member: a file or directory on the disk, or the bytes themselves.
Contents: TypeAlias = Path | bytes


class Packed(msgspec.Struct, frozen=True):
    """A package that was created.

    Attributes:
        path: The package.
        size_bytes: Its size.
        sha256: Its digest, which is in the file ``PATH.sha256`` too.
        tree: The digest of its contents, whatever they are compressed with.
        files: The files in it.
        left_out: What of the directory is not in it.
    """

    path: Path
    size_bytes: int
    sha256: str
    tree: str
    files: tuple[PackedFile, ...]
    left_out: tuple[LeftOut, ...]


def pack(
    source: Path,
    output: Path | None = None,
    *,
    include: Sequence[str] = (),
    binary: Binary | None = None,
) -> Packed:
    """Create a package from a directory that contains ``plugin.json``. Blocks.

    `selection.survey` decides what is left out. As a test, the package is unpacked once before it
    gets its name. Its digest is written beside it, in the form of ``sha256sum``.

    Args:
        source: The directory.
        output: The package to create or replace; by default ``NAME-VERSION.vp`` in the working
            directory, ``NAME.vp`` without a version, or ``NAME-VERSION-PLATFORM.vp``.
        include: Paths relative to the directory that are packed whatever the rules say.
        binary: A program for one platform, which becomes the entry.

    Raises:
        ManifestError: There is no valid ``plugin.json``, or its ``config_schema`` cannot be used.
        InstallError: There is something else wrong with the directory, or writing failed.
    """
    if not source.is_dir():
        raise InstallError(f"{source}: not a directory; expected a plugin's directory")
    manifest = read_manifest(source / MANIFEST_NAME)
    check_schema(manifest.config_schema, str(source / MANIFEST_NAME))
    try:
        preparation = prepare(source, manifest, include, binary)
        _refuse(preparation, source)
        output = _output(manifest, binary) if output is None else output
        if output.suffix not in PACKAGE_SUFFIXES:
            raise InstallError(
                f"{output}: expected a file name that ends in {' or '.join(PACKAGE_SUFFIXES)}"
            )
        members: dict[str, Contents] = dict(preparation.contents)
        if binary is not None:
            members[MANIFEST_NAME] = _manifest_for(manifest, binary, source)
        return _make(members, output, preparation, place_of_binary(manifest) if binary else "")
    except OSError as error:
        where = error.filename or output or source
        raise InstallError(f"cannot pack {where}: {error.strerror or error}") from error


def _refuse(preparation: Preparation, source: Path) -> None:
    """Raise the first fault, and say how to see the others."""
    if preparation.faults:
        first, *others = preparation.faults
        more = f"; {len(others)} more: vconnect check {source}" if others else ""
        raise InstallError(f"{first}{more}")


def _manifest_for(manifest: Manifest, binary: Binary, source: Path) -> bytes:
    """Return the manifest of a package for one platform, which it names."""
    if manifest.platform == binary.platform:
        return (source / MANIFEST_NAME).read_bytes()
    named = {**manifest.raw, "platform": binary.platform}
    return orjson.dumps(named, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _check_launch(path: Path, manifest: Manifest, origin: str) -> str:
    """Return the program that starts a plugin, relative to its directory."""
    try:
        command = production_command(manifest.plugin, path, manifest)
        return Path(command[0]).relative_to(path.absolute()).as_posix()
    except PluginStartError as error:
        raise InstallError(f"{origin}: cannot be started: {error.message}") from error


def _output(manifest: Manifest, binary: Binary | None) -> Path:
    if manifest.version and not _VERSION_IN_NAME.fullmatch(manifest.version):
        raise InstallError(
            f"version {manifest.version!r} cannot be part of a file name; "
            "use letters, digits and . _ + -, or specify the output"
        )
    platform = "" if binary is None else binary.platform
    parts = filter(None, (manifest.plugin, manifest.version, platform))
    return Path(f"{'-'.join(parts)}{PACKAGE_SUFFIXES[0]}")


def _make(
    members: Mapping[str, Contents], output: Path, preparation: Preparation, program: str
) -> Packed:
    """Write the package and its digest.

    Args:
        members: The contents of each member.
        output: The package.
        preparation: What is known of the directory.
        program: What must be started; empty for whatever the directory starts.
    """
    # In the target's directory, so that the rename at the end is atomic.
    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            files = _write_archive(members, file)
            # mkstemp creates private files, but a package is for others.
            os.fchmod(file.fileno(), _FOR_ALL)
            file.flush()
            os.fsync(file.fileno())
        tree = _try_out(temporary, output, program or preparation.program)
        digest, size = measure(temporary)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    checksum = output.with_name(output.name + CHECKSUM_SUFFIX)
    replace_file(checksum, checksum_line(digest, output.name), _FOR_ALL)
    return Packed(output, size, digest, tree, files, preparation.left_out)


def checksum_line(digest: str, name: str) -> bytes:
    r"""Return the line of a file that ``sha256sum -c`` reads.

    >>> checksum_line("ab", "x.vp"), checksum_line("ab", "a\nb.vp")
    (b'ab  x.vp\n', b'\\ab  a\\nb.vp\n')
    """
    escaped = name.replace("\\", r"\\").replace("\n", r"\n").replace("\r", r"\r")
    mark = "" if escaped == name else "\\"
    return os.fsencode(f"{mark}{digest}  {escaped}\n")


def _write_archive(members: Mapping[str, Contents], file: BinaryIO) -> tuple[PackedFile, ...]:
    # gzip would record the file's name and the time, which differ with every run.
    with (
        gzip.GzipFile(
            filename="", mode="wb", fileobj=file, mtime=0, compresslevel=_LEVEL
        ) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        added = [_add(archive, name, contents) for name, contents in members.items()]
    return tuple(PackedFile(one.name, one.size) for one in added if one.isreg())


def _add(archive: tarfile.TarFile, name: str, contents: Contents) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    if isinstance(contents, bytes):
        info.size, info.mode = len(contents), 0o644
        archive.addfile(info, io.BytesIO(contents))
        return info
    if contents.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
        return info
    # What was a file when it was listed may be a link by now.
    with open_regular(contents, os.O_NOFOLLOW) as file:
        status = os.fstat(file.fileno())
        info.size = status.st_size
        # The same reduction as when unpacking, so that packing again gives the same bytes.
        info.mode = 0o755 if status.st_mode & 0o111 else 0o644
        archive.addfile(info, file)
    return info


def _try_out(package: Path, output: Path, program: str) -> str:
    """Unpack the package as an installation would, and return the digest of what is in it.

    Args:
        package: The package, by its temporary name.
        output: The package.
        program: What it has to start.
    """
    with tempfile.TemporaryDirectory(prefix="vconnect-pack-") as scratch:
        unpacked = unpack(package, Path(scratch, "package"), origin=str(output))
        started = _check_launch(unpacked.path, unpacked.manifest, str(output))
        if started != program:
            raise InstallError(
                f"{output}: would start {started}, not {program}; rename or leave out {started}"
            )
        return tree_digest(entries(unpacked.path))
