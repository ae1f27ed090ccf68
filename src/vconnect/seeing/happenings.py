"""What happened lately: the feed of the page, and what explains a change of state."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from vconnect.bounds import cut
from vconnect.names import LogLevel
from vconnect.plain import Plain

_KEPT = 200
_SHAPES = {"error": "error", "warn": "barred", "info": "running", "debug": "running"}


class Happening(Plain, frozen=True, kw_only=True):
    """Something that happened to a plugin or the host.

    Attributes:
        seq: Its number.
        time: When, in Unix seconds.
        plugin: The plugin; ``None`` for the host.
        shape: What is drawn beside it.
        text: What happened, in words.
    """

    seq: int
    time: float
    plugin: str | None
    shape: str
    text: str


class Happenings:
    """Keeps what happened lately."""

    def __init__(self) -> None:
        self._kept: deque[Happening] = deque(maxlen=_KEPT)
        self.seq = 0
        self.on_happening: Callable[[Happening], None] = lambda _: None

    def add(self, plugin: str | None, level: LogLevel, text: str) -> None:
        """Record what the host says about a plugin, or about itself."""
        self.seq += 1
        shape = _SHAPES.get(level, "running")
        happening = Happening(
            seq=self.seq, time=time.time(), plugin=plugin, shape=shape, text=cut(text)
        )
        self._kept.append(happening)
        self.on_happening(happening)

    def newest(self) -> list[Happening]:
        """Return what is kept, oldest first."""
        return list(self._kept)
