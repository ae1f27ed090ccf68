"""Control groups (cgroup v2): each start of a plugin in one of its own, where the kernel lets us.

A session is left with ``setsid``; a cgroup is not left by any means that a plugin has. So its whole
tree can be told, ended and limited, whatever it does. The host manages a part of the hierarchy that
is *delegated* to it (``Documentation/admin-guide/cgroup-v2.rst``)::

    BASE/                       the host's own cgroup, or `cgroup_dir`
        vconnect-DIGEST/        one host: the digest names its plugins' socket
            example.3/          one start of one plugin, removed when nobody is left in it
            host/               the host, if it had to make room (see `_hand_on`)

Whoever holds the socket's lock is the only host of that name, so what it finds there is what a dead
one has left.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from ._spawn import can_spawn_into
from .config import Settings
from .errors import ConfigError
from .limits import TreeLimits
from .procfs import HAS_PROC
from .sessions import Stat, read_stat

_DIGEST_CHARS = 12
_PREFIX = "vconnect-"
_HOST = "host"
_PROBE = "probe"
_PATIENCE_S = 5.0
_POLL_S = 0.005


class Cgroup:
    """The cgroup of one start.

    Args:
        path: Its directory.
        memory_bytes: What the kernel holds its memory to, if anything.
    """

    def __init__(self, path: Path, memory_bytes: int | None = None) -> None:
        self.path = path
        self.memory_bytes = memory_bytes

    def living(self) -> list[Stat]:
        """List the processes in it, and in cgroups that they have made below it.

        Raises:
            OSError: It cannot be read, for want of a descriptor.
        """
        if "populated 0" in _read(self.path, "cgroup.events"):
            return []
        stats = [read_stat(pid) for place in _below(self.path) for pid in _pids(place)]
        return [stat for stat in stats if stat is not None and stat.is_alive]

    def kill(self) -> None:
        """Send SIGKILL to everybody in it at once; nobody is born meanwhile."""
        with suppress(OSError):
            if (self.path / "cgroup.kill").exists():
                _write(self.path, "cgroup.kill", "1")
                return
            for stat in self.living():  # Linux before 5.14; the caller comes again
                with suppress(ProcessLookupError):
                    os.kill(stat.pid, signal.SIGKILL)

    def memory_kills(self) -> int:
        """Count the processes that the kernel killed here for want of memory."""
        with suppress(OSError):
            for line in _read(self.path, "memory.events").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
        return 0

    def remove(self) -> None:
        """Remove it. Blocks; somebody may still be on the way out of the kernel."""
        until = time.monotonic() + _PATIENCE_S
        while self.path.exists():
            for place in reversed(list(_below(self.path))):
                with suppress(OSError):
                    place.rmdir()
            if time.monotonic() > until:
                return  # the next host sweeps it
            if self.path.exists():
                time.sleep(_POLL_S)

    def end(self) -> None:
        """Kill who is left in it and remove it. Blocks."""
        self.kill()
        self.remove()


class CgroupTree:
    """The cgroups of one host.

    Args:
        settings: ``cgroup``, ``cgroup_dir``, and the ``tree_limits`` of the plugins' options.
        socket_path: The plugins' socket, absolute; its directory exists.

    Attributes:
        path: The directory, once there is one.
        trouble: Why there is none.
    """

    def __init__(self, settings: Settings, socket_path: str) -> None:
        self.path: Path | None = None
        self.trouble = 'cgroup = "off"' if settings.cgroup == "off" else "not opened yet"
        self._settings = settings
        self._socket_path = Path(socket_path)
        # Why a controller cannot be had, for those that were asked for and cannot.
        self._missing: dict[str, str] = {}

    def open(self, guardian_pid: int | None = None) -> None:
        """Make the directory, sweep what a dead host left in it, and try it out. Blocks.

        Args:
            guardian_pid: Who may have to make room, besides this process.

        Raises:
            ConfigError: ``cgroup`` is ``on`` and there can be none.
        """
        mode, given = self._settings.cgroup, self._settings.cgroup_dir
        if mode == "off":
            return
        own = [pid for pid in (guardian_pid, os.getpid()) if pid is not None]
        try:
            base = _given(given) if given is not None else _delegated()
            path = base / f"{_PREFIX}{self._digest()}"
            path.mkdir(exist_ok=True)
            _sweep(path)
            _try(path)
            self._hand_on(base, path, own)
        except OSError as error:
            self.trouble = _in_words(error)
            if mode == "on":
                raise ConfigError(f'cgroup = "on": {self.trouble}') from None
        else:
            self.path, self.trouble = path, ""

    def trouble_with(self, limits: TreeLimits) -> str:
        """Say why a tree cannot be held to ``limits``, key first; empty if it can."""
        for key, controller in limits.controllers().items():
            if trouble := self.trouble or self._missing.get(controller):
                return f"tree_limits.{key}: there is no {controller} controller here: {trouble}"
        return ""

    def make(self, plugin: str, generation: int, limits: TreeLimits) -> Cgroup | None:
        """Make the cgroup of one start; ``None`` where this host has none.

        Raises:
            OSError: The kernel refuses; nothing is left behind.
        """
        if self.path is None:
            return None
        cgroup = Cgroup(self.path / f"{plugin}.{generation}", limits.memory_bytes)
        cgroup.path.mkdir()
        try:
            for file, value in limits.files():
                if file != "memory.swap.max" or (cgroup.path / file).exists():
                    _write(cgroup.path, file, value)
        except BaseException:
            cgroup.remove()
            raise
        return cgroup

    def close(self) -> None:
        """Remove the directory, unless the host itself is in there."""
        if self.path is not None:
            with suppress(OSError):
                self.path.rmdir()

    def _digest(self) -> str:
        """Name the socket, also where two containers call different ones by the same path."""
        place = self._socket_path.parent.stat()
        name = f"{place.st_dev}:{place.st_ino}:{self._socket_path.name}"
        return hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]

    def _hand_on(self, base: Path, path: Path, own: Collection[int]) -> None:
        """Have the kernel hand controllers on to the plugins' cgroups.

        A cgroup that hands any on must have no processes itself (but for the root of all), so the
        host moves out of its own into one of its own below, if nobody else is there.
        """
        for controller in self._needed():
            try:
                if controller not in _read(base, "cgroup.controllers").split():
                    raise OSError(f"{base} does not have it")
                try:
                    _write(base, "cgroup.subtree_control", f"+{controller}")
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    _move(base, path / _HOST, own)
                    _write(base, "cgroup.subtree_control", f"+{controller}")
                _write(path, "cgroup.subtree_control", f"+{controller}")
            except OSError as error:
                self._missing[controller] = _in_words(error)

    def _needed(self) -> list[str]:
        """List the controllers that some plugin's limits need."""
        options = self._settings.options.values()
        return sorted({name for one in options for name in one.tree_limits.controllers().values()})


# Where a host may work.


def _given(directory: str) -> Path:
    path = Path(directory).expanduser().absolute()
    if not (path / "cgroup.procs").exists():
        raise OSError(f"cgroup_dir: {path} is not a cgroup of version 2")
    return path


def _delegated() -> Path:
    """Find this process's own cgroup, if it is ours to divide.

    systemd marks what it has delegated with an extended attribute; a user's own service manager
    owns its directories. The root of a hierarchy is a container's, or nobody else manages it.
    """
    own = _own_path()
    path = _mounted(own)
    if not os.access(path, os.W_OK):
        raise OSError(f"{path} may not be written by this user")
    marked = any(_attribute(path, name) == b"1" for name in ("user.delegate", "trusted.delegate"))
    owned = os.geteuid() != 0 and path.stat().st_uid == os.geteuid()
    if not (marked or owned or own == "/"):
        raise OSError(
            f"{path} is not delegated to this host; with systemd, set Delegate=yes in its unit"
        )
    return path


def _own_path() -> str:
    """This process's path in the hierarchy of version 2."""
    if not HAS_PROC:
        raise OSError("only Linux has cgroups")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return _before_the_move(line[3:])
    raise OSError("this kernel has no cgroups of version 2")


def _before_the_move(path: str) -> str:
    """Where this process came from, if an earlier manager in it has made room for plugins."""
    base, _, below = path.rpartition(f"/{_PREFIX}")
    return (base or "/") if below.endswith(f"/{_HOST}") else path


def _mounted(own: str) -> Path:
    """Where that path is in the file system; see proc_pid_mountinfo(5)."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        root, point = fields.split()[3:5]
        if kind.startswith("cgroup2 ") and (own + "/").startswith(root.rstrip("/") + "/"):
            return Path(point, own[len(root.rstrip("/")) :].strip("/"))
    raise OSError("no cgroups of version 2 are mounted here")


def _attribute(path: Path, name: str) -> bytes:
    with suppress(OSError):
        return os.getxattr(path, name)
    return b""


# The files of a cgroup.


def _sweep(path: Path) -> None:
    for left in path.iterdir():
        if left.is_dir() and left.name != _HOST:
            Cgroup(left).end()


def _try(path: Path) -> None:
    """Have a process born in there: an old kernel cannot, and a container may forbid it."""
    probe = Cgroup(path / _PROBE)
    probe.path.mkdir()
    try:
        descriptor = open_directory(probe.path)
        try:
            number = can_spawn_into(descriptor)
        finally:
            os.close(descriptor)
    finally:
        probe.remove()
    if number:
        raise OSError(f"no process can be started inside {path}: {os.strerror(number).lower()}")


def open_directory(path: Path) -> int:
    """Open a cgroup's directory, to start a process in it."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _move(base: Path, leaf: Path, own: Collection[int]) -> None:
    """Move this host into a leaf below, so that ``base`` is empty."""
    strangers = sorted(set(_pids(base)) - set(own))
    if strangers:
        raise OSError(
            f"{base} holds other processes (such as PID {strangers[0]}), and a cgroup that hands "
            "controllers on may hold none; run the host as a service of its own with Delegate=yes, "
            "or name an empty cgroup with cgroup_dir"
        )
    leaf.mkdir(exist_ok=True)
    for pid in own:
        _write(leaf, "cgroup.procs", str(pid))


def _below(path: Path) -> Iterator[Path]:
    """List a cgroup and all below it, parents first."""
    for place, _, _ in os.walk(path):
        yield Path(place)


def _pids(path: Path) -> list[int]:
    try:
        return [int(line) for line in _read(path, "cgroup.procs").split()]
    except FileNotFoundError:
        return []  # removed while we looked


def _read(path: Path, name: str) -> str:
    return (path / name).read_text()


def _write(path: Path, name: str, value: str) -> None:
    (path / name).write_text(value)


def _in_words(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
