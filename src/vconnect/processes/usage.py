"""Resource usage of the plugins' process trees, measured for all of them in one pass."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import msgspec

from .cgroup import Cgroup
from .procfs import ProcessStat, has_proc, members, open_files, read_stat


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The resource usage of one process tree.

    Attributes:
        cpu_percent: Percent of one processor since the previous sample; ``None`` in the first.
        rss_bytes: Resident memory. Pages that several of its processes share count repeatedly.
        processes: How many of its processes are alive.
        threads: How many threads these have together.
        open_files: How many descriptors they have open, without processes whose descriptors may
            not be counted; ``None`` if that is all of them.
        stopped: PIDs of processes that are stopped by a signal.
        is_led: Whether the leader is alive.
        cpu_s: Processor seconds since the previous sample.
    """

    cpu_percent: float | None
    rss_bytes: int
    processes: int
    threads: int
    open_files: int | None
    stopped: frozenset[int]
    is_led: bool
    cpu_s: float = 0.0


class Sampler:
    """Measures process trees repeatedly.

    Attributes:
        took_s: How long the last pass took, in seconds.
    """

    def __init__(self) -> None:
        self.took_s = 0.0
        self._measured_at = 0.0
        # Processor seconds at the last pass, by PID and start time because PIDs are reused.
        self._cpu_s: dict[tuple[int, int], float] = {}
        self._known: frozenset[int] = frozenset()

    def measure(
        self, sessions: Collection[int], cgroups: Mapping[int, Cgroup] | None = None
    ) -> dict[int, Usage]:
        """Measure the trees of ``sessions``; trees without living processes are left out.

        Without ``/proc`` the result is empty. Blocks for a look at every process of the machine.

        Args:
            sessions: The PIDs of the session leaders.
            cgroups: The cgroups of sessions that have one; all processes in it count as well.

        Raises:
            OSError: Measuring failed, for example without a free descriptor.
        """
        if not (has_proc() and sessions):
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
        # Replaced, not updated: what has ended must not stay in memory.
        before, self._cpu_s = self._cpu_s, {}
        usages = {}
        for session, tree in trees.items():
            spent = self._spent(tree, before)
            # A tree that was not in the last pass may have run since before it.
            percent = 100 * spent / elapsed if session in self._known else None
            usages[session] = _usage(session, tree, percent, spent)
        self._known = frozenset(trees)
        self.took_s = time.monotonic() - began
        return usages

    def _spent(self, tree: list[ProcessStat], before: dict[tuple[int, int], float]) -> float:
        """Sum the processor seconds since the last pass."""
        spent = 0.0
        for stat in tree:
            key = (stat.pid, stat.start)
            self._cpu_s[key] = stat.cpu_s
            spent += stat.cpu_s - before.get(key, 0.0)
        return spent


def _strays(cgroup: Cgroup, found: Collection[ProcessStat]) -> list[ProcessStat]:
    """Find the processes of a cgroup that are not in its session."""
    known = {stat.pid for stat in found}
    stats = [read_stat(pid) for pid in cgroup.pids() if pid not in known]
    return [stat for stat in stats if stat is not None and stat.is_alive]


def _usage(session: int, tree: list[ProcessStat], cpu_percent: float | None, cpu_s: float) -> Usage:
    counts = [count for stat in tree if (count := open_files(stat.pid)) is not None]
    return Usage(
        cpu_percent=None if cpu_percent is None else round(cpu_percent, 1),
        rss_bytes=sum(stat.rss_bytes for stat in tree),
        processes=len(tree),
        threads=sum(stat.threads for stat in tree),
        open_files=sum(counts) if counts else None,
        # `t` is a process under a debugger, which is stopped on purpose.
        stopped=frozenset(stat.pid for stat in tree if stat.state == "T"),
        is_led=any(stat.pid == session for stat in tree),
        cpu_s=cpu_s,
    )
