"""Whether what is in an installed package now is what its receipt says."""

from __future__ import annotations

from vconnect.environments.build import problem_of
from vconnect.errors import InstallError
from vconnect.packages.contents import entries

from .layout import InstalledVersion, read_receipt


def is_sound(version: InstalledVersion) -> bool:
    """Return whether every file of a version is as it was installed. Blocks: each is read.

    That includes its environment, if it has one.

    Of what was a plain directory nothing is known, so it is sound.
    """
    if version.is_legacy:
        return True
    try:
        if entries(version.package) != read_receipt(version.directory).files:
            return False
        return not problem_of(version.directory, version.package)
    except (InstallError, OSError):
        return False
