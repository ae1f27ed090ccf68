"""All for which ``vconnect pack`` would refuse a directory, and what it would leave out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vconnect.environments.resolve import check_source
from vconnect.errors import InstallError
from vconnect.packages.manifest import MANIFEST_NAME
from vconnect.packages.preparation import Preparation, prepare
from vconnect.validation import Fault

from .plugin import notes_of, read
from .report import Finding, Report, Subject, faulty, note

# How many paths that are left out are named.
_MAX_LEFT_OUT = 20


def check_directory(source: Path) -> Report:
    """Look at a plugin's source directory. Blocks."""
    file = source / MANIFEST_NAME
    if not os.path.lexists(file):
        fault = Fault(str(source), f"contains no {MANIFEST_NAME}; is it a plugin's directory?")
        return Report(Subject.DIRECTORY, tuple(faulty([fault])), is_unusable=True)
    manifest, faults = read(file, str(file))
    notes = [] if manifest is None else [*notes_of(manifest, str(file))]
    try:
        found = prepare(source, manifest)
        notes += _notes_of(source, found)
        faults += found.faults
        if advice := check_source(source):
            notes.append(note(str(source), advice))
    except InstallError as error:
        faults.append(Fault(str(source), str(error)))
    except OSError as error:
        faults.append(Fault(str(error.filename or source), f"cannot be read: {error.strerror}"))
    return Report(Subject.DIRECTORY, (*notes, *faulty(faults)), is_unusable=manifest is None)


def _notes_of(source: Path, found: Preparation) -> Iterator[Finding]:
    for left in found.left_out[:_MAX_LEFT_OUT]:
        yield note(str(source / left.path), f"is left out of the package: {left.reason}")
    if (more := len(found.left_out) - _MAX_LEFT_OUT) > 0:
        yield note(str(source), f"{more} more paths are left out of the package")
    try:
        large = [file for file in found.files if file.is_large]
    except OSError as error:
        raise InstallError(f"{error.filename}: {error.strerror}; it was there just now") from None
    for file in large:
        yield note(str(source / file.path), f"has {file.size_bytes} bytes; is it needed?")
