"""A sandbox of the kernel's own, Landlock: for hosts that have no bubblewrap and no namespaces.

A process gives up rights for itself and its descendants, for good, and needs none to do so. What is
not allowed by a ruleset is denied: here, to write outside of the plugin's own directories, to read
outside of the system, its package and what the operator allows, TCP, and signals to anyone else.
"""

# The calls have no wrappers in the C library. They are made here, before the start, except for the
# last one, by which the child restricts itself (`_spawn.h`).

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from .bubblewrap import ETC, SYSTEM, View, python_places

_CREATE_RULESET, _ADD_RULE = 444, 445
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
# What applies to a file and not only to a directory.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1

# The versions of the interface that brought more: rights by version, the oldest first.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6

#: Added to the environment of a confined process. Git fails if a configuration file exists but
#: cannot be read; in `bwrap` the file does not exist.
VARIABLES = {"GIT_CONFIG_NOSYSTEM": "1"}

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class Landlock(msgspec.Struct, frozen=True):
    """What a process may do.

    Attributes:
        readable: What it may read and execute.
        writable: What it may read, execute and change.
        network: Whether it may use TCP.
    """

    readable: tuple[str, ...]
    writable: tuple[str, ...]
    network: bool

    def open(self) -> int:
        """Return a descriptor of the ruleset, which the caller closes. Blocks for microseconds.

        Raises:
            OSError: The kernel refused.
        """
        version = supported_version()
        rights = _file_rights(version)
        handled = struct.pack(
            "=QQQ",
            rights,
            0 if self.network or version < _NETWORK_SINCE else _BIND_TCP | _CONNECT_TCP,
            _ABSTRACT_SOCKETS | _SIGNALS if version >= _SCOPES_SINCE else 0,
        )
        # An older kernel knows a shorter structure, and refuses one with more in it.
        ruleset = _call(_CREATE_RULESET, handled, len(handled[: _size_for(version)]), 0)
        try:
            _allow(ruleset, self.readable, _READ & rights)
            _allow(ruleset, self.writable, rights & ~_IOCTL_DEV)
            _allow(ruleset, _DEVICES, (_READ_FILE | _WRITE_FILE | _IOCTL_DEV) & rights)
        except BaseException:
            os.close(ruleset)
            raise
        return ruleset


def landlock_for(view: View) -> Landlock:
    """Return the rules for what a plugin is to see."""
    readable = (*SYSTEM, *(f"/etc/{name}" for name in ETC), *python_places(), "/proc")
    own = (view.package, view.secrets, *view.readable)
    return Landlock(
        readable=(*readable, *map(str, own)),
        writable=tuple(map(str, view.writable)),
        network=view.network,
    )


def find_obstacle(view: View) -> str:
    """Return why this machine cannot confine a plugin so; empty if it can."""
    version = supported_version()
    if not version:
        return "this kernel has no Landlock (Linux 5.13, and landlock among the modules in lsm=)"
    if not view.network and version < _NETWORK_SINCE:
        return (
            f"this kernel's Landlock (version {version}) cannot take the network away, which needs "
            "Linux 6.7; set sandbox_network = true, or use bwrap"
        )
    return ""


def supported_version() -> int:
    """Return the version of the kernel's interface; 0 if it has none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def _file_rights(version: int) -> int:
    return sum(right for since, right in _FILE_RIGHTS.items() if since <= version)


def _size_for(version: int) -> int:
    if version >= _SCOPES_SINCE:
        return 24
    return 16 if version >= _NETWORK_SINCE else 8


def _allow(ruleset: int, paths: Iterable[str], rights: int) -> None:
    """Allow what is beneath some paths; those that do not exist are left out."""
    for path in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            allowed = rights if Path(path).is_dir() else rights & _OF_FILES
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
        finally:
            os.close(place)


def _call(number: int, *arguments: bytes | int | None) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    plain = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = library.syscall(ctypes.c_long(number), *plain)
    if result < 0:
        code = ctypes.get_errno() or errno.EINVAL
        raise OSError(code, os.strerror(code), "landlock")
    return int(result)
