"""The members of sessions, and what they use, from ``/proc``.

The state of a process, its session and its use are one line, ``/proc/PID/stat``. The second field
is the command in parentheses, which may itself hold spaces, parentheses and newlines.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

import msgspec

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_GONE = ("Z", "X")


class Stat(msgspec.Struct, frozen=True):
    """One process, from its ``stat`` line.

    Attributes:
        state: ``R``, ``S``, ``D``, ``T`` (stopped by a signal), ``t`` (by a debugger), ``Z``, ….
        group: Its process group.
        session: Its session.
        cpu_s: Processor seconds so far, without its children's.
        threads: How many.
        start_ticks: When it began, in clock ticks since boot: with the PID, its identity.
        rss_bytes: Memory that is resident, shared pages included.
    """

    pid: int
    state: str
    group: int
    session: int
    cpu_s: float
    threads: int
    start_ticks: int
    rss_bytes: int

    @property
    def is_alive(self) -> bool:
        """Whether it is more than a zombie."""
        return self.state not in _GONE


def parse_stat(line: bytes) -> Stat:
    """Read a ``stat`` line.

    >>> fields = b"1 1 7 0 -1 0 0 0 0 0 100 50 0 0 20 0 2 0 9000 0 3"
    >>> stat = parse_stat(b"42 (a) b (c)) S " + fields)
    >>> stat.pid, stat.state, stat.session, stat.threads, stat.start_ticks
    (42, 'S', 7, 2, 9000)
    """
    head, _, rest = line.rpartition(b")")
    fields = rest.split()  # the first one is the third of proc_pid_stat(5)
    return Stat(
        pid=int(head.partition(b" ")[0]),
        state=fields[0].decode(),
        group=int(fields[2]),
        session=int(fields[3]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def read_stat(pid: int) -> Stat | None:
    """Read a process's ``stat`` line; ``None`` if it has ended.

    Raises:
        OSError: It cannot be told, for want of a descriptor: that is no end.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - once per process and second
            return parse_stat(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def members(sessions: Collection[int]) -> Iterator[Stat]:
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
