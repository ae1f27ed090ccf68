"""Compares what was installed with what the wheels say."""

# A file that is linked from a cache is the cache's, and so is the record that is installed beside
# it. What counts is the record inside the wheel, whose digest the lock file has.

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from vconnect.errors import InstallError

from .locked import Locked

_MAX_RECORD_BYTES = 16 * 1024 * 1024
# What reading an archive raises if something is wrong with it, or if it is encrypted.
_BROKEN = (
    *(OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError),
    *(EOFError, zlib.error, csv.Error, StopIteration),
)


class CacheChangedError(InstallError):
    """What was installed is not what the wheels have, so what it was linked from was changed."""


def sha256_of(file: Path) -> bytes:
    """Return the digest of a file. Blocks."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def find_wheels(directories: Iterable[Path], lock: Locked) -> Iterator[Path]:
    """Yield the wheels of what is locked. Blocks."""
    for directory in directories:
        for wheel in sorted(directory.glob("*.whl")):
            try:
                name, version, _, _ = parse_wheel_filename(wheel.name)
            except InvalidWheelFilename:
                continue
            if lock.versions.get(canonicalize_name(name)) == str(version):
                yield wheel


def unpacked_size(wheels: Iterable[Path]) -> int:
    """Return how many bytes the files in some wheels have, as they say themselves. Blocks.

    Raises:
        InstallError: One of them is no wheel.
    """
    return sum(one.file_size for wheel in wheels for one in _members(wheel))


def check_wheels(directory: Path, lock: Locked) -> None:
    """Refuse wheels in a package that no installation would take. Blocks.

    Args:
        directory: The directory of the wheels; if it is not there, they come from elsewhere.
        lock: What is locked.

    Raises:
        InstallError: One is missing, is none, or is another one than the lock file has.
    """
    if not directory.is_dir():
        return
    there = set()
    for wheel in find_wheels([directory], lock):
        _members(wheel)
        digest = sha256_of(wheel).hex()
        if digest not in lock.hashes:
            raise InstallError(
                f"{wheel.name} has sha256 {digest}, which the lock file does not have; make both "
                "anew with: vconnect pack --lock --wheels"
            )
        there.add(canonicalize_name(parse_wheel_filename(wheel.name)[0]))
    if missing := sorted(lock.versions.keys() - there - lock.conditional):
        raise InstallError(
            f"there is no wheel of {', '.join(missing)} in {directory.name}; fetch them with: "
            "vconnect pack --wheels"
        )


def check_records(site: Path, wheels: Iterable[Path]) -> None:
    """Refuse installed files that are not those of their wheels. Blocks.

    Args:
        site: The directory of installed packages.
        wheels: The wheels.

    Raises:
        CacheChangedError: A file is another one.
        InstallError: A file is missing, or a wheel cannot be read.
    """
    for wheel in wheels:
        for name, digest in _record(wheel):
            file = site / name
            # Scripts and data lie elsewhere once they are installed.
            if ".data/" in name or not digest or not file.resolve().is_relative_to(site.resolve()):
                continue
            if not file.exists():
                if (site / _dist_info(wheel)).exists():
                    raise InstallError(f"{wheel.name}: {name} was not installed")
                break  # a wheel for another Python or platform
            if sha256_of(file) != digest:
                raise CacheChangedError(
                    f"{wheel.name}: {name} is not what the wheel has: the cache was changed"
                )


def _dist_info(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{name}-{version}.dist-info"


def _record(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each file of a wheel, and its sha256 if the record has that."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(one for one in archive.namelist() if one.endswith(".dist-info/RECORD"))
            if archive.getinfo(name).file_size > _MAX_RECORD_BYTES:
                raise InstallError(f"{wheel.name}: its RECORD is too large")
            rows = list(csv.reader(io.StringIO(archive.read(name).decode())))
            digests = [(row[0], _digest(row[1])) for row in rows if len(row) >= 2 and row[0]]
    except _BROKEN as error:
        raise InstallError(f"{wheel.name} is no wheel: {error}") from None
    yield from digests


def _digest(text: str) -> bytes:
    """Return a sha256 of a RECORD; empty if it has another one or none."""
    kind, _, encoded = text.partition("=")
    return base64.urlsafe_b64decode(encoded + "==") if kind == "sha256" else b""


def _members(wheel: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.infolist()
    except _BROKEN as error:
        raise InstallError(f"{wheel.name} is no wheel: {error}") from None
