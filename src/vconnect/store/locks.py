"""Locks between processes and hosts that share one ``plugin_dir``."""

# The order is: the lock of a plugin, then that of the store; no one waits for the lock of a plugin
# while holding the other. The kernel releases a lock when the process dies. Lock files are never
# removed, because a removed one could be locked by one process and made anew by another.

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from vconnect.durable import try_lock
from vconnect.errors import ConflictError, InstallError
from vconnect.processes.procfs import start_time

# A change of one plugin may wait for the disk; a second one waits this long. Seconds.
_TIMEOUT_S = 60.0
_POLL_S = 0.02

_log = logging.getLogger(__name__)


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lock of a plugin; for the messages of those who wait for it.

    Attributes:
        pid: The process.
        start: Its start time, since PIDs are reused.
        host: The host's plugin socket, or empty for a command.
        operation: What it does, such as "an installation".
        since: Since when, in Unix seconds.
    """

    pid: int
    start: int | None
    host: str
    operation: str
    since: float

    def __str__(self) -> str:
        host = f" by the host of {self.host}" if self.host else ""
        seconds = max(0.0, time.time() - self.since)
        return f"{self.operation}{host} (PID {self.pid}) is under way for {seconds:.0f} s"


@contextmanager
def locked(
    path: Path,
    stop: threading.Event | None = None,
    *,
    plugin: str = "",
    holder: str = "",
    patience: float | None = None,
) -> Iterator[None]:
    """Hold a lock file, which is created if it is missing. Blocks until it is free.

    Args:
        path: The file.
        stop: Set by another thread to cancel the waiting.
        plugin: The plugin, if it is the lock of one.
        holder: What to say of this process to others that wait: what it does.
        patience: How long to wait, in seconds; by default a minute.

    Raises:
        ConflictError: The lock was not released in time.
        InstallError: The waiting was cancelled.
        OSError: The file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        patience = _TIMEOUT_S if patience is None else patience
        _wait(descriptor, path, stop or threading.Event(), plugin, patience)
        if holder:
            _sign(descriptor, holder)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, stop: threading.Event, plugin: str, patience: float) -> None:
    # Polled, because a blocking flock() cannot be cancelled.
    deadline = time.monotonic() + patience
    while not try_lock(descriptor):
        if stop.wait(_POLL_S):
            raise InstallError(f"{path}: the installation was cancelled")
        if time.monotonic() > deadline:
            raise ConflictError(_why_locked(descriptor, path, plugin, patience))


def _why_locked(descriptor: int, path: Path, plugin: str, patience: float) -> str:
    with suppress(OSError, msgspec.DecodeError):
        holder = msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
        # A file that a dead process has signed says nothing of the one that holds it now.
        if start_time(holder.pid) == holder.start:
            return f"{plugin}: {holder}; try again later"
    return (
        f"{path}: another process has held this lock for {patience:.0f} s; "
        f"to see which, use: fuser {path}"
    )


def _sign(descriptor: int, holder: str) -> None:
    """Say who holds the lock. It holds without that too, as on a full disk."""
    operation, _, host = holder.partition("\n")
    pid = os.getpid()
    text = msgspec.json.encode(
        Holder(pid=pid, start=start_time(pid), host=host, operation=operation, since=time.time())
    )
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)
    except OSError as error:
        _log.debug("the holder of a lock is not written down: %s", error)
