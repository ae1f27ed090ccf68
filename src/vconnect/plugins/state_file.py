"""What survives the host: the processes that it started, and what the operator asked for."""

# There is one small JSON file for each plugin socket. It is written as a whole to a temporary file,
# synced and renamed, so that a kill at any moment leaves the old contents or the new. The methods
# of `HostState` are for the event loop, which never waits for the disk: changes are batched, and
# written by a thread.

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from vconnect.durable import open_regular, replace_file
from vconnect.errors import StateError
from vconnect.names import HOST_PID_VARIABLE
from vconnect.processes.procfs import (
    ProcessStat,
    boot_id,
    environment_holds,
    has_proc,
    processes,
    send,
    start_time,
)
from vconnect.threads import BackgroundWriter

from .status import Ordered

_FORMAT_VERSION = 1
STOPPED_BY_OPERATOR = "stopped by the operator"
DISABLED_BY_OPERATOR = "disabled by the operator"

_BROKEN_SUFFIX = ".broken"
_HASH_CHARS = 12
# How long a leftover process may take after SIGTERM before it gets SIGKILL, and how long after
# that before the host starts without it. Nothing announces the end of a process that is not our
# child, so it is polled.
_GRACE_S = 2.0
_POLL_S = 0.01
_PATIENCE_S = 10.0

_log = logging.getLogger(__name__)


class Identity(msgspec.Struct, frozen=True):
    """A process, identified by PID and start time; unique within one boot."""

    pid: int
    start: int

    def is_alive(self) -> bool:
        """Return whether exactly this process exists."""
        return start_time(self.pid) == self.start


class RecordedProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's process that the host has started, which leads its own session.

    Attributes:
        plugin: The plugin's canonical name.
        pid: Its PID.
        start: Its start time, see `vconnect.processes.procfs.start_time`.
        generation: The generation of the plugin.
    """

    plugin: str
    pid: int
    start: int
    generation: int


class GivenOrder(msgspec.Struct, frozen=True):
    """Who gave an order, and when in Unix seconds."""

    by: str
    at: float


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the file.

    Attributes:
        version: The version of the format.
        socket: The host's plugin socket; for humans, since the file's name only has a digest.
        boot: The ID of the boot in which PIDs and start times are valid.
        host: The host that wrote the file.
        instances: The running processes, as far as the host knows.
        desired: What the operator last asked for, by plugin.
        names: The plugin that has a name, by name.
        seen: The plugins that have been installed, in the order in which they were first seen.
        orders: Who gave the last order for a plugin, and when.
    """

    version: int
    socket: str
    boot: str
    host: Identity
    instances: tuple[RecordedProcess, ...] = ()
    desired: dict[str, Ordered] = {}
    names: dict[str, str] = {}
    seen: tuple[str, ...] = ()
    orders: dict[str, GivenOrder] = {}


# Decoded first, so that a newer format is recognized before its other fields are checked.
class _Versioned(msgspec.Struct):
    version: int


class StateFile:
    """The file of one plugin socket. Every method blocks.

    Args:
        directory: Its absolute directory, created with mode 0700 on the first write.
        socket_path: The absolute path of the plugin socket.
    """

    def __init__(self, directory: Path, socket_path: Path) -> None:
        digest = hashlib.sha256(os.fsencode(socket_path)).hexdigest()[:_HASH_CHARS]
        self.directory = directory
        self.path = self.directory / f"{socket_path.name}-{digest}.json"

    def read(self) -> Record | None:
        """Return the contents, or ``None`` if the file is missing or cannot be read.

        A corrupt file is renamed to ``….broken``, so that it can be inspected.

        Raises:
            StateError: The file was written by a newer vconnect.
        """
        try:
            data = self._read_own()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.error("cannot read state file %s: %s", self.path, error.strerror)
            return None
        try:
            version = msgspec.json.decode(data, type=_Versioned).version
            if version <= _FORMAT_VERSION:
                return msgspec.json.decode(data, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._set_aside(error)
            return None
        raise StateError(
            f"state file {self.path} has format version {version}; this vconnect supports "
            f"at most {_FORMAT_VERSION}; run the newer vconnect, or move the file away"
        )

    def write(self, record: Record) -> None:
        """Replace the contents with ``record``.

        Raises:
            OSError: Writing failed; the old contents are unchanged.
        """
        data = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
        replace_file(self.path, data)

    def _read_own(self) -> bytes:
        """Read the file if it belongs to us, because it decides which processes are ended."""
        with open_regular(self.path, os.O_NOFOLLOW) as file:
            owner = os.fstat(file.fileno()).st_uid
            # Otherwise another user could make this host kill processes of their choice.
            if owner != os.geteuid():
                raise PermissionError(errno.EPERM, f"it belongs to user {owner}")
            return file.read()

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(self.path.name + _BROKEN_SUFFIX)
        _log.error("state file %s is corrupt (%s); moved to %s", self.path, error, aside)
        try:
            self.path.replace(aside)
        except OSError as refusal:
            _log.error("cannot rename state file %s: %s", self.path, refusal)


class HostState:
    """What a host remembers beyond its own end.

    Args:
        directory: The directory of the file.
        socket_path: The absolute path of the plugin socket.

    Attributes:
        names: The plugin that has a name, by name, as last decided.
        seen: The installed plugins, in the order in which they were first seen.
    """

    def __init__(self, directory: Path, socket_path: Path) -> None:
        self._file = StateFile(directory, socket_path)
        self._socket = str(socket_path)
        self._boot = boot_id()
        self._host = Identity(os.getpid(), start_time(os.getpid()) or 0)
        self._instances: dict[int, RecordedProcess] = {}  # by PID
        self._desired: dict[str, Ordered] = {}
        self.names: dict[str, str] = {}
        self.seen: list[str] = []
        self.orders: dict[str, GivenOrder] = {}
        self._writer = BackgroundWriter(
            f"state file {self._file.path}",
            self._record,
            self._file.write,
            "starts and stops by the operator are forgotten at the host's end",
        )

    async def open(self) -> None:
        """Read what an earlier host left, and end its processes that are still running.

        The caller must hold the socket's lock, so that the earlier host is certainly dead.

        Raises:
            StateError: The file was written by a newer vconnect.
        """
        record = self._file.read()
        if record is None:
            return
        self._desired = dict(record.desired)
        self.names = dict(record.names)
        self.seen = list(record.seen)
        self.orders = dict(record.orders)
        # After a reboot the same PID and start time may belong to any process.
        if record.boot == self._boot:
            await asyncio.gather(*(_end(instance, record.host) for instance in record.instances))
        # The processes are gone now, and the next host must not look for them.
        if record.instances:
            self._writer.changed()

    async def flush(self) -> None:
        """Wait until all changes so far are on disk, or writing them has failed."""
        await self._writer.flush()

    def wants_stopped(self, plugin: str) -> bool:
        """Return whether the operator has stopped or disabled the plugin."""
        return self._desired.get(plugin) in ("stopped", "disabled")

    def is_disabled(self, plugin: str) -> bool:
        """Return whether the operator has disabled the plugin."""
        return self._desired.get(plugin) == "disabled"

    def want(self, plugin: str, desired: Ordered, by: str = "") -> None:
        """Record what the operator asks for, and who that is."""
        # Starting what is wanted already must not cost a write.
        if self._desired.get(plugin) != desired:
            self._desired[plugin] = desired
            self.orders[plugin] = GivenOrder(by, time.time())
            self._writer.changed()

    def forget(self, plugin: str) -> None:
        """Drop what was asked for a plugin that is removed."""
        self.orders.pop(plugin, None)
        if self._desired.pop(plugin, None) is not None:
            self._writer.changed()

    def name(self, owners: dict[str, str]) -> None:
        """Record which plugin has which name."""
        if owners != self.names:
            self.names = owners
            self._writer.changed()

    def see(self, plugins: Iterable[str]) -> None:
        """Record which plugins are installed: those that were there before keep their rank."""
        there = set(plugins)
        # One that is gone and comes back is new.
        seen = [name for name in self.seen if name in there]
        seen += sorted(there - set(seen))
        if seen != self.seen:
            self.seen = seen
            self._writer.changed()

    def started(self, plugin: str, pid: int, generation: int) -> None:
        """Record a process. Call it before the process can have been reaped."""
        try:
            start = start_time(pid)
        except OSError as error:
            _log.warning(
                "plugin %s: cannot record PID %d (%s); if the host is killed, it may keep running",
                plugin,
                pid,
                error.strerror,
            )
            return
        if start is not None:
            self._instances[pid] = RecordedProcess(
                plugin=plugin, pid=pid, start=start, generation=generation
            )
            self._writer.changed()

    def ended(self, pid: int) -> None:
        """Record that nothing of a process is left."""
        if self._instances.pop(pid, None) is not None:
            self._writer.changed()

    def _record(self) -> Record:
        return Record(
            version=_FORMAT_VERSION,
            socket=self._socket,
            boot=self._boot,
            host=self._host,
            instances=tuple(self._instances.values()),
            desired=dict(self._desired),
            names=dict(self.names),
            seen=tuple(self.seen),
            orders=dict(self.orders),
        )


def kill_recorded(directory: Path, socket_path: Path) -> None:
    """Kill the process groups that a host has recorded, for the end of that host. Blocks."""
    record = StateFile(directory, socket_path).read()
    if record is not None and record.boot == boot_id():
        for instance in record.instances:
            _Survivors(instance, record.host).send(signal.SIGKILL)


def survivors_of(directory: Path, socket_path: Path) -> list[tuple[str, int]]:
    """List the processes that a dead host has left, by the name of their plugin. Blocks."""
    record = StateFile(directory, socket_path).read()
    if record is None or record.boot != boot_id() or record.host.is_alive():
        return []
    return [
        (instance.plugin, pid)
        for instance in record.instances
        for pid in _Survivors(instance, record.host).pids()
    ]


class _Survivors:
    """What is left of the session that an instance led, after its host has died.

    The leader is identified by its start time. While it lives, its session is certainly its own.
    Without it, the session's ID may have been reused, so only processes count that have the host's
    PID in their environment.
    """

    def __init__(self, instance: RecordedProcess, host: Identity) -> None:
        self._instance = instance
        self._leader = Identity(instance.pid, instance.start)
        self._mark = f"{HOST_PID_VARIABLE}={host.pid}".encode()

    def pids(self) -> list[int]:
        """List the living processes; without ``/proc``, only the leader."""
        if has_proc():
            return [stat.pid for stat in self._members()]
        return [self._leader.pid] if self._leader.is_alive() else []

    def send(self, number: signal.Signals) -> None:
        """Send a signal to each process."""
        if has_proc():
            for stat in self._members():
                send(stat, number)
        elif self._leader.is_alive():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader.pid, number)

    def _members(self) -> list[ProcessStat]:
        began = start_time(self._leader.pid)
        if began is not None and began != self._leader.start:
            return []  # the PID now belongs to an unrelated process
        return [
            stat
            for stat in processes()
            if stat.session == self._leader.pid
            and stat.start >= self._leader.start
            and stat.is_alive
            and (began is not None or environment_holds(stat.pid, self._mark))
        ]


async def _end(instance: RecordedProcess, host: Identity) -> None:
    """End what is left of a dead host's instance: SIGTERM, a grace period, SIGKILL."""
    survivors = _Survivors(instance, host)
    pids = survivors.pids()
    if not pids:
        return
    _log.warning(
        "plugin %s: ending processes that a killed host (PID %d) left: PID %s",
        instance.plugin,
        host.pid,
        ", ".join(map(str, pids)),
    )
    survivors.send(signal.SIGTERM)
    began = time.monotonic()
    while pids := survivors.pids():
        waited = time.monotonic() - began
        if waited > _GRACE_S:
            # With every look, since new processes may have been forked meanwhile.
            survivors.send(signal.SIGKILL)
        if waited > _GRACE_S + _PATIENCE_S:
            _log.error("plugin %s: PIDs still alive after SIGKILL: %s", instance.plugin, pids)
            return
        await asyncio.sleep(_POLL_S)
