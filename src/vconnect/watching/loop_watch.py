"""Watches the event loop of the host itself: what holds it, all plugins wait for."""

# What a plugin makes the host do is bounded, see docs/wire.md; this notices what is not. Who held
# the loop is known where the work is done: a lane measures each read, and each call of a plugin is
# measured while it is served. Many short pieces of work in a row can hold the loop too. Whose they
# were is known from what each plugin was charged since the last tick. The rest is blamed on the
# application or the machine.

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import Substate

HELD_S = 0.1
"""What holds the loop longer is told, in seconds."""

# A plugin that holds the loop so often within so many seconds is replaced.
_TOO_OFTEN = 10
_WITHIN_S = 60.0
# One line about each plugin, and one about the rest, in so many seconds; the others are counted.
_EVERY_S = 60.0
_TICK_S = 0.05
# A plugin that caused this part of a stall is blamed for all of it.
_SHARE = 0.5

_log = logging.getLogger(__name__)


class Condemned(Protocol):
    """What the watch needs of a supervisor."""

    plugin: PluginRuntime

    def condemn(self, substate: Substate, reason: str) -> None:
        """End the plugin's process, and let the restart policy decide."""


class _Held:
    """What is remembered of one that has held the loop."""

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=_TOO_OFTEN)
        self.told_at = -_EVERY_S
        self.untold = 0


class LoopWatch:
    """Counts and tells what held the loop for longer than `HELD_S`.

    Attributes:
        stalls: How often that was so, whoever it was.
        longest_s: The longest time.

    Args:
        note_lag: Called with how late each tick was, in seconds.
    """

    def __init__(self, note_lag: Callable[[float], None] = lambda _: None) -> None:
        self._note_lag = note_lag
        self.stalls = 0
        self.longest_s = 0.0
        self._held: dict[str, _Held] = {}
        self._blamed_at = 0.0
        # Seconds of work since the last tick.
        self._work: dict[Condemned, float] = {}

    def blame(self, supervisor: Condemned, seconds: float, work: str, *, is_its_own: bool) -> None:
        """Record that the loop was held by work for a plugin.

        Args:
            supervisor: The plugin's.
            seconds: For how long.
            work: What was done, such as ``reading what it sent``.
            is_its_own: Whether the plugin is to blame, and not a function of the application.
        """
        plugin = supervisor.plugin
        plugin.counters.stalls += 1
        self._blamed_at = time.monotonic()
        held = self._note(plugin.name, seconds)
        if words := self._words(held, seconds, work):
            plugin.say("warn", words)
        if not is_its_own:
            return
        held.times.append(self._blamed_at)
        if len(held.times) == _TOO_OFTEN and held.times[-1] - held.times[0] < _WITHIN_S:
            held.times.clear()
            supervisor.condemn(
                Substate.WATCHDOG,
                f"it held the host's event loop {_TOO_OFTEN} times within {_WITHIN_S:g} s, at last "
                f"for {seconds * 1000:.0f} ms ({work})",
            )

    def note_work(self, supervisor: Condemned, seconds: float) -> None:
        """Record that a plugin was charged for work, in seconds."""
        self._work[supervisor] = self._work.get(supervisor, 0.0) + seconds

    async def run(self) -> None:
        """Find the cause of stalls that were not blamed on a plugin at once, until cancelled."""
        while True:
            self._work.clear()
            began = time.monotonic()
            await asyncio.sleep(_TICK_S)
            late = time.monotonic() - began - _TICK_S
            self._note_lag(late)
            if late >= HELD_S and self._blamed_at < began:
                self._find_cause(late)

    def _find_cause(self, seconds: float) -> None:
        """Blame the plugin that caused most of the work, or the application if none did."""
        busiest = max(self._work, key=self._work.__getitem__, default=None)
        if busiest is not None and self._work[busiest] >= _SHARE * seconds:
            work = "many pieces of work for its calls"
            self.blame(busiest, seconds, work, is_its_own=True)
            return
        held = self._note("", seconds)
        work = "work of the application, or a pause of the machine"
        if words := self._words(held, seconds, work):
            _log.warning("something %s", words)

    def _note(self, who: str, seconds: float) -> _Held:
        self.stalls += 1
        self.longest_s = max(self.longest_s, seconds)
        return self._held.setdefault(who, _Held())

    def _words(self, held: _Held, seconds: float, work: str) -> str:
        """Return the line for the log; empty if there was one a moment ago."""
        now = time.monotonic()
        if now - held.told_at < _EVERY_S:
            held.untold += 1
            return ""
        more = f", and {held.untold} times before" if held.untold else ""
        held.told_at, held.untold = now, 0
        return f"held the host's event loop for {seconds * 1000:.0f} ms: {work}{more}"
