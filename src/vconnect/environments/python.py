"""Which Python an environment is for, and what is known of it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import msgspec

from vconnect.errors import InstallError

from .declared import Declared
from .tools import run_tool

# Isolated and without `site`: nothing of what was installed into it is run.
_ASK = """
import json, os, platform, sys, sysconfig
base = getattr(sys, "_base_executable", sys.executable)
print(json.dumps({
    "executable": os.path.realpath(base), "version": platform.python_version(),
    "tag": str(sys.implementation.cache_tag), "abi": str(sysconfig.get_config_var("SOABI")),
    "prefix": sys.base_prefix,
}))
"""
_TIMEOUT_S = 20.0


class Python(msgspec.Struct, frozen=True, kw_only=True):
    """An interpreter, without any environment.

    Attributes:
        executable: Its real path.
        version: Its version, such as ``3.11.7``.
        tag: What its compiled files are called by, such as ``cpython-311``.
        abi: What compiled extensions must be for.
        prefix: The directory that it is installed in.
    """

    executable: str
    version: str
    tag: str
    abi: str
    prefix: str

    @property
    def short(self) -> str:
        """Its version without the last number."""
        return ".".join(self.version.split(".")[:2])

    @property
    def library(self) -> str:
        """The directory of installed packages, relative to an environment."""
        return f"lib/python{self.short}/site-packages"


class Stamp(msgspec.Struct, frozen=True):
    """What tells an interpreter from another one at its path, without running it.

    Attributes:
        size: The size of the file.
        changed_ns: When it was changed, in nanoseconds.
    """

    size: int
    changed_ns: int


def stamp_of(executable: str) -> Stamp | None:
    """Return the stamp of an interpreter; ``None`` if it is gone. Blocks for a moment."""
    try:
        status = Path(executable).stat()
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


async def ask_python(executable: str) -> Python:
    """Ask an interpreter what it is.

    Raises:
        InstallError: It cannot be run, or is no Python.
    """
    found = shutil.which(executable)
    if found is None:
        raise InstallError(f"there is no Python at {executable}")
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    argv = [found, "-I", "-S", "-c", _ASK]
    printed = await run_tool("asking Python", argv, environment, Path("/"), _TIMEOUT_S)
    try:
        return msgspec.json.decode(printed, type=Python)
    except msgspec.DecodeError:
        raise InstallError(f"{executable} is no Python: it answered {printed[:200]!r}") from None


async def choose_python(declared: Declared | None, own: str, configured: str) -> Python:
    """Choose the Python for a plugin's environment.

    It is the one that the operator has set for the plugin, else the host's if it fits, else the one
    that is set for all.

    Args:
        declared: What the plugin declares; ``None`` for nothing.
        own: The operator's choice for this plugin; empty for none.
        configured: The operator's choice for all plugins; empty for none.

    Raises:
        InstallError: None of them fits.
    """
    candidates = [own] if own else [sys.executable, *filter(None, [configured])]
    versions = []
    for executable in candidates:
        python = await ask_python(executable)
        if declared is None or declared.takes_python(python.version):
            return python
        versions.append(f"{python.version} ({executable})")
    assert declared is not None, "without it, the first one fits"
    raise InstallError(
        f"{declared.origin} asks for Python {declared.python}, and this host has "
        f"{' and '.join(versions)}; set python in the configuration to one that fits"
    )
