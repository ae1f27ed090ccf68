"""The versions that a plugin's directory states, which must be one."""

# The class of a plugin is looked for in its source, which is parsed and never run.

from __future__ import annotations

import ast
import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vconnect.bounds import cut
from vconnect.durable import read_regular
from vconnect.validation import Fault

from .manifest import MANIFEST_NAME, Manifest
from .semver import Version

_PROJECT = "pyproject.toml"
_MODULE = "plugin.py"
# Larger sources are not looked into: parsing takes memory, and packages are not trusted.
_MAX_BYTES = 256 * 1024
_SHOWN_BYTES = 100
# Python writes 1.0.0rc1 for what is 1.0.0-rc.1 in Semantic Versioning.
_TAGS = re.compile(r"[-_.]?(alpha|beta|preview|pre|rc|dev|post|a|b|c)[-_.]?(?=\d|$)")
_SHORT = {"alpha": "a", "beta": "b", "preview": "rc", "pre": "rc", "c": "rc"}


def find_version_faults(directory: Path, manifest: Manifest, program: str) -> Iterator[Fault]:
    """Yield each place in a directory whose version is not that of the manifest. Blocks.

    Args:
        directory: The directory.
        manifest: Its manifest; without a version, there is nothing to compare.
        program: The path in it of what is started; empty if there is none.
    """
    if not manifest.version:
        return
    try:
        found = list(_versions_of_project(directory / _PROJECT))
    except ValueError as error:
        yield Fault(str(directory / _PROJECT), f"cannot be read: {cut(str(error))}")
        found = []
    modules = [name for name in dict.fromkeys((program, _MODULE)) if name.endswith(".py")]
    for name in modules:
        found += _versions_of_module(directory / name)
    for place, version in found:
        if not _are_same(version, manifest.version):
            yield Fault(
                place,
                f"version is {cut(version, _SHOWN_BYTES)!r}, and {MANIFEST_NAME} has "
                f"{manifest.version!r}; write the same one in both",
            )


def _versions_of_project(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the version of a Python project, unless its build tool finds it out.

    Raises:
        ValueError: It is not TOML.
    """
    data = _read(file)
    if not data:
        return
    try:
        project: Any = tomllib.loads(data.decode()).get("project")
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    version = project.get("version") if isinstance(project, dict) else None
    if isinstance(version, str):
        yield f"{file}: project.version", version


def _versions_of_module(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the version of each class that derives from the SDK's ``Plugin``."""
    data = _read(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the plugin's source, not of ours
            tree = ast.parse(data)
    # It may be for a newer Python than this one, so it is no fault.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(map(_is_plugin, node.bases)):
            for line, version in filter(None, map(_version_in, node.body)):
                yield f"{file}:{line}", version


def _is_plugin(base: ast.expr) -> bool:
    name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
    return bool(name == "Plugin")


def _version_in(statement: ast.stmt) -> tuple[int, str] | None:
    """Return the line and the value of ``version = "…"``."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return None
    value = statement.value
    is_version = any(isinstance(one, ast.Name) and one.id == "version" for one in targets)
    if is_version and isinstance(value, ast.Constant) and isinstance(value.value, str):
        return statement.lineno, value.value
    return None


def _read(file: Path) -> bytes:
    """Return a file's contents; nothing if there is none, or it is too large."""
    try:
        data = read_regular(file, _MAX_BYTES + 1)
    except OSError:
        return b""  # what cannot be read cannot be packed, which is told elsewhere
    return data if len(data) <= _MAX_BYTES else b""


def _are_same(one: str, other: str) -> bool:
    """Return whether two spellings mean the same version.

    >>> _are_same("1.0", "v1.0.0"), _are_same("1.0.0rc1", "1.0.0-rc.1"), _are_same("1.0", "1.1")
    (True, True, False)
    """
    return Version(one) == Version(other) or _squeezed(one) == _squeezed(other)


def _squeezed(version: str) -> str:
    return _TAGS.sub(lambda tag: _SHORT.get(tag[1], tag[1]), version.lower().removeprefix("v"))
