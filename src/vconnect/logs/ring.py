"""The last records of a plugin, by number."""

from __future__ import annotations

import sys
import time
from collections import deque
from itertools import islice

import msgspec

from vconnect.names import LOG_LEVELS, LogLevel

from .records import LogRecord

# Lines are mostly short; a plugin whose lines are all of the longest kind gets fewer of them.
RING_BYTES = 4 * 1024 * 1024


class LogPage(msgspec.Struct, frozen=True):
    """An answer from the ring.

    Attributes:
        records: Oldest first.
        next: What to give as ``after`` to go on from here.
        dropped: How many records after ``after`` are gone already.
        began: When the numbers began, in Unix time: they begin anew with every host.
    """

    records: tuple[LogRecord, ...]
    next: int
    dropped: int
    began: float


class LogRing:
    """Keeps the last records: so many, and of so many bytes together.

    Args:
        max_records: How many.
        max_bytes: Of memory, about.
    """

    def __init__(self, max_records: int, max_bytes: int = RING_BYTES) -> None:
        self._records: deque[LogRecord] = deque()
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._bytes = 0
        self._began = time.time()
        self.last = 0  # the number of the newest record

    def append(self, record: LogRecord) -> None:
        """Add a record with the number after `last`."""
        self.last = record.seq
        self._records.append(record)
        self._bytes += size_of(record)
        while len(self._records) > self._max_records or self._bytes > self._max_bytes:
            self._bytes -= size_of(self._records.popleft())

    def newest(self, count: int, level: LogLevel = "trace") -> LogPage:
        """Return the newest ``count`` records of at least ``level``."""
        wanted = (record for record in reversed(self._records) if _is_at_least(record, level))
        records = tuple(reversed(list(islice(wanted, count))))
        return LogPage(records, self.last, 0, self._began)

    def after(self, seq: int, count: int, level: LogLevel = "trace") -> LogPage:
        """Return the oldest ``count`` records of at least ``level`` that came after ``seq``."""
        first = self.last - len(self._records) + 1
        start = max(seq + 1, first)
        found: list[LogRecord] = []
        upto = min(seq, self.last)
        for record in islice(self._records, start - first, None):
            upto = record.seq
            if _is_at_least(record, level):
                found.append(record)
                if len(found) == count:
                    break
        return LogPage(tuple(found), upto, max(first - seq - 1, 0), self._began)


def size_of(record: LogRecord) -> int:
    """Estimate the memory that a record takes."""
    return 200 + sys.getsizeof(record.text) + len(record.fields_json)


def _is_at_least(record: LogRecord, level: LogLevel) -> bool:
    return LOG_LEVELS[record.level] >= LOG_LEVELS[level]
