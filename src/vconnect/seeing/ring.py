"""The newest entries of the stream, shared by all who follow it."""

# Followers have a cursor and a filter, and no copy. So a follower that stalls costs a number, and
# one that comes back within the ring goes on where it was.

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

MAX_ENTRIES = 8192
MAX_BYTES = 4 * 1024 * 1024


class Entry(NamedTuple):
    """One entry.

    Attributes:
        seq: Its number; they are consecutive over all topics.
        topic: What it belongs to: ``plugins``, ``metrics``, ``passed``, ``trace`` and so on.
        kind: The name of its event.
        key: The plugin that it is about; of such entries with one topic the last one counts.
        data: Its data as JSON.
    """

    seq: int
    topic: str
    kind: str
    key: str
    data: bytes


class Ring:
    """Keeps the newest entries, limited by number and bytes.

    Args:
        max_entries: The maximum number of entries.
        max_bytes: The maximum size of their data.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._entries: deque[Entry] = deque()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self.last = 0
        self._news = asyncio.Event()

    def add(self, topic: str, kind: str, data: bytes, key: str = "") -> None:
        """Append an entry, and wake who waits for one."""
        self.last += 1
        self._entries.append(Entry(self.last, topic, kind, key, data))
        self._bytes += len(data)
        while len(self._entries) > self._max_entries or (
            self._bytes > self._max_bytes and len(self._entries) > 1
        ):
            self._bytes -= len(self._entries.popleft().data)
        self._news.set()

    def wake(self) -> None:
        """Wake who waits, although there is nothing new."""
        self._news.set()

    def has(self, seq: int) -> bool:
        """Return whether everything after an entry is still here."""
        return self.last - len(self._entries) <= seq <= self.last

    def after(self, seq: int) -> list[Entry]:
        """Return the entries after one, oldest first."""
        count = min(self.last - seq, len(self._entries))
        return [self._entries[at] for at in range(-count, 0)] if count > 0 else []

    async def wait(self, seq: int, timeout: float) -> bool:
        """Wait for an entry after one; return whether it came in time."""
        if self.last > seq:
            return True
        self._news.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return False
        return True
