"""The cgroups of a host: where it may create any, and which controllers plugins' limits need.

A process leaves its session with ``setsid``, but it leaves its cgroup only on purpose. So a cgroup
lets the host find, end and limit a plugin's whole process tree. (A plugin that runs as the host's
user *can* write the files of its cgroup, as it can do all that the host can. Preventing that is the
job of the sandbox.) The host manages a part of the hierarchy that is *delegated* to it::

    BASE/                       the host's own cgroup, or `cgroup_dir`
        vconnect-DIGEST/        one host: the digest identifies its plugin socket
            example.3/          one start of one plugin, removed when it is empty
            host/               the host, if it had to make room (see `_hand_on`)
"""

# A host locks its directory. So whatever is in it when a host takes the lock was left by a dead
# host, and an unlocked directory belongs to no host.

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
from .procfs import has_proc

# 12 hexadecimal digits are 48 bits: enough to tell the sockets of one machine apart.
_PREFIX = "vconnect-"
_DIGEST_CHARS = 12
_HOST = "host"
_PROBE = "probe"
# How long processes of a dead host may take to die before this host refuses to start. Seconds.
_PATIENCE_S = 5.0
# A host that sweeps beside us holds our lock only while it looks (`_sweep_beside`).
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
        path: The host's directory, or ``None`` while it has none.
        problem: Why it has none; empty if it has one.
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
        # By controller, why it is not available; only controllers that some plugin needs.
        self._missing: dict[str, str] = {}

    def open(self, guardian_pid: int | None = None) -> None:
        """Create the directory, sweep what a dead host left in it, and test it. Blocks.

        Args:
            guardian_pid: A process that may have to move with this one, see `_hand_on`.

        Raises:
            ConfigError: ``cgroup`` is ``on``, and cgroups are not available.
        """
        if self._settings.cgroup == "off":
            return
        # The guardian is in the host's cgroup as well, and would keep it from being divided.
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
        """Return why ``limits`` cannot be enforced, beginning with the key; empty if they can."""
        for key, controller in limits.controllers().items():
            if problem := self.problem or self._missing.get(controller):
                return f"tree_limits.{key}: the {controller} controller is not available: {problem}"
        return ""

    def make(self, plugin: str, generation: int, limits: TreeLimits) -> Cgroup | None:
        """Create the cgroup of one start; return ``None`` if this host has no cgroups.

        Raises:
            OSError: The kernel refused; nothing is left behind.
        """
        if self.path is None:
            return None
        cgroup = Cgroup(self.path / f"{plugin}.{generation}", limits.memory_bytes)
        # Fails if it exists: a generation's number is used once, so that would be a bug.
        cgroup.path.mkdir()
        try:
            for file, value in limits.files():
                # A kernel may be built, or started, without accounting for swap.
                if file != "memory.swap.max" or (cgroup.path / file).exists():
                    cgroup.write(file, value)
        # A cgroup without its limits must not be used, and an empty one not be left behind.
        except BaseException:
            cgroup.remove()
            raise
        return cgroup

    def close(self) -> None:
        """Remove the directory, unless this process is in it, and unlock it."""
        if self._lock < 0 or self.path is None:
            return
        # rmdir fails while anything is inside, which is what keeps a directory in use.
        for place in (self.path / _HOST, self.path):
            with suppress(OSError):
                place.rmdir()
        os.close(self._lock)
        self._lock = -1

    def _digest(self) -> str:
        """Identify the socket, even if two containers use the same path for different sockets."""
        place = self._socket_path.parent.stat()
        # The directory's inode, because a path means different things in different mount
        # namespaces.
        name = f"{place.st_dev}:{place.st_ino}:{self._socket_path.name}"
        return hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]

    def _prepare(self, base: Cgroup, tree: Cgroup, own: Collection[int]) -> None:
        self._lock = _claim(tree)
        _sweep(tree)
        _sweep_beside(tree)
        self._hand_on(base, tree, own)
        _try(tree)

    def _hand_on(self, base: Cgroup, tree: Cgroup, own: Collection[int]) -> None:
        """Make the kernel enable controllers for the plugins' cgroups.

        Except for the root, a cgroup that enables controllers for its children must not contain
        processes itself. So the host moves into a child of its cgroup, if no other process is
        there. It must not rely on the kernel to refuse: ``cpu`` and ``pids`` can be enabled anyway,
        but then all cgroups below are threaded ones, in which no process can be started.
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
                    raise OSError(f"{base.path} does not have this controller")
                for place in (base, tree):
                    place.write("cgroup.subtree_control", f"+{controller}")
            except OSError as error:
                self._missing[controller] = _in_words(error)


# Finding the part of the hierarchy that the host may use.


def _given(directory: str) -> Path:
    path = Path(directory)
    if not (path / "cgroup.controllers").exists():
        raise OSError(f"cgroup_dir: {path} is not a cgroup v2 directory")
    return path


def delegated() -> Path:
    """Find this process's own cgroup, if it is delegated to this host.

    systemd marks what it has delegated with an extended attribute. The root of a hierarchy has no
    such mark: it is a container's root, or that of a machine whose cgroups are not managed.

    Raises:
        OSError: It is not delegated; the text says why.
    """
    own = _own_path()
    path = _mounted(own)
    if not (path / "cgroup.controllers").exists():
        raise OSError(f"{path} is not a cgroup v2 directory; something else is mounted there")
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(f"{path} is mounted read-only")
    # The first is for everyone; older systemd only sets the second, which needs privileges to read.
    marked = any(_attribute(path, name) == b"1" for name in ("user.delegate", "trusted.delegate"))
    if not (marked or own == "/"):
        raise OSError(
            f"{path} is not delegated to this host; with systemd, set Delegate=yes in its unit"
        )
    if not os.access(path, os.W_OK):
        raise OSError(f"{path} is not writable by this user")
    return path


def _own_path() -> str:
    """Return this process's path in the cgroup v2 hierarchy."""
    if not has_proc():
        raise OSError("cgroups require Linux")
    for line in os.fsdecode(Path("/proc/self/cgroup").read_bytes()).splitlines():
        if line.startswith("0::"):  # version 2; the others have a number and controllers
            return _before_the_move(line[3:])
    raise OSError("this kernel has no cgroup v2 hierarchy")


def _before_the_move(path: str) -> str:
    """Return the original path, if an earlier manager in this process made room for plugins."""
    moved = _OWN_LEAF.fullmatch(path)
    return (moved[1] or "/") if moved else path


def _mounted(own: str) -> Path:
    """Find that path in the file system; see proc_pid_mountinfo(5)."""
    for line in os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines():
        fields, _, kind = line.partition(" - ")
        root, point = map(_unescaped, fields.split()[3:5])
        root = root.rstrip("/")
        # A container may mount only a part of the hierarchy, whose root is then a longer path.
        if kind.startswith("cgroup2 ") and f"{own}/".startswith(f"{root}/"):
            return Path(point, own[len(root) :].strip("/"))
    raise OSError("no cgroup v2 hierarchy is mounted here")


def _unescaped(field: str) -> str:
    r"""Decode a field of mountinfo, in which a space is ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _attribute(path: Path, name: str) -> bytes:
    with suppress(OSError):
        return os.getxattr(path, name)
    return b""


# Claiming, sweeping and testing it.


def _claim(tree: Cgroup) -> int:
    """Create and lock the directory; retry while another starting host inspects it."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            tree.path.mkdir(exist_ok=True)
            lock = _locked(tree)
            # Between mkdir and lock, that other host may have removed it: the lock is then void.
            if lock >= 0 and tree.path.exists():
                return lock
            if lock >= 0:
                os.close(lock)
        time.sleep(_TRY_AGAIN_S)
    raise OSError(f"{tree.path} is in use by another running host")


def _locked(cgroup: Cgroup) -> int:
    """Lock a directory for as long as the descriptor is open; return -1 if another host has it."""
    descriptor = cgroup.open()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


def _sweep(tree: Cgroup) -> None:
    """End what is left of a dead host's plugins, and remove its own cgroup if that is empty."""
    with suppress(OSError):
        (tree.path / _HOST).rmdir()
    left = [Cgroup(path) for path in tree.path.iterdir() if path.is_dir() and path.name != _HOST]
    for cgroup in left:
        if pids := [stat.pid for stat in cgroup.living()]:
            _log.warning(
                "ending processes that a killed host left in %s: PID %s",
                cgroup.path,
                ", ".join(map(str, pids)),
            )
        cgroup.kill()
    # One deadline for all: they were killed together, so they die at about the same time.
    until = time.monotonic() + _PATIENCE_S
    for cgroup in left:
        if not cgroup.remove(until - time.monotonic()):
            raise OSError(f"{cgroup.path} contains processes that are still alive after SIGKILL")


def _sweep_beside(tree: Cgroup) -> None:
    """Remove the empty directories of dead hosts whose sockets have no host any more."""
    for path in tree.path.parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # tidying up; another host may be doing the same
            cgroup = Cgroup(path)
            # Locked ones belong to hosts that are alive.
            if path == tree.path or (lock := _locked(cgroup)) < 0:
                continue
            try:
                if not cgroup.is_populated():
                    cgroup.remove()
            finally:
                os.close(lock)


def _is_root(cgroup: Cgroup) -> bool:
    """Return whether it is the root of the whole hierarchy, the only cgroup without a type."""
    return not (cgroup.path / "cgroup.type").exists()


def _make_room(base: Cgroup, leaf: Cgroup, own: Collection[int]) -> None:
    """Move this host into a child cgroup, so that ``base`` is empty."""
    there = set(base.pids())
    if strangers := sorted(there - set(own)):
        raise OSError(
            f"{base.path} contains other processes (such as PID {strangers[0]}), and a cgroup that "
            "enables controllers for its children must contain none; run the host as its own "
            "service with Delegate=yes, or set cgroup_dir to an empty cgroup"
        )
    if there:
        leaf.path.mkdir(exist_ok=True)
    for pid in there:
        leaf.write("cgroup.procs", str(pid))


def _try(tree: Cgroup) -> None:
    """Start a process in a cgroup below: an old kernel cannot, and a container may forbid it."""
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
            errno.ENOSYS: "this requires Linux 5.7 on x86-64 or arm64, without a filter on clone3",
            errno.EACCES: "unless it runs as root, the host must be in the delegated part itself",
        }
        words = hints.get(number, os.strerror(number).lower())
        raise OSError(f"cannot start a process inside {tree.path}: {words}")


def _in_words(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
