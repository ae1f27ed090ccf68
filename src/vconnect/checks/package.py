"""All that is wrong with a package: its archive, its manifest, and what it would start here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vconnect.durable import read_regular
from vconnect.environments.build import find_need
from vconnect.environments.records import check_wheels
from vconnect.errors import InstallError, PluginStartError
from vconnect.packages.archive import PACKAGE_SUFFIXES, package_root, unpack_sound
from vconnect.packages.command import production_command
from vconnect.packages.manifest import MANIFEST_NAME, Manifest
from vconnect.packages.platforms import problem_of_platform, problem_of_program
from vconnect.packages.source import platform_name
from vconnect.packages.versions import find_version_faults
from vconnect.validation import Fault

from .plugin import notes_of, read
from .report import Report, Subject, faulty, note

# The kernel reads no more of a script's first line.
_MAX_FIRST_LINE = 256


def check_package(package: Path) -> Report:
    """Look at a package. Blocks.

    It is unpacked into a temporary directory, which is removed.

    Args:
        package: The file.
    """
    origin = str(package)
    findings = []
    if package.suffix not in PACKAGE_SUFFIXES:
        findings.append(
            note(origin, f"to be installed, its name must end in {' or '.join(PACKAGE_SUFFIXES)}")
        )
    with tempfile.TemporaryDirectory(prefix="vconnect-check-") as scratch:
        directory = Path(scratch, "package")
        faults = unpack_sound(package, directory, origin=origin)
        try:
            root = package_root(directory, origin)
        except (InstallError, OSError) as error:
            # An archive that could not be read has told why there is nothing.
            if not faults:
                faults.append(Fault(origin, str(error).removeprefix(f"{origin}: ")))
            return Report(Subject.PACKAGE, (*findings, *faulty(faults)))
        manifest, of_manifest = read(root / MANIFEST_NAME, f"{origin}: {MANIFEST_NAME}")
        faults += of_manifest
        if manifest is not None:
            faults += _faults_of_contents(root, manifest, origin)
            findings += notes_of(manifest, origin)
        return Report(Subject.PACKAGE, (*findings, *faulty(faults)))


def _faults_of_contents(root: Path, manifest: Manifest, origin: str) -> Iterator[Fault]:
    """Yield why an unpacked package could not be started on this machine."""
    if problem := problem_of_platform(manifest):
        yield Fault(f"{origin}: {MANIFEST_NAME}", problem)
    program = ""
    try:
        command = production_command(manifest.plugin, root, manifest)
    except PluginStartError as error:
        # The path of the temporary directory would mean nothing to anybody.
        shown = error.message.replace(f"{root}/", "").replace(str(root), "the package")
        yield Fault(origin, f"could not be started: {shown}")
    else:
        program = Path(command[0]).relative_to(root.absolute()).as_posix()
        yield from _faults_of_program(Path(command[0]), f"{origin}: {program}")
    try:
        if (need := find_need(root)) is not None:
            check_wheels(need.wheels, need.lock)
    except InstallError as error:
        yield Fault(origin, str(error))
    for place, words in find_version_faults(root, manifest, program):
        yield Fault(f"{origin}: {place.removeprefix(f'{root}/')}", words)


def _faults_of_program(program: Path, place: str) -> Iterator[Fault]:
    line = read_regular(program, _MAX_FIRST_LINE).partition(b"\n")[0]
    if line.startswith(b"#!"):
        if problem := problem_of_interpreter(line[2:].decode("utf-8", "replace")):
            yield Fault(place, problem)
    elif problem := problem_of_program(program, platform_name()):
        yield Fault(place, problem)


def problem_of_interpreter(line: str) -> str:
    """Return why a script could not be run on this machine, or an empty text.

    Args:
        line: Its first line without ``#!``.
    """
    interpreter, *arguments = line.split() or [""]
    if not interpreter.startswith("/"):
        return (
            f"its first line names {interpreter!a}; expected an absolute path, such as "
            "#!/usr/bin/env python3"
        )
    if shutil.which(interpreter) is None:
        return f"its first line names {interpreter!a}, which this machine does not have; install it"
    named = [one for one in arguments if not one.startswith("-") and "=" not in one]
    if Path(interpreter).name == "env" and named and shutil.which(named[0]) is None:
        return f"its first line names {named[0]!a}, which is not on the PATH; install it"
    return ""
