"""What a path is, and who looks at it."""

from __future__ import annotations

import stat
from pathlib import Path

from vconnect.validation import Fault

from .configuration import check_configuration
from .directory import check_directory
from .package import check_package
from .plugin import notes_of, read
from .report import Report, Subject, faulty

_CONFIGURATION_SUFFIX = ".toml"
_MANIFEST_SUFFIX = ".json"


def check_path(path: Path) -> Report:
    """Look at a directory, a configuration, a manifest or a package. Blocks.

    Args:
        path: What to look at. A directory is a plugin's, a ``.toml`` file is a configuration, a
            ``.json`` file is a manifest, and any other file is a package.

    Raises:
        OSError: It cannot be looked at.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return check_directory(path)
    is_configuration = path.suffix == _CONFIGURATION_SUFFIX
    if not stat.S_ISREG(mode):
        # A pipe would be waited for, and a device has no end.
        fault = Fault(str(path), "is neither a regular file nor a directory")
        subject = Subject.CONFIGURATION if is_configuration else Subject.PACKAGE
        return Report(subject, tuple(faulty([fault])), is_unusable=is_configuration)
    if is_configuration:
        return check_configuration(path)
    if path.suffix == _MANIFEST_SUFFIX:
        return _check_manifest(path)
    return check_package(path)


def _check_manifest(path: Path) -> Report:
    manifest, faults = read(path, str(path))
    notes = () if manifest is None else notes_of(manifest, str(path))
    return Report(Subject.MANIFEST, (*notes, *faulty(faults)), is_unusable=bool(faults))
