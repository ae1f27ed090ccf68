"""What the kernel says of processes: parents, sessions, start times, what they use, which boot.

A PID alone names nobody for long: numbers are given out again. A PID with its start time does,
within one boot. Linux tells both in ``/proc``, macOS in ``libproc``; where neither answers,
nothing is known of a process, and so nobody is taken for it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

HAS_PROC = sys.platform == "linux"

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_GONE = ("Z", "X")
_PROC_PIDTBSDINFO = 3  # macOS: <sys/proc_info.h>
_BSDINFO_BYTES = 136
_BSDINFO_START = 120  # pbi_start_tvsec, then pbi_start_tvusec


class ProcessStat(NamedTuple):
    """One process, as it was when it was looked at.

    Attributes:
        state: ``R``, ``S``, ``D``, ``T`` (stopped by a signal), ``t`` (by a debugger), ``Z``, ….
        parent: The PID of its parent.
        group: Its process group.
        session: Its session.
        cpu_s: Processor seconds so far, without its children's.
        threads: The number of its threads.
        start: When it began, in clock ticks since the boot: with the PID, its identity.
        rss_bytes: Resident memory, shared pages included.
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
        """Whether it is more than a zombie."""
        return self.state not in _GONE


def parse_stat(line: bytes) -> ProcessStat:
    """Read a ``stat`` line.

    The second field is the command in parentheses, which may itself hold spaces, parentheses and
    newlines; the other fields follow the last parenthesis.

    >>> fields = b"1 1 7 0 -1 0 0 0 0 0 100 50 0 0 20 0 2 0 9000 0 3"
    >>> stat = parse_stat(b"42 (a) b (c)) S " + fields)
    >>> stat.pid, stat.state, stat.session, stat.threads, stat.start
    (42, 'S', 7, 2, 9000)
    """
    head, _, rest = line.rpartition(b")")
    fields = rest.split()  # the first one is the third of proc_pid_stat(5)
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
    """Look at one process; ``None`` if it has ended, or may not be looked at.

    Raises:
        OSError: Nobody can tell, for want of a descriptor or of memory: that is no end.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - once per process and second
            return parse_stat(file.read())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def processes() -> Iterator[ProcessStat]:
    """Look at every process that this one may see."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if entry.isdigit():
            stat = read_stat(int(entry))
            if stat is not None:
                yield stat


def members(sessions: Collection[int]) -> Iterator[ProcessStat]:
    """Find the living members of sessions, in one pass over all processes.

    Most processes of a machine are strangers. Asking the kernel for a process's session is one
    system call, while reading its ``stat`` is three and the line's text; so strangers cost little.

    Raises:
        OSError: ``/proc`` cannot be read, for want of a descriptor.
    """
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if not name.isdigit():
            continue
        pid = int(name)
        try:
            if os.getsid(pid) not in sessions:
                continue
        except OSError:
            continue  # it ended while we looked
        stat = read_stat(pid)
        if stat is not None and stat.is_alive and stat.session in sessions:
            yield stat


def open_files(pid: int) -> int | None:
    """Count a process's open descriptors; ``None`` where we may not, or it has ended."""
    path = f"/proc/{pid}/fd"
    try:
        # Since Linux 6.2 the directory's size is the count; before, it is 0.
        return os.stat(path).st_size or len(os.listdir(path))  # noqa: PTH116, PTH208
    except OSError:
        return None


def start_time(pid: int) -> int | None:
    """Tell when a process began, in a number that only means something by being equal.

    Returns:
        Clock ticks since the boot on Linux, microseconds of the calendar on macOS; ``None`` if
        there is no such process, or this system does not say.

    Raises:
        OSError: As `read_stat`.
    """
    if HAS_PROC:
        stat = read_stat(pid)
        return stat.start if stat is not None else None
    return _start_time_of_macos(pid) if sys.platform == "darwin" else None


def boot_id() -> str:
    """Name this boot; empty where start times are those of the calendar anyway."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def environment_holds(pid: int, entry: bytes) -> bool:
    """Tell whether a process was started with ``NAME=value`` in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return entry in file.read().split(b"\0")
    except OSError:
        return False


def send(stat: ProcessStat, number: signal.Signals) -> None:
    """Send a signal to this very process, not to one that has got its number since."""
    descriptor = -1
    try:
        descriptor = os.pidfd_open(stat.pid)
    except AttributeError:
        pass  # an old C library; the time between the look and the signal must do
    except OSError as error:  # ESRCH is the answer; else the kernel is old, or descriptors are out
        if error.errno == errno.ESRCH:
            return
    with suppress(OSError):  # it has ended by itself, or has become another user's
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
