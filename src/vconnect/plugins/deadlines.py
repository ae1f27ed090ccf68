"""Events that a plugin did not answer in time: one line in the log for many of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from vconnect.errors import PluginError
from vconnect.names import LogLevel
from vconnect.settings.events import EventPolicy

#: Writes to the host's log and to the plugin's.
Say = Callable[[LogLevel, str], None]

# Seconds between two lines about one plugin. The first one is written at once.
_EVERY = 60.0
# Event names in a line; a plugin may miss hundreds of different ones.
_SHOWN_EVENTS = 5
# A deadline is a sum, and the difference of a sum is not exact. Seconds.
_EXACT = 1e-6


class MissedDeadlines:
    """Counts what a plugin did not answer in time, and tells it at most once a minute.

    It does nothing until the first deadline is missed. Call it in the event loop.

    Args:
        say: Writes a line.
        own_timeout: The timeout in the plugin's options, or ``None``.

    Attributes:
        own_timeout: The timeout in the plugin's options, or ``None``.
    """

    __slots__ = ("_counts", "_say", "_timer", "_why", "own_timeout")

    def __init__(self, say: Say, own_timeout: float | None) -> None:
        self._say = say
        self.own_timeout = own_timeout
        self._counts: Counter[str] = Counter()
        self._why = ""
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self, error: PluginError, event: str, policy: EventPolicy, limit: float, given: float
    ) -> None:
        """Count an event that was not answered in time, and say in its error what the limit was.

        Args:
            error: The error of the call.
            event: The event's name.
            policy: The event's policy.
            limit: The seconds that the settings give the plugin for the event.
            given: The seconds that it was given.
        """
        self._why = self._limit(policy, limit, given)
        error.explain(self._why)
        if self._timer is None:
            missed = f"{event} was not sent" if given <= 0 else f"no answer to {event} in time"
            self._say("warn", f"{missed}: it had {self._why}")
            self._rest()
        else:
            self._counts[event] += 1

    def _limit(self, policy: EventPolicy, limit: float, given: float) -> str:
        """Return the time that a plugin had, and which setting decided it."""
        if abs(given - limit) > _EXACT:
            key = "the caller (its timeout or its own deadline) or chain_timeout"
            return f"{max(0.0, round(given, 2)):g} s, from {key}"
        if limit == policy.timeout:
            key = "timeout in the event's table or event_timeout"
        elif limit == self.own_timeout:
            key = "timeout in its options"
        else:
            key = "timeout in its options for the event"
        return f"{limit:g} s, from {key}"

    def _rest(self) -> None:
        """Only count for a while."""
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._tell)

    def _tell(self) -> None:
        self._timer = None
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        events = [f"{event} ({count})" for event, count in counts.most_common(_SHOWN_EVENTS)]
        if len(counts) > _SHOWN_EVENTS:
            events.append(f"and {len(counts) - _SHOWN_EVENTS} others")
        self._say(
            "warn",
            f"no answer in time to {counts.total()} more events within {_EVERY:g} s: "
            f"{', '.join(events)}; the last had {self._why}",
        )
        self._rest()
