"""The newest records of a plugin, by sequence number."""

from __future__ import annotations

import sys
import time
from collections import deque
from itertools import islice

import msgspec

from vconnect.names import LOG_LEVELS, LogLevel

from .records import LogRecord

# Lines are mostly short; a plugin that prints lines of the maximum length keeps fewer of them.
RING_BYTES = 4 * 1024 * 1024


class LogPage(msgspec.Struct, frozen=True):
    """A page of records from the ring buffer.

    Attributes:
        records: The records, oldest first.
        next: The value of ``after`` that continues from here.
        dropped: How many records after ``after`` have already been discarded.
        began: When the numbering began, in Unix seconds. Each host starts again at 1, so a changed
            value means that old numbers are void.
    """

    records: tuple[LogRecord, ...]
    next: int
    dropped: int
    began: float


class LogRing:
    """Keeps the newest records, limited by number and by memory.

    Args:
        max_records: The maximum number of records.
        max_bytes: The maximum memory, approximately.
    """

    def __init__(self, max_records: int, max_bytes: int = RING_BYTES) -> None:
        self._records: deque[LogRecord] = deque()
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._bytes = 0
        self._began = time.time()
        self.last = 0  # the sequence number of the newest record

    def append(self, record: LogRecord) -> None:
        """Append a record whose number follows `last`."""
        self.last = record.seq
        self._records.append(record)
        # Counted as it changes, since summing up a thousand records for each line would be slow.
        self._bytes += size_of(record)
        while len(self._records) > self._max_records or self._bytes > self._max_bytes:
            self._bytes -= size_of(self._records.popleft())

    def newest(self, count: int, level: LogLevel = "trace") -> LogPage:
        """Return the newest ``count`` records of ``level`` or above."""
        wanted = (record for record in reversed(self._records) if _is_at_least(record, level))
        records = tuple(reversed(list(islice(wanted, count))))
        return LogPage(records, self.last, 0, self._began)

    def after(self, seq: int, count: int, level: LogLevel = "trace") -> LogPage:
        """Return the oldest ``count`` records after ``seq`` of ``level`` or above."""
        # Numbers are consecutive, so a position follows from a number without a search.
        first = self.last - len(self._records) + 1
        start = max(seq + 1, first)
        found: list[LogRecord] = []
        # Advances past records of lower levels too, so that the next page does not scan them again.
        upto = min(seq, self.last)
        for record in islice(self._records, start - first, None):
            upto = record.seq
            if _is_at_least(record, level):
                found.append(record)
                if len(found) == count:
                    break
        return LogPage(tuple(found), upto, max(first - seq - 1, 0), self._began)


def size_of(record: LogRecord) -> int:
    """Estimate the memory that a record takes, in bytes."""
    # About 200 bytes for the record itself, its numbers, and the string's and bytes' headers.
    return 200 + sys.getsizeof(record.text) + len(record.fields_json)


def _is_at_least(record: LogRecord, level: LogLevel) -> bool:
    return LOG_LEVELS[record.level] >= LOG_LEVELS[level]
