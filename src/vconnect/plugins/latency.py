"""What the rows of events mean: outcomes, quantiles, and the labels of events."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate

from vconnect.errors import (
    PluginError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from vconnect.plain import Plain
from vconnect.wire._latency import EDGES_US


class Outcome(IntEnum):
    """What became of an event that was sent; the numbers are those of a row's counters."""

    OK = 0  #: answered well
    STOPPED = 1  #: answered well, and ended the chain
    CHANGED = 2  #: answered well, and replaced the payload
    ERROR = 3  #: answered with an error
    LATE = 4  #: not answered by the deadline
    LOST = 5  #: the connection ended before the answer
    CANCELLED = 6  #: the caller gave up
    BAD_ANSWER = 7  #: the answer cannot be read
    NOTIFIED = 8  #: sent without waiting for an answer


OUTCOME_NAMES = tuple(outcome.name.lower() for outcome in Outcome)
#: Those of a plugin that has done its work.
GOOD = (Outcome.OK, Outcome.STOPPED, Outcome.CHANGED)


def outcome_of(error: PluginError) -> Outcome:
    """Return what became of an event that was sent and failed with an error."""
    if isinstance(error, PluginTimeoutError):
        return Outcome.LATE
    if isinstance(error, PluginUnavailableError):
        return Outcome.LOST
    if isinstance(error, PluginReplyError) and error.code == "bad_answer":
        return Outcome.BAD_ANSWER
    return Outcome.ERROR


class Latency(Plain, frozen=True):
    """How long events took.

    Attributes:
        p50_s: The median in seconds.
        p99_s: The 99th percentile.
        count: Of how many events. Of less than 100, the percentile is close to the maximum.
    """

    p50_s: float
    p99_s: float
    count: int


def latency_of(cells: Sequence[int], longest_s: float | None = None) -> Latency | None:
    """Return the quantiles of a histogram; ``None`` if nothing was recorded.

    Args:
        cells: The count of each cell; see `EDGES_US`.
        longest_s: What none can exceed, such as the deadline, for the cell in which that lies.
    """
    count = sum(cells)
    if not count:
        return None
    p50, p99 = (_quantile(cells, count, share, longest_s) for share in (0.5, 0.99))
    return Latency(p50, p99, count)


def _quantile(cells: Sequence[int], count: int, share: float, longest_s: float | None) -> float:
    """Interpolate in the cell where the quantile lies."""
    sums = list(accumulate(cells))
    rank = share * count
    cell = min(bisect_left(sums, rank), len(cells) - 1)
    low = EDGES_US[cell - 1] if cell else 0
    high = EDGES_US[cell] if cell < len(EDGES_US) else 2 * low
    before = sums[cell - 1] if cell else 0
    part = (rank - before) / cells[cell] if cells[cell] else 1.0
    seconds = (low + part * (high - low)) / 1e6
    return seconds if longest_s is None else min(seconds, longest_s)


def added(rows: Sequence[Sequence[int]]) -> list[int]:
    """Add the cells of several rows."""
    return [sum(column) for column in zip(*rows, strict=True)] if rows else []


def family_of(event: str) -> str:
    """Return the first word of an event's name.

    >>> family_of("message.incoming")
    'message'
    """
    return event.partition(".")[0]
