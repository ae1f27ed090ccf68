"""vconnect itself, for plugins: copied from the host's own installation, so that no index is asked.

That fits only the same version and build of Python. For another one, wheels are needed.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vconnect.errors import InstallError

from .declared import SDK
from .locked import Locked
from .python import Python

#: What the kit imports besides itself.
LIBRARIES = ("msgspec", "orjson")

#: The folders of vconnect that a plugin needs, besides the modules without a folder.
_FOLDERS = ("sdk", "wire")
_NOT_NEEDED = ("*.c", "*.pyx", "*.pxd", "*.h")


def is_for(python: Python) -> bool:
    """Return whether the kit of the host's installation fits another interpreter."""
    own = (str(sys.implementation.cache_tag), str(sysconfig.get_config_var("SOABI")))
    return (python.tag, python.abi) == own


def check_libraries(lock: Locked) -> None:
    """Refuse a plugin whose dependencies exclude what the kit needs.

    Raises:
        InstallError: Its lock file has a version of a library that the kit cannot use.
    """
    for text in metadata.requires(SDK) or ():
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        version = lock.versions.get(name)
        if name in LIBRARIES and version is not None and version not in requirement.specifier:
            raise InstallError(
                f"its dependencies have {name} {version}, and {SDK} needs {requirement.specifier}"
            )


def copy_kit(site: Path, present: Collection[str]) -> None:
    """Copy the kit and what it imports. Blocks.

    Args:
        site: The directory of installed packages.
        present: The normalized names of what is there already.

    Raises:
        OSError: It cannot be copied.
    """
    import vconnect

    # Never linked: a plugin's file would be the host's.
    own = Path(vconnect.__path__[0])
    host = [one.name for one in own.iterdir() if one.is_dir() and one.name not in _FOLDERS]
    ignored = shutil.ignore_patterns(*_NOT_NEEDED, *host)
    shutil.copytree(own, site / SDK, ignore=ignored)
    _copy_metadata(metadata.distribution(SDK), site)
    for name in LIBRARIES:
        if name not in present:
            _copy_distribution(metadata.distribution(name), site)


def _copy_metadata(found: metadata.Distribution, site: Path) -> None:
    """Write what tells tools which version there is; an editable installation has no more files."""
    directory = site / f"{SDK}-{found.version}.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text(found.read_text("METADATA") or "", encoding="utf-8")
    (directory / "INSTALLER").write_text("vconnect\n", encoding="utf-8")


def _copy_distribution(found: metadata.Distribution, site: Path) -> None:
    for file in found.files or ():
        if file.parts[0] == ".." or Path(file).is_absolute():
            continue  # a script, which belongs to the host's Python
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source := Path(str(found.locate_file(file)))).is_file():
            shutil.copy2(source, target)
