"""Which dependencies a plugin's directory declares, and where."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from vconnect.bounds import cut
from vconnect.durable import read_regular
from vconnect.errors import InstallError
from vconnect.version import host_version

#: The distribution that has the kit for plugins. The host puts it into every environment.
SDK = "vconnect"

# Packages are not trusted, so the files are read in a time that grows with their size only.
_MAX_BYTES = 1024 * 1024
_MAX_REQUIREMENTS = 1000
_MAX_CHARS = 1000
# PEP 723: what is around the metadata in a script.
_BEGIN, _END = "# /// script", "# ///"


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin's directory declares.

    Attributes:
        origin: The file, relative to the directory.
        requirements: The requirements, without the kit; sorted.
        python: The versions of Python that it runs on, such as ``>=3.11``; empty for any.
        sdk: The versions of the kit that it asks for; empty for any.
    """

    origin: str
    requirements: tuple[str, ...] = ()
    python: str = ""
    sdk: str = ""

    @property
    def digest(self) -> str:
        """The sha256 of what a lock file is made from, in hex."""
        text = "\n".join((*self.requirements, f"python {self.python}"))
        return hashlib.sha256(text.encode()).hexdigest()

    def takes_python(self, version: str) -> bool:
        """Return whether it runs on a version of Python, such as ``3.11.7``."""
        return SpecifierSet(self.python).contains(version, prereleases=True)

    def check_sdk(self, version: str = "") -> None:
        """Refuse a plugin that asks for another version of the kit.

        Args:
            version: The version; by default this host's.

        Raises:
            InstallError: It does.
        """
        version = version or host_version()
        if version and not SpecifierSet(self.sdk).contains(version, prereleases=True):
            raise InstallError(
                f"{self.origin} asks for {SDK} {self.sdk}, and this host has {version}"
            )


def read_declared(directory: Path) -> Declared | None:
    """Read what a plugin's directory declares. Blocks.

    The first file that declares anything counts. These are ``pyproject.toml``, the metadata block
    in ``plugin.py`` and ``requirements.txt``.

    Returns:
        ``None`` if it declares no dependencies. The kit alone is none: every plugin has it.

    Raises:
        InstallError: A file cannot be read, or has what is no requirement.
    """
    for name, read in _READERS.items():
        try:
            text = _text(directory / name)
        except FileNotFoundError:
            continue
        found = read(text, str(directory / name))
        if found is not None and (declared := _declared(name, *found)).requirements:
            return declared
    return None


def _text(file: Path) -> str:
    try:
        data = read_regular(file, _MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InstallError(f"{file} has more than {_MAX_BYTES} bytes")
        return data.decode()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InstallError(f"{file}: cannot be read: {error}") from None


def _declared(origin: str, requirements: Iterable[str], python: str) -> Declared:
    kept, sdk = [], ""
    requirements = list(requirements)
    if len(requirements) > _MAX_REQUIREMENTS:
        raise InstallError(
            f"{origin}: {len(requirements)} dependencies; the limit is {_MAX_REQUIREMENTS}"
        )
    for text in requirements:
        requirement = _requirement(text, origin)
        if canonicalize_name(requirement.name) == SDK:
            sdk = str(requirement.specifier)
        else:
            kept.append(str(requirement))
    try:
        python = str(SpecifierSet(python))
    except InvalidSpecifier:
        raise InstallError(
            f"{origin}: requires-python is {python!r}; expected versions such as '>=3.11'"
        ) from None
    return Declared(origin=origin, requirements=tuple(sorted(kept)), python=python, sdk=sdk)


def _requirement(text: str, origin: str) -> Requirement:
    if len(text) > _MAX_CHARS:
        raise InstallError(f"{origin}: {cut(text)!r} has more than {_MAX_CHARS} characters")
    try:
        requirement = Requirement(text)
        if requirement.marker is not None:
            requirement.marker.evaluate()
    except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName) as error:
        words = str(error).partition("\n")[0]
        raise InstallError(f"{origin}: {cut(text)!r} is no requirement: {words}") from None
    except RecursionError:
        raise InstallError(f"{origin}: {cut(text)!r} is nested too deeply") from None
    if requirement.url:
        raise InstallError(
            f"{origin}: {text!r} has an address; only names and versions can be locked"
        )
    return requirement


_Found = tuple[list[str], str] | None


def _of_project(text: str, origin: str) -> _Found:
    return _of_table(_toml(text, origin).get("project"), f"{origin}: project")


def _of_script(text: str, origin: str) -> _Found:
    blocks = list(_blocks(text))
    if not blocks:
        return None
    if len(blocks) > 1:
        raise InstallError(f"{origin}: has {len(blocks)} blocks of metadata; expected one")
    return _of_table(_toml("\n".join(blocks[0]), origin), f"{origin}: the metadata")


def _blocks(text: str) -> Iterator[list[str]]:
    """Yield the lines of each block that is closed, without their marks."""
    block: list[str] | None = None
    for line in map(str.rstrip, text.splitlines()):
        if block is None:
            block = [] if line == _BEGIN else None
        elif line == _END:
            yield block
            block = None
        elif line == "#" or line.startswith("# "):
            block.append(line[2:])
        else:
            block = None  # it was never closed


def _of_table(table: Any, origin: str) -> _Found:
    if not isinstance(table, dict) or "dependencies" not in table:
        return None
    found, python = table["dependencies"], table.get("requires-python", "")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InstallError(f"{origin}: dependencies is no list of texts")
    if not isinstance(python, str):
        raise InstallError(f"{origin}: requires-python is no text")
    return found, python


def _of_list(text: str, origin: str) -> _Found:
    found = []
    for line in text.splitlines():
        requirement = re.sub(r"(^|\s)#.*", "", line).strip()
        if requirement.startswith("-"):
            raise InstallError(
                f"{origin}: {requirement!r} is an option; only names and versions can be locked"
            )
        if requirement:
            found.append(requirement)
    return found, ""


def _toml(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InstallError(f"{origin}: is not valid TOML: {error}") from None


_READERS: dict[str, Callable[[str, str], _Found]] = {
    "pyproject.toml": _of_project,
    "plugin.py": _of_script,
    "requirements.txt": _of_list,
}
