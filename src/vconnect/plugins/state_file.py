"""What survives the host: which processes it started, and what the operator asked for.

One small JSON file for each plugin socket. It is written whole, to a temporary file that is
synced and renamed, so that a kill at any moment leaves the old contents or the new ones. All
methods of `HostState` belong to the event loop, which never waits for the disk: changes are
gathered, and a thread writes them.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from vconnect.durable import replace_file
from vconnect.errors import StateError
from vconnect.names import HOST_PID_VARIABLE
from vconnect.processes.procfs import (
    HAS_PROC,
    ProcessStat,
    boot_id,
    environment_holds,
    processes,
    send,
    start_time,
)
from vconnect.threads import BackgroundWriter

from .status import Desired

_FORMAT_VERSION = 1
STOPPED_BY_OPERATOR = "stopped by the operator"

_BROKEN_SUFFIX = ".broken"
_HASH_CHARS = 12
_GRACE_S = 2.0
_POLL_S = 0.01
_PATIENCE_S = 10.0

_log = logging.getLogger(__name__)


class Identity(msgspec.Struct, frozen=True):
    """A process that cannot be mistaken for another one with its number, within one boot."""

    pid: int
    start: int

    def is_alive(self) -> bool:
        """Whether this very process is there."""
        return start_time(self.pid) == self.start


class RecordedProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's process that the host has started: the leader of a session of its own."""

    plugin: str
    pid: int
    start: int
    generation: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds.

    Attributes:
        socket: Whose host this is; for people, since the file's name only has a digest of it.
        boot: The boot in which PIDs and start times mean something.
        host: The host that wrote it.
        instances: What runs, as far as it knows.
        desired: What the operator asked for last, by plugin; the others were never mentioned.
    """

    version: int
    socket: str
    boot: str
    host: Identity
    instances: tuple[RecordedProcess, ...] = ()
    desired: dict[str, Desired] = {}


class _Versioned(msgspec.Struct):
    version: int


class StateFile:
    """The file of one plugin socket. Every method blocks.

    Args:
        directory: Absolute; made with mode 0700 when something is written.
        socket_path: The plugins' socket, absolute.
    """

    def __init__(self, directory: Path, socket_path: Path) -> None:
        digest = hashlib.sha256(os.fsencode(socket_path)).hexdigest()[:_HASH_CHARS]
        self.directory = directory
        self.path = self.directory / f"{socket_path.name}-{digest}.json"

    def read(self) -> Record | None:
        """Return what it holds; ``None`` if there is nothing, or nothing that can be read.

        What makes no sense is renamed to ``….broken``, so that somebody may look at it.

        Raises:
            StateError: A newer vconnect wrote it.
        """
        try:
            data = self._read_own()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.error("state file %s cannot be read: %s", self.path, error.strerror)
            return None
        try:
            version = msgspec.json.decode(data, type=_Versioned).version
            if version <= _FORMAT_VERSION:
                return msgspec.json.decode(data, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._set_aside(error)
            return None
        raise StateError(
            f"state file {self.path} has format version {version}; this vconnect knows "
            f"{_FORMAT_VERSION} at most; run the newer vconnect, or move the file away"
        )

    def write(self, record: Record) -> None:
        """Put ``record`` in the place of what it held.

        Raises:
            OSError: The disk refuses; the old contents are there.
        """
        data = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
        replace_file(self.path, data)

    def _read_own(self) -> bytes:
        """Read it if it is ours: what it says decides which processes are ended."""
        with self.path.open("rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            if owner != os.geteuid():
                raise PermissionError(errno.EPERM, f"it belongs to user {owner}")
            return file.read()

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(self.path.name + _BROKEN_SUFFIX)
        _log.error("state file %s makes no sense (%s); kept as %s", self.path, error, aside)
        try:
            self.path.replace(aside)
        except OSError as refusal:
            _log.error("state file %s cannot be renamed: %s", self.path, refusal)


class HostState:
    """What a host remembers beyond its own end.

    Args:
        directory: Where its file is.
        socket_path: The plugins' socket, absolute.
    """

    def __init__(self, directory: Path, socket_path: Path) -> None:
        self._file = StateFile(directory, socket_path)
        self._socket = str(socket_path)
        self._boot = boot_id()
        self._host = Identity(os.getpid(), start_time(os.getpid()) or 0)
        self._instances: dict[int, RecordedProcess] = {}  # by PID
        self._desired: dict[str, Desired] = {}
        self._writer = BackgroundWriter(
            f"state file {self._file.path}",
            self._record,
            self._file.write,
            "what is asked for now is forgotten at the host's end",
        )

    async def open(self) -> None:
        """Learn what an earlier host left, and end its processes that are still there.

        The caller holds the socket's lock, so that host is dead.

        Raises:
            StateError: A newer vconnect wrote the file.
        """
        record = self._file.read()
        if record is None:
            return
        self._desired = dict(record.desired)
        if record.boot == self._boot:
            await asyncio.gather(*(_end(instance, record.host) for instance in record.instances))
        if record.instances:
            self._writer.changed()

    async def flush(self) -> None:
        """Return when everything so far is on the disk, or the disk has refused."""
        await self._writer.flush()

    def wants_stopped(self, plugin: str) -> bool:
        """Whether the operator has stopped the plugin and not started it since."""
        return self._desired.get(plugin) == "stopped"

    def want(self, plugin: str, desired: Desired) -> None:
        """Note what the operator asks for."""
        if self._desired.get(plugin) != desired:
            self._desired[plugin] = desired
            self._writer.changed()

    def started(self, plugin: str, pid: int, generation: int) -> None:
        """Note a process, while it cannot have been reaped yet."""
        try:
            start = start_time(pid)
        except OSError as error:
            _log.warning(
                "plugin %s: PID %d is not recorded (%s); if the host is killed, it may live on",
                *(plugin, pid, error.strerror),
            )
            return
        if start is not None:
            self._instances[pid] = RecordedProcess(
                plugin=plugin, pid=pid, start=start, generation=generation
            )
            self._writer.changed()

    def ended(self, pid: int) -> None:
        """Note that nothing of it is left."""
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
        )


def kill_recorded(directory: Path, socket_path: Path) -> None:
    """Kill the process groups that a host has recorded, at once; for the end of that host."""
    record = StateFile(directory, socket_path).read()
    if record is not None and record.boot == boot_id():
        for instance in record.instances:
            _Survivors(instance, record.host).send(signal.SIGKILL)


class _Survivors:
    """What is left of the session that an instance led, after its host has died.

    The leader is told by its start time; while it lives, its session is its own. Without it the
    number may have gone round, so then only those count that carry the host's mark.
    """

    def __init__(self, instance: RecordedProcess, host: Identity) -> None:
        self._instance = instance
        self._leader = Identity(instance.pid, instance.start)
        self._mark = f"{HOST_PID_VARIABLE}={host.pid}".encode()

    def pids(self) -> list[int]:
        """List those that live; where there is no ``/proc``, the leader for all of them."""
        if HAS_PROC:
            return [stat.pid for stat in self._members()]
        return [self._leader.pid] if self._leader.is_alive() else []

    def send(self, number: signal.Signals) -> None:
        """Send a signal to each."""
        if HAS_PROC:
            for stat in self._members():
                send(stat, number)
        elif self._leader.is_alive():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader.pid, number)

    def _members(self) -> list[ProcessStat]:
        began = start_time(self._leader.pid)
        if began is not None and began != self._leader.start:
            return []  # the number is a stranger's
        return [
            stat
            for stat in processes()
            if stat.session == self._leader.pid
            and stat.start >= self._leader.start
            and stat.is_alive
            and (began is not None or environment_holds(stat.pid, self._mark))
        ]


async def _end(instance: RecordedProcess, host: Identity) -> None:
    """End what is left of an instance whose host is dead: SIGTERM, a short while, SIGKILL."""
    survivors = _Survivors(instance, host)
    pids = survivors.pids()
    if not pids:
        return
    _log.warning(
        "plugin %s: ending what the killed host (PID %d) left of it: PID %s",
        *(instance.plugin, host.pid, ", ".join(map(str, pids))),
    )
    survivors.send(signal.SIGTERM)
    began = time.monotonic()
    while pids := survivors.pids():
        waited = time.monotonic() - began
        if waited > _GRACE_S:
            survivors.send(signal.SIGKILL)
        if waited > _GRACE_S + _PATIENCE_S:
            _log.error("plugin %s: these do not die of SIGKILL: %s", instance.plugin, pids)
            return
        await asyncio.sleep(_POLL_S)
