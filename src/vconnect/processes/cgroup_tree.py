"""The cgroups of a host: where it may make any, and what the plugins' limits need of the kernel.

A session is left with ``setsid``; a cgroup is left by nobody who does not set about it. So a
plugin's whole tree can be told, ended and limited. (A plugin that runs as the host's user *can*
write the files of its cgroup, as it can do all that the host can: what keeps it from that is the
sandbox.) The host manages a part of the hierarchy that is *delegated* to it::

    BASE/                       the host's own cgroup, or `cgroup_dir`
        vconnect-DIGEST/        one host: the digest names its plugins' socket
            example.3/          one start of one plugin, removed when nobody is left in it
            host/               the host, if it had to make room (see `_hand_on`)

A host holds a lock on its directory. So what is in there when it takes the lock is what a dead one
has left, and what nobody has locked is nobody's.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from vconnect.errors import ConfigError
from vconnect.settings.limits import TreeLimits
from vconnect.settings.parts import CgroupSettings

from ._spawn import can_spawn_into
from .cgroup import Cgroup
from .procfs import HAS_PROC

_PREFIX = "vconnect-"
_DIGEST_CHARS = 12
_HOST = "host"
_PROBE = "probe"
_PATIENCE_S = 5.0
_TRIES = 5
_TRY_AGAIN_S = 0.02
_OWN_LEAF = re.compile(rf"(.*)/{_PREFIX}[0-9a-f]{{{_DIGEST_CHARS}}}/{_HOST}")

_log = logging.getLogger(__name__)


class CgroupTree:
    """The cgroups of one host.

    Args:
        settings: Whether there are cgroups, and where.
        socket_path: The plugins' socket, absolute; its directory exists when `open` is called.
        needed: The controllers that plugins' limits need.

    Attributes:
        path: The directory, once there is one.
        problem: Why there is none.
    """

    def __init__(
        self, settings: CgroupSettings, socket_path: str, needed: Iterable[str] = ()
    ) -> None:
        self.path: Path | None = None
        self.problem = 'cgroup = "off"' if settings.cgroup == "off" else "not opened yet"
        self._settings = settings
        self._needed = tuple(needed)
        self._socket_path = Path(socket_path)
        self._lock = -1
        # Why a controller cannot be had, for those that were asked for and cannot.
        self._missing: dict[str, str] = {}

    def open(self, guardian_pid: int | None = None) -> None:
        """Make the directory, sweep what a dead host left in it, and try it out. Blocks.

        Args:
            guardian_pid: Who may have to make room, besides this process.

        Raises:
            ConfigError: ``cgroup`` is ``on`` and there can be none.
        """
        if self._settings.cgroup == "off":
            return
        own = [pid for pid in (guardian_pid, os.getpid()) if pid is not None]
        given = self._settings.cgroup_dir
        try:
            base = _given(given) if given is not None else delegated()
            self.path = base / f"{_PREFIX}{self._digest()}"
            self._prepare(Cgroup(base), Cgroup(self.path), own)
        except OSError as error:
            self.close()
            self.path, self.problem = None, _in_words(error)
            if self._settings.cgroup == "on":
                raise ConfigError(f'cgroup = "on": {self.problem}') from None
        else:
            self.problem = ""

    def problem_with(self, limits: TreeLimits) -> str:
        """Say why a tree cannot be held to ``limits``, key first; empty if it can."""
        for key, controller in limits.controllers().items():
            if problem := self.problem or self._missing.get(controller):
                return f"tree_limits.{key}: there is no {controller} controller here: {problem}"
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
                # A kernel may be built, or started, without accounting for swap.
                if file != "memory.swap.max" or (cgroup.path / file).exists():
                    cgroup.write(file, value)
        except BaseException:
            cgroup.remove()
            raise
        return cgroup

    def close(self) -> None:
        """Remove the directory, unless this process is in there, and unlock it."""
        if self._lock < 0 or self.path is None:
            return
        for place in (self.path / _HOST, self.path):
            with suppress(OSError):
                place.rmdir()
        os.close(self._lock)
        self._lock = -1

    def _digest(self) -> str:
        """Name the socket, also where two containers call different ones by the same path."""
        place = self._socket_path.parent.stat()
        name = f"{place.st_dev}:{place.st_ino}:{self._socket_path.name}"
        return hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]

    def _prepare(self, base: Cgroup, tree: Cgroup, own: Collection[int]) -> None:
        self._lock = _claim(tree)
        _sweep(tree)
        _sweep_beside(tree)
        self._hand_on(base, tree, own)
        _try(tree)

    def _hand_on(self, base: Cgroup, tree: Cgroup, own: Collection[int]) -> None:
        """Have the kernel hand controllers on to the plugins' cgroups.

        A cgroup that hands any on must have no processes itself, but for the root of all. So the
        host moves out of its own into one below, if nobody else is there. It must not wait for the
        kernel to refuse: ``cpu`` and ``pids`` are handed on from there all the same, and make all
        that is below a place for threads, in which no process can be started.
        """
        needed = self._needed
        try:
            if needed and not _is_root(base):
                _make_room(base, Cgroup(tree.path / _HOST), own)
        except OSError as error:
            self._missing = dict.fromkeys(needed, _in_words(error))
            return
        for controller in needed:
            try:
                if controller not in base.read("cgroup.controllers").split():
                    raise OSError(f"{base.path} does not have it")
                for place in (base, tree):
                    place.write("cgroup.subtree_control", f"+{controller}")
            except OSError as error:
                self._missing[controller] = _in_words(error)


# Where a host may work.


def _given(directory: str) -> Path:
    path = Path(directory)
    if not (path / "cgroup.controllers").exists():
        raise OSError(f"cgroup_dir: {path} is not a cgroup of version 2")
    return path


def delegated() -> Path:
    """Find this process's own cgroup, if it is ours to divide.

    systemd marks what it has delegated with an extended attribute. The root of a hierarchy has no
    such mark: it is a container's, or that of a machine whose cgroups nobody manages.

    Raises:
        OSError: It is not, in words.
    """
    own = _own_path()
    path = _mounted(own)
    if not (path / "cgroup.controllers").exists():
        raise OSError(f"{path} is not a cgroup of version 2; something else is mounted there")
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(f"{path} is mounted read-only")
    marked = any(_attribute(path, name) == b"1" for name in ("user.delegate", "trusted.delegate"))
    if not (marked or own == "/"):
        raise OSError(
            f"{path} is not delegated to this host; with systemd, set Delegate=yes in its unit"
        )
    if not os.access(path, os.W_OK):
        raise OSError(f"{path} may not be written by this user")
    return path


def _own_path() -> str:
    """This process's path in the hierarchy of version 2."""
    if not HAS_PROC:
        raise OSError("only Linux has cgroups")
    for line in os.fsdecode(Path("/proc/self/cgroup").read_bytes()).splitlines():
        if line.startswith("0::"):
            return _before_the_move(line[3:])
    raise OSError("this kernel has no cgroups of version 2")


def _before_the_move(path: str) -> str:
    """Where this process came from, if an earlier manager in it has made room for plugins."""
    moved = _OWN_LEAF.fullmatch(path)
    return (moved[1] or "/") if moved else path


def _mounted(own: str) -> Path:
    """Where that path is in the file system; see proc_pid_mountinfo(5)."""
    for line in os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines():
        fields, _, kind = line.partition(" - ")
        root, point = map(_unescaped, fields.split()[3:5])
        root = root.rstrip("/")
        if kind.startswith("cgroup2 ") and f"{own}/".startswith(f"{root}/"):
            return Path(point, own[len(root) :].strip("/"))
    raise OSError("no cgroups of version 2 are mounted here")


def _unescaped(field: str) -> str:
    r"""Read a field of mountinfo, in which a space is ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _attribute(path: Path, name: str) -> bytes:
    with suppress(OSError):
        return os.getxattr(path, name)
    return b""


# What a host does there.


def _claim(tree: Cgroup) -> int:
    """Make the directory and lock it; a host that starts beside may look at it meanwhile."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            tree.path.mkdir(exist_ok=True)
            lock = _locked(tree)
            if lock >= 0 and tree.path.exists():
                return lock
            if lock >= 0:
                os.close(lock)
        time.sleep(_TRY_AGAIN_S)
    raise OSError(f"{tree.path} is another host's, which is alive")


def _locked(cgroup: Cgroup) -> int:
    """Lock a directory for as long as the descriptor is open; -1 if another host has it."""
    descriptor = cgroup.open()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


def _sweep(tree: Cgroup) -> None:
    """End who is left of a dead host's plugins; its own cgroup goes if nobody is in there."""
    with suppress(OSError):
        (tree.path / _HOST).rmdir()
    left = [Cgroup(path) for path in tree.path.iterdir() if path.is_dir() and path.name != _HOST]
    for cgroup in left:
        if pids := [stat.pid for stat in cgroup.living()]:
            _log.warning(
                "ending what a killed host left in %s: PID %s",
                *(cgroup.path, ", ".join(map(str, pids))),
            )
        cgroup.kill()
    until = time.monotonic() + _PATIENCE_S
    for cgroup in left:
        if not cgroup.remove(until - time.monotonic()):
            raise OSError(f"{cgroup.path} holds processes that do not die of SIGKILL")


def _sweep_beside(tree: Cgroup) -> None:
    """Remove the empty directories of dead hosts whose sockets nobody serves any more."""
    for path in tree.path.parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            cgroup = Cgroup(path)
            if path == tree.path or (lock := _locked(cgroup)) < 0:
                continue
            try:
                if not cgroup.is_populated():
                    cgroup.remove()
            finally:
                os.close(lock)


def _is_root(cgroup: Cgroup) -> bool:
    """Tell whether it is the root of all: only that has no type."""
    return not (cgroup.path / "cgroup.type").exists()


def _make_room(base: Cgroup, leaf: Cgroup, own: Collection[int]) -> None:
    """Move this host into a leaf below, so that ``base`` is empty."""
    there = set(base.pids())
    if strangers := sorted(there - set(own)):
        raise OSError(
            f"{base.path} holds other processes (such as PID {strangers[0]}), and a cgroup that "
            "hands controllers on may hold none; run the host as a service of its own with "
            "Delegate=yes, or name an empty cgroup with cgroup_dir"
        )
    if there:
        leaf.path.mkdir(exist_ok=True)
    for pid in there:
        leaf.write("cgroup.procs", str(pid))


def _try(tree: Cgroup) -> None:
    """Have a process born in there: an old kernel cannot, and a container may forbid it."""
    probe = Cgroup(tree.path / _PROBE)
    probe.path.mkdir()
    try:
        descriptor = probe.open()
        try:
            number = can_spawn_into(descriptor)
        finally:
            os.close(descriptor)
    finally:
        probe.remove(_PATIENCE_S)
    if number:
        hints = {
            errno.ENOSYS: "this needs Linux 5.7 on x86-64 or arm64, and no filter on clone3",
            errno.EACCES: "unless it is root, the host must be below what is delegated to it",
        }
        words = hints.get(number, os.strerror(number).lower())
        raise OSError(f"no process can be started inside {tree.path}: {words}")


def _in_words(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
