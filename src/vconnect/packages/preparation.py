"""Looks at a plugin's directory before it is packed: what goes in, and what is wrong with it."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from vconnect.errors import InstallError, ManifestError, PluginStartError
from vconnect.validation import Fault

from .archive import ArchiveLimits, find_refusals
from .command import check_program, production_command
from .config_schema.check import check_schema, find_violation_of_defaults
from .manifest import MANIFEST_NAME, Manifest
from .platforms import ANY, check_platform, fits, problem_of_program
from .selection import LeftOut, Selection, survey
from .tar import DIRECTORY, FILE, Member
from .versions import find_version_faults

LARGE_BYTES = 50 * 1024 * 1024
"""The size from which a file is worth a word: it is usually packed by mistake."""


class Binary(msgspec.Struct, frozen=True):
    """A program that was built for one platform.

    Attributes:
        platform: The platform, such as ``linux-amd64``.
        file: The program, in the plugin's directory or elsewhere.
    """

    platform: str
    file: Path


class PackedFile(msgspec.Struct, frozen=True):
    """A file in a package.

    Attributes:
        path: Its path in the package.
        size_bytes: Its size.
    """

    path: str
    size_bytes: int

    @property
    def is_large(self) -> bool:
        """Whether it is worth a word; see `LARGE_BYTES`."""
        return self.size_bytes > LARGE_BYTES


class Preparation(msgspec.Struct, frozen=True):
    """What is known of a directory before it is packed.

    Attributes:
        contents: Where the contents of each member are, by its path in the package; sorted.
        program: The path in the package of what is started; empty if that cannot be told.
        left_out: What of the directory is not in the package.
        faults: What is wrong. If there is anything, it must not be packed.
    """

    contents: dict[str, Path]
    program: str
    left_out: tuple[LeftOut, ...]
    faults: tuple[Fault, ...]

    @property
    def files(self) -> tuple[PackedFile, ...]:
        """The files among the members. Blocks.

        Raises:
            OSError: One of them is gone.
        """
        found = ((name, path.stat()) for name, path in self.contents.items())
        return tuple(
            PackedFile(name, status.st_size)
            for name, status in found
            if stat.S_ISREG(status.st_mode)
        )


def prepare(
    source: Path,
    manifest: Manifest | None,
    include: Sequence[str] = (),
    binary: Binary | None = None,
) -> Preparation:
    """Look at a plugin's directory. Blocks.

    Args:
        source: The directory.
        manifest: Its manifest; ``None`` if it cannot be used, so that only the files are looked at.
        include: See `selection.survey`.
        binary: The program that becomes the entry.

    Raises:
        InstallError: An included path does not exist.
        OSError: Something cannot be read.
    """
    selection = survey(source, include)
    contents = {str(member): source / member for member in selection.members}
    faults = list(selection.faults)
    program = ""
    if manifest is not None:
        faults += faults_of_schema(manifest, str(source / MANIFEST_NAME))
        if binary is not None:
            program = place_of_binary(manifest)
            faults += _faults_of_binary(source, manifest, binary)
            contents = _with_binary(source, contents, binary, program)
        else:
            program = _program_of(source, manifest, faults)
            faults += _faults_of_program(source, manifest, program)
            needed = filter(None, (MANIFEST_NAME, program))
            faults += filter(None, (_left_out_fault(one, selection, source) for one in needed))
        faults += find_version_faults(source, manifest, program)
    faults += find_refusals(map(_member, contents.items()), str(source))
    faults += _faults_of_size(source, contents)
    return Preparation(contents, program, selection.left_out, tuple(faults))


def place_of_binary(manifest: Manifest) -> str:
    """Return the path in the package of a program that becomes the entry."""
    return manifest.entry or manifest.plugin


def faults_of_schema(manifest: Manifest, place: str) -> Iterator[Fault]:
    """Yield what is wrong with a manifest's ``config_schema``, or with its ``config`` by it.

    Blocks.

    Args:
        manifest: The manifest.
        place: The file.
    """
    try:
        check_schema(manifest.config_schema, place)
    except ManifestError as error:
        yield Fault(place, _without(place, error))
        return
    if problem := find_violation_of_defaults(manifest.config_schema, manifest.config):
        yield Fault(place, f"config does not fit config_schema: {problem}")


def _without(place: Path | str, error: Exception) -> str:
    return str(error).removeprefix(f"{place}: ")


def _program_of(source: Path, manifest: Manifest, faults: list[Fault]) -> str:
    """Return the program that starts the plugin, relative to its directory; or why there is none.

    Args:
        source: The directory.
        manifest: Its manifest.
        faults: Why there is none is appended to it.
    """
    try:
        command = production_command(manifest.plugin, source, manifest)
    except PluginStartError as error:
        faults.append(Fault(str(source), f"cannot be started: {error.message}"))
        return ""
    return Path(command[0]).relative_to(source.absolute()).as_posix()


def _faults_of_program(source: Path, manifest: Manifest, program: str) -> Iterator[Fault]:
    if not program or manifest.platform in ("", ANY):
        return
    if problem := problem_of_program(source / program, manifest.platform):
        yield Fault(str(source / program), problem)


def _faults_of_binary(source: Path, manifest: Manifest, binary: Binary) -> Iterator[Fault]:
    try:
        check_platform(binary.platform)
    except InstallError as error:
        yield Fault("", str(error))
        return
    if not fits(manifest.platform, binary.platform):
        yield Fault(
            str(source / MANIFEST_NAME),
            f"platform is {manifest.platform!r}, and the package is made for {binary.platform}; "
            "leave it out, and each package gets its own",
        )
    try:
        check_program(manifest.plugin, binary.file)
        problem = problem_of_program(binary.file, binary.platform)
    except PluginStartError as error:
        yield Fault("", error.message)
        return
    if problem:
        yield Fault(str(binary.file), problem)


def _with_binary(
    source: Path, contents: dict[str, Path], binary: Binary, place: str
) -> dict[str, Path]:
    """Put a program into its place, and not into the package a second time."""
    own, root = binary.file.resolve(), source.resolve()
    inside = own.relative_to(root).as_posix() if own.is_relative_to(root) else ""
    kept = {name: path for name, path in contents.items() if name != inside}
    # As paths, so that the order is that of the directory.
    return dict(sorted({**kept, place: own}.items(), key=lambda item: Path(item[0])))


def _left_out_fault(path: str, selection: Selection, source: Path) -> Fault | None:
    """Refuse to leave out what every installation needs."""
    left = selection.why_left_out(path)
    if left is None:
        return None
    remedy = f"pack it with --include {path}" if left.is_secret else f"add !/{path} to .vpignore"
    return Fault(
        str(source),
        f"{path} is needed to start the plugin, but left out: {left.reason}; {remedy}",
    )


def _member(item: tuple[str, Path]) -> Member:
    name, path = item
    return Member(name, DIRECTORY if path.is_dir() else FILE, 0, 0)


def _faults_of_size(source: Path, contents: dict[str, Path]) -> Iterator[Fault]:
    limit = ArchiveLimits().unpacked_bytes
    total = sum(path.stat().st_size for path in contents.values() if path.is_file())
    if total > limit:
        yield Fault(
            str(source),
            f"its files have {total} bytes; the limit is {limit}. Leave some out with a line in "
            ".vpignore",
        )
