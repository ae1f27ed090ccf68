"""Changes of one plugin come one after the other."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """A lock for each plugin, which is there as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, plugin: str) -> asyncio.Lock:
        """Return the lock of a plugin (canonical name); hold it for a whole change."""
        return self._locks.setdefault(plugin, asyncio.Lock())
