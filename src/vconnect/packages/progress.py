"""How far a download is, in steps for those who watch it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

from .source import Progress

# The rate is that of the last seconds: a mean over everything would hide that a download stalls.
_WINDOW_S = 5.0


class Step(msgspec.Struct, frozen=True):
    """How far a download is.

    Attributes:
        source: The source, without credentials and query.
        bytes: The bytes so far, with those of an interrupted download that is continued.
        total: The bytes of the whole package; ``None`` if the server does not say.
        rate: Bytes per second, of late.
    """

    source: str
    bytes: int
    total: int | None
    rate: float


#: Called with each step.
Report = Callable[[Step], None]


def metered(source: str, report: Report, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Return a function for the progress of one download, which reports it with the rate.

    Args:
        source: The source as it is shown.
        report: Called with each step.
        clock: Returns the time in seconds.
    """
    # The first one is where it began, which need not be the first byte.
    seen: deque[tuple[float, int]] = deque()

    def progress(done: int, total: int | None) -> None:
        now = clock()
        if seen and done < seen[-1][1]:
            seen.clear()  # it begins anew
        seen.append((now, done))
        while len(seen) > 2 and now - seen[0][0] > _WINDOW_S:
            seen.popleft()
        began, before = seen[0]
        rate = (done - before) / (now - began) if now > began else 0.0
        report(Step(source, done, total, round(rate, 1)))

    return progress
