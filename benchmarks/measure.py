"""Rows and ways, and how ways are timed against each other on a noisy machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from .peers import Peers
from .placement import Placement

#: Does that many operations and returns the seconds that they took.
Burst = Callable[[int], float]

Role = Literal["floor", "rival", "ours"]


@dataclass(frozen=True)
class Way:
    """One manner of doing a row's work.

    Attributes:
        name: For the table.
        open: Sets everything up and yields the burst; leaving the context cleans up.
        role: What it is in its row; ratios are against the row's rival and its floor.
        needs: Programs of ours and Python modules without which there is no such way.
    """

    name: str
    open: Callable[[Peers], AbstractContextManager[Burst]]
    role: Role = "ours"
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Row:
    """One piece of work, and the ways of doing it.

    Attributes:
        group: What ``--only`` selects by.
        name: For the table.
        placement: Where host and plugins run.
        ways: At most one rival and one floor among them.
        step: Bursts do a multiple of this many operations.
    """

    group: str
    name: str
    placement: Placement
    ways: tuple[Way, ...]
    step: int = 1

    def __str__(self) -> str:
        return self.name


class Effort(NamedTuple):
    """How long to measure: bursts of so many seconds, so often."""

    rounds: int
    seconds: float


class Figure(NamedTuple):
    """What one way took.

    Attributes:
        seconds: For one operation, the median over all rounds.
        per_second: Operations.
        vs_rival: How many times faster than the row's rival; ``None`` where there is none.
        vs_floor: How many times the floor's time it takes; ``None`` where there is none.
    """

    group: str
    row: str
    way: str
    role: Role
    seconds: float
    per_second: float
    vs_rival: float | None
    vs_floor: float | None


def measure(row: Row, peers: Peers, effort: Effort) -> list[Figure]:
    """Time all ways of a row, one burst of each in turn, round after round.

    Whatever else the machine does meanwhile slows neighbors in time alike, so each ratio is taken
    within a round; the median over the rounds drops those in which something came between.
    """
    ways = [way for way in row.ways if not peers.lacks(way.needs)]
    with peers.placed(row.placement), ExitStack() as stack:
        bursts = [stack.enter_context(way.open(peers)) for way in ways]
        counts = [calibrate(burst, row.step, effort.seconds) for burst in bursts]
        rounds = [_round(bursts, counts, number) for number in range(effort.rounds)]
    return _figures(row, ways, rounds)


def calibrate(burst: Burst, step: int, seconds: float) -> int:
    """Find how many operations fill ``seconds``; it warms up what it times."""
    count = step
    while True:
        took = burst(count)
        if took >= seconds / 4:
            return max(step, round(count * seconds / took / step) * step)
        count *= 4


def _round(bursts: list[Burst], counts: list[int], number: int) -> list[float]:
    """Return the seconds per operation of every way; odd rounds go in the opposite order."""
    took = [0.0] * len(bursts)
    order = range(len(bursts))
    for index in reversed(order) if number % 2 else order:
        took[index] = bursts[index](counts[index]) / counts[index]
    return took


def _figures(row: Row, ways: list[Way], rounds: list[list[float]]) -> list[Figure]:
    roles = {way.role: index for index, way in enumerate(ways)}
    rival, floor = roles.get("rival"), roles.get("floor")
    figures = []
    for index, way in enumerate(ways):
        seconds = median(took[index] for took in rounds)
        vs_rival = vs_floor = None
        if rival is not None:
            vs_rival = median(took[rival] / took[index] for took in rounds)
        if floor is not None:
            vs_floor = median(took[index] / took[floor] for took in rounds)
        figures.append(
            Figure(
                row.group, row.name, way.name, way.role, seconds, 1 / seconds, vs_rival, vs_floor
            )
        )
    return figures
