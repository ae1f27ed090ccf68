"""What each plugin's process tree uses, measured for all of them in one pass."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import msgspec

from .cgroup import Cgroup
from .procfs import HAS_PROC, ProcessStat, members, open_files, read_stat


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a process tree uses.

    Attributes:
        cpu_percent: Of one processor, since the sample before; ``None`` for the first sample.
        rss_bytes: Resident memory. Pages that two of its processes share count twice.
        processes: How many are alive.
        threads: Of all of them.
        open_files: Descriptors of all whose descriptors we may count; ``None`` if of none.
        stopped: PIDs of those that are stopped by a signal.
        is_led: Whether the leader is alive.
    """

    cpu_percent: float | None
    rss_bytes: int
    processes: int
    threads: int
    open_files: int | None
    stopped: frozenset[int]
    is_led: bool


class Sampler:
    """Measures process trees again and again.

    Attributes:
        took_s: How long the last pass took.
    """

    def __init__(self) -> None:
        self.took_s = 0.0
        self._measured_at = 0.0
        # Processor seconds at the last pass, by PID and start: a PID may come back.
        self._cpu_s: dict[tuple[int, int], float] = {}
        self._known: frozenset[int] = frozenset()

    def measure(
        self, sessions: Collection[int], cgroups: Mapping[int, Cgroup] | None = None
    ) -> dict[int, Usage]:
        """Measure the trees that ``sessions`` lead; one without living members is left out.

        Where there is no ``/proc`` nothing can be measured.

        Args:
            sessions: By their leaders' PIDs.
            cgroups: Where a session has one: whoever is in there is of its tree too.

        Raises:
            OSError: It cannot be measured now, for want of a descriptor.
        """
        if not (HAS_PROC and sessions):
            self._cpu_s, self._known = {}, frozenset()
            return {}
        began = time.monotonic()
        elapsed, self._measured_at = began - self._measured_at, began
        trees: dict[int, list[ProcessStat]] = {}
        for stat in members(frozenset(sessions)):
            trees.setdefault(stat.session, []).append(stat)
        for session, cgroup in (cgroups or {}).items():
            if strays := _strays(cgroup, trees.get(session, ())):
                trees.setdefault(session, []).extend(strays)
        before, self._cpu_s = self._cpu_s, {}
        usages = {}
        for session, tree in trees.items():
            spent = self._spent(tree, before)
            percent = 100 * spent / elapsed if session in self._known else None
            usages[session] = _usage(session, tree, percent)
        self._known = frozenset(trees)
        self.took_s = time.monotonic() - began
        return usages

    def _spent(self, tree: list[ProcessStat], before: dict[tuple[int, int], float]) -> float:
        """Sum up the processor seconds since the last pass."""
        spent = 0.0
        for stat in tree:
            key = (stat.pid, stat.start)
            self._cpu_s[key] = stat.cpu_s
            spent += stat.cpu_s - before.get(key, 0.0)
        return spent


def _strays(cgroup: Cgroup, found: Collection[ProcessStat]) -> list[ProcessStat]:
    """Find who is in a cgroup and not in its session."""
    known = {stat.pid for stat in found}
    stats = [read_stat(pid) for pid in cgroup.pids() if pid not in known]
    return [stat for stat in stats if stat is not None and stat.is_alive]


def _usage(session: int, tree: list[ProcessStat], cpu_percent: float | None) -> Usage:
    counts = [count for stat in tree if (count := open_files(stat.pid)) is not None]
    return Usage(
        cpu_percent=None if cpu_percent is None else round(cpu_percent, 1),
        rss_bytes=sum(stat.rss_bytes for stat in tree),
        processes=len(tree),
        threads=sum(stat.threads for stat in tree),
        open_files=sum(counts) if counts else None,
        stopped=frozenset(stat.pid for stat in tree if stat.state == "T"),
        is_led=any(stat.pid == session for stat in tree),
    )
