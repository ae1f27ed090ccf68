"""What the kernel knows about processes: parent, session, start time, usage, and the boot ID."""

# A PID alone does not identify a process for long, because PIDs are reused. A PID with a start time
# does, within one boot. Linux has both in `/proc`, macOS in `libproc`. Where neither is available,
# no process can be identified, and so none is mistaken for another.

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from vconnect.logs.text import escape_controls

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_GONE = ("Z", "X")  # a zombie, and "should never be seen" between zombie and gone
_PROC_PIDTBSDINFO = 3  # macOS: <sys/proc_info.h>
# Offsets in `struct proc_bsdinfo`, which is part of the system's binary interface.
_BSDINFO_BYTES = 136
_BSDINFO_START = 120  # pbi_start_tvsec, then pbi_start_tvusec


@cache
def has_proc() -> bool:
    """Return whether there is a ``/proc`` that shows this process.

    A change root or a container may have none, or that of another PID namespace.
    """
    # Neither needs a descriptor, so the answer does not depend on how many are left.
    try:
        return os.readlink("/proc/self") == str(os.getpid()) and os.access(  # noqa: PTH115
            "/proc/self/stat", os.R_OK
        )
    except OSError:
        return False


class ProcessStat(NamedTuple):
    """A snapshot of one process.

    Attributes:
        pid: Its PID.
        state: ``R``, ``S``, ``D``, ``T`` (stopped by a signal), ``t`` (by a debugger), ``Z``, …;
            ``?`` if it may not be inspected, and then the rest is 0.
        parent: Its parent's PID.
        group: Its process group ID.
        session: Its session ID.
        cpu_s: Its processor time so far in seconds, without its children's.
        threads: How many threads it has.
        start: Its start time in clock ticks since the boot; identifies it together with the PID.
        rss_bytes: Its resident memory, including shared pages.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    cpu_s: float
    threads: int
    start: int
    rss_bytes: int

    @property
    def is_alive(self) -> bool:
        """Whether it is running, that is, not a zombie."""
        return self.state not in _GONE


def parse_stat(line: bytes) -> ProcessStat:
    """Parse a line of ``/proc/PID/stat``.

    The second field is the command in parentheses, which may itself contain spaces, parentheses
    and newlines. So the other fields are those after the last parenthesis.

    >>> fields = b"1 1 7 0 -1 0 0 0 0 0 100 50 0 0 20 0 2 0 9000 0 3"
    >>> stat = parse_stat(b"42 (a) b (c)) S " + fields)
    >>> stat.pid, stat.state, stat.session, stat.threads, stat.start
    (42, 'S', 7, 2, 9000)
    """
    head, _, rest = line.rpartition(b")")
    fields = rest.split()  # fields[0] is the third field of proc_pid_stat(5)
    return ProcessStat(
        pid=int(head.partition(b" ")[0]),
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        threads=int(fields[17]),
        start=int(fields[19]),
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def read_stat(pid: int) -> ProcessStat | None:
    """Inspect one process; return ``None`` if it has ended or may not be inspected.

    Raises:
        OSError: Descriptors or memory ran out, so it is unknown whether the process has ended.
    """
    try:
        return _read_stat(pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _read_stat(pid: int) -> ProcessStat:
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - once per process and second
        return parse_stat(file.read())


def processes() -> Iterator[ProcessStat]:
    """Inspect every process that this one may see."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if entry.isdigit():
            stat = read_stat(int(entry))
            if stat is not None:
                yield stat


def pids_of(session: int) -> Iterator[int]:
    """Find the processes of one session, zombies included, in one pass over all processes.

    Takes a system call for each process of the machine, and reads nothing of any.

    Raises:
        OSError: ``/proc`` cannot be read, for example without a free descriptor.
    """
    return (pid for pid, found in _sessions() if found == session)


def _sessions() -> Iterator[tuple[int, int]]:
    """Yield the PID and the session of every process."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if not name.isdigit():
            continue
        pid = int(name)
        with suppress(OSError):  # it ended while we looked
            yield pid, os.getsid(pid)


def living(pids: Iterable[int]) -> Iterator[ProcessStat]:
    """Inspect processes, without those that have ended or may not be inspected.

    Raises:
        OSError: See `read_stat`.
    """
    return (stat for pid in pids if (stat := read_stat(pid)) is not None and stat.is_alive)


def members(sessions: Collection[int]) -> Iterator[ProcessStat]:
    """Find the living members of sessions, in one pass over all processes.

    A member that may not be inspected (``hidepid=1``) counts as living, with the state ``?``.

    Most processes of a machine are unrelated. Getting a process's session is one system call, while
    reading its ``stat`` is three and parsing, so unrelated processes cost little.

    Raises:
        OSError: ``/proc`` cannot be read, for example without a free descriptor.
    """
    for pid, session in _sessions():
        if session not in sessions:
            continue
        # Compared again: the PID may have been reused between the two looks.
        stat = _described(pid)
        if stat is not None and stat.is_alive and stat.session in sessions:
            yield stat


def is_living(pid: int) -> bool:
    """Return whether a process is alive, that is, neither gone nor a zombie.

    Raises:
        OSError: See `read_stat`.
    """
    stat = _described(pid)
    return stat is not None and stat.is_alive


def _described(pid: int) -> ProcessStat | None:
    """Inspect a process, or say of one that may not be inspected what the system calls say."""
    try:
        return _read_stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        try:
            group, session = os.getpgid(pid), os.getsid(pid)
        except OSError:
            return None
        return ProcessStat(pid, "?", 0, group, session, 0.0, 0, 0, 0)


def open_files(pid: int) -> int | None:
    """Count a process's open descriptors; ``None`` if it has ended or may not be inspected."""
    path = f"/proc/{pid}/fd"
    try:
        # Since Linux 6.2 the directory's size is the count; before that it is 0.
        return os.stat(path).st_size or len(os.listdir(path))  # noqa: PTH116, PTH208
    except OSError:
        return None


def start_time(pid: int) -> int | None:
    """Return when a process started, as a number that is only good for comparison.

    Returns:
        Clock ticks since the boot on Linux, microseconds since the epoch on macOS; ``None`` if
        there is no such process, or this system does not provide it.

    Raises:
        OSError: See `read_stat`.
    """
    if has_proc():
        stat = read_stat(pid)
        return stat.start if stat is not None else None
    return _start_time_of_macos(pid) if sys.platform == "darwin" else None


def owner_of(pid: int) -> int | None:
    """Return the user whose rights a process has; ``None`` if that is unknown."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123
            fields = [line for line in file if line.startswith(b"Uid:")]
        return int(fields[0].split()[2])  # real, effective, saved, file system
    except (OSError, IndexError):
        return None


def command_name(pid: int) -> str:
    """Return a process's command name of at most 15 bytes; empty if it has ended."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:  # noqa: PTH123
            return escape_controls(file.read().decode("utf-8", "replace").rstrip("\n"))
    except OSError:
        return ""


def boot_id() -> str:
    """Return the ID of this boot; empty where start times are calendar times anyway."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def environment_holds(pid: int, entry: bytes) -> bool:
    """Return whether a process was started with ``NAME=value`` in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return entry in file.read().split(b"\0")
    except OSError:
        return False


def send(stat: ProcessStat, number: signal.Signals) -> None:
    """Send a signal to exactly this process, not to another one that has since got its PID."""
    descriptor = -1
    try:
        descriptor = os.pidfd_open(stat.pid)
    except AttributeError:
        pass  # an old C library; the gap between check and signal is accepted
    except OSError as error:  # ESRCH: it has ended; otherwise an old kernel, or no descriptors
        if error.errno == errno.ESRCH:
            return
    # The order makes this safe: the pidfd pins whichever process has the PID now, then the start
    # time shows whether that is the right one.
    with suppress(OSError):  # it has just ended, or now belongs to another user
        if start_time(stat.pid) != stat.start:
            pass
        elif descriptor >= 0:
            signal.pidfd_send_signal(descriptor, number)
        else:
            os.kill(stat.pid, number)
    if descriptor >= 0:
        os.close(descriptor)


def _start_time_of_macos(pid: int) -> int | None:
    import ctypes

    try:
        library = ctypes.CDLL("/usr/lib/libproc.dylib")
        info = ctypes.create_string_buffer(_BSDINFO_BYTES)
        got = library.proc_pidinfo(pid, _PROC_PIDTBSDINFO, ctypes.c_uint64(0), info, _BSDINFO_BYTES)
    except (OSError, AttributeError):
        return None
    if got != _BSDINFO_BYTES:
        return None
    seconds = int.from_bytes(info.raw[_BSDINFO_START : _BSDINFO_START + 8], sys.byteorder)
    micros = int.from_bytes(info.raw[_BSDINFO_START + 8 :][:8], sys.byteorder)
    return seconds * 1_000_000 + micros
