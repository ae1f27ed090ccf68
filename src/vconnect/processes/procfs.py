"""What the kernel says of processes: who their parents are, when they began, which boot this is.

A PID alone names nobody for long: numbers are given out again. A PID with its start time does,
within one boot. Linux tells both in ``/proc``, macOS in ``libproc``; where neither answers,
nothing is known of a process, and so nobody is taken for it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

HAS_PROC = sys.platform == "linux"

_GONE = (b"Z", b"X")
_PROC_PIDTBSDINFO = 3  # macOS: <sys/proc_info.h>
_BSDINFO_BYTES = 136
_BSDINFO_START = 120  # pbi_start_tvsec, then pbi_start_tvusec


class ProcessStat(NamedTuple):
    """One process, as it was when it was looked at.

    Attributes:
        start: Since the boot, in clock ticks (field 22 of ``/proc/PID/stat``).
        is_gone: Whether it has ended, and only waits for its parent to hear of it.
    """

    pid: int
    parent: int
    group: int
    session: int
    start: int
    is_gone: bool


def read_stat(pid: int) -> ProcessStat | None:
    """Look at one process; ``None`` if there is none, or no ``/proc``."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - thousands of times
            # The command, in parentheses, may hold anything; the fields follow the last one.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    state, parent, group, session = fields[:4]
    return ProcessStat(
        pid, int(parent), int(group), int(session), int(fields[19]), is_gone=state in _GONE
    )


def processes() -> Iterator[ProcessStat]:
    """Look at every process that this one may see."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if entry.isdigit():
            stat = read_stat(int(entry))
            if stat is not None:
                yield stat


def start_time(pid: int) -> int | None:
    """Tell when a process began, in a number that only means something by being equal.

    Returns:
        Clock ticks since the boot on Linux, microseconds of the calendar on macOS; ``None`` if
        there is no such process, or this system does not say.
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
