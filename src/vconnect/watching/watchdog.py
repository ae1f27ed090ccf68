"""Pings a native plugin, and reacts when replies are missing."""

# The idea: a ping is not a deadline. It is evaluated at the next tick, and a missed one only counts
# if the plugin answered nothing else either, and if the tick itself was on time. A host that was
# suspended for a minute must not kill its plugins for it.

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import Any

from vconnect.errors import PluginError
from vconnect.settings.parts import HeartbeatSettings
from vconnect.wire.messages import EVENT_NAMES, PING
from vconnect.wire.session import Session

# In intervals. The loop was delayed if a tick comes this late, and replies may wait unread.
_LATE = 0.5


class Watchdog:
    """Pings one session, and reports when the plugin seems to hang.

    A plugin that answers events is alive, even if it does not answer pings. Missed pings do not
    count while the host itself was suspended or too busy to read replies.

    Args:
        session: A native session.
        interval: Seconds between pings.
        misses: How many missed pings in a row mean that it hangs.
        on_alive: Called at each sign of life.
        on_hang: Called once, with the reason.
    """

    def __init__(
        self,
        session: Session,
        interval: float,
        misses: int,
        on_alive: Callable[[], None],
        on_hang: Callable[[str], None],
    ) -> None:
        self._session = session
        self._interval = interval
        self._limit = misses
        self._on_alive = on_alive
        self._on_hang = on_hang
        self._loop = asyncio.get_running_loop()
        self._missed = 0
        # Counts answers to any event, which prove as much as a reply to a ping.
        self._answered = session.answered
        self._pending: Future[Any] | None = None
        self._due = self._loop.time() + interval
        self._timer = self._loop.call_at(self._due, self._tick)

    def stop(self) -> None:
        """Stop pinging."""
        self._timer.cancel()
        if self._pending is not None:
            self._pending.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        was_held_up = now - self._due > self._interval * _LATE
        self._judge(was_held_up)
        if self._missed >= self._limit:
            self._on_hang(f"no answer to {self._missed} pings in a row, {self._interval:g} s apart")
            return
        self._ping()
        # Relative to now, not to the last due time: after a suspension, ticks must not pile up.
        self._due = now + self._interval
        self._timer = self._loop.call_at(self._due, self._tick)

    def _judge(self, was_held_up: bool) -> None:
        """Evaluate what has arrived since the last tick."""
        answered, self._answered = self._answered, self._session.answered
        pending, self._pending = self._pending, None
        if pending is None:
            return
        if pending.done() and not pending.cancelled() and pending.exception() is None:
            self._missed = 0
            self._on_alive()
        elif self._session.answered != answered or was_held_up:
            self._missed = 0
        else:
            self._missed += 1
        pending.cancel()

    def _ping(self) -> None:
        try:
            # It is evaluated at the next tick; the timeout only frees its slot in the lane.
            self._pending = self._session.request(
                EVENT_NAMES[PING], {}, self._interval * (self._limit + 1)
            )
        except PluginError:
            # The queue is full, which is not a sign of life either. A future that is never set
            # counts as missed.
            self._pending = self._loop.create_future()


class WatchKeeper:
    """Watches the session that serves, if it can be pinged.

    Args:
        settings: How often to ping, and how many pings may be missed.
        on_alive: See `Watchdog`.
        on_hang: See `Watchdog`.
    """

    def __init__(
        self,
        settings: HeartbeatSettings,
        on_alive: Callable[[], None],
        on_hang: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._on_alive = on_alive
        self._on_hang = on_hang
        self._watchdog: Watchdog | None = None

    def watch(self, session: Session) -> None:
        """Watch this session from now on. A classic session is watched by its lane."""
        self.rest()
        if session.is_native:
            self._watchdog = Watchdog(
                session,
                self._settings.heartbeat,
                self._settings.heartbeat_misses,
                self._on_alive,
                self._on_hang,
            )

    def rest(self) -> None:
        """Stop watching."""
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
