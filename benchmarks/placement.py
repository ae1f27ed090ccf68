"""Which cores a row runs on.

Left to itself the scheduler puts host and plugin on one core in one run and on two in the next,
and an answer from a sleeping core costs several times what all the rest does. So every row says
where it runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Placement(StrEnum):
    """Where host and plugins run."""

    ONE_CORE = "one core"  #: they take turns: what the work itself costs
    TWO_CORES = "two cores"  #: the host has one for itself: wake-ups between cores count too


#: macOS does not let a process choose.
CAN_PIN = hasattr(os, "sched_setaffinity")


class Cores:
    """The cores that we may use: the first is the host's, the others are the plugins'."""

    def __init__(self) -> None:
        self._all = os.sched_getaffinity(0) if CAN_PIN else set(range(os.cpu_count() or 1))
        self._host = {min(self._all)}

    def allow(self, placement: Placement) -> bool:
        """Tell whether there are enough for it."""
        return placement is Placement.ONE_CORE or len(self._all) > 1

    @contextmanager
    def hold_host(self) -> Iterator[None]:
        """Keep this process, and what it starts from now on, on the host's core."""
        _pin(0, self._host)
        try:
            yield
        finally:
            _pin(0, self._all)

    def put_plugin(self, pid: int, placement: Placement) -> None:
        """Put a plugin on the host's core, or on any of the others."""
        _pin(pid, self._host if placement is Placement.ONE_CORE else self._all - self._host)


def _pin(pid: int, cores: set[int]) -> None:
    if CAN_PIN:
        os.sched_setaffinity(pid, cores)
