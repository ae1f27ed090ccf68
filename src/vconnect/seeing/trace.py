"""Traces: what became of single events, for somebody who watches them pass."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from vconnect.names import capability_matches
from vconnect.plain import Plain

# So many traces are handed out in a second. Beyond that the ordinary ones are only counted.
_PER_SECOND = 200
_KEPT = 200
# While somebody has asked for payloads, so many are kept, up to so many bytes each.
_PAYLOADS = 64
_PAYLOAD_BYTES = 16 * 1024


class Hop(Plain, frozen=True, kw_only=True):
    """One plugin's part in an event.

    Attributes:
        plugin: The plugin.
        outcome: ``ok``, ``stopped``, ``changed``, ``error``, ``late``, ``lost`` or ``passed_over``.
        reason: Why it failed or was passed over; empty if it did not.
        duration_s: How long it took.
        changed: The fields of the payload that it has changed.
        is_default: Whether the configured default answer replaced its own.
    """

    plugin: str
    outcome: str
    reason: str
    duration_s: float
    changed: tuple[str, ...] = ()
    is_default: bool = False


class Trace(Plain, frozen=True, kw_only=True):
    """What became of one event.

    Attributes:
        id: Its number.
        time: When it came, in Unix seconds.
        event: Its name.
        mode: ``chain``, ``broadcast``, ``request`` or ``notify``.
        outcome: ``passed``, ``refused``, ``stopped`` or ``failed``.
        duration_s: How long it took.
        hops: Each plugin's part.
        payload: Its payload as JSON text, if somebody has asked for payloads.
    """

    id: int
    time: float
    event: str
    mode: str
    outcome: str
    duration_s: float
    hops: tuple[Hop, ...]
    payload: str | None = None

    @property
    def is_notable(self) -> bool:
        """Whether something went wrong."""
        return self.outcome in ("refused", "failed") or any(
            hop.outcome in ("error", "late", "lost", "passed_over") for hop in self.hops
        )


class Traces:
    """Keeps the newest traces, and hands them to whoever watches.

    Args:
        slow_s: Returns from how many seconds on an event is slow.
        switch: Called with whether anybody watches; only then are traces made.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        slow_s: Callable[[], float],
        switch: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slow_s = slow_s
        self._switch = switch
        self._clock = clock
        self._kept: deque[Trace] = deque(maxlen=_KEPT)
        self._watchers: set[Callable[[Trace], None]] = set()
        self._number = 0
        self._second = 0.0
        self._in_second = 0
        self.not_shown = 0
        self._is_sample = False
        self._payloads_until = 0.0
        self._payloads_left = 0

    @property
    def slow_s(self) -> float:
        """From how many seconds on an event is slow."""
        return self._slow_s()

    def watch(self, watcher: Callable[[Trace], None]) -> Callable[[], None]:
        """Hand each trace to a watcher; return what ends that."""
        self._watchers.add(watcher)
        if len(self._watchers) == 1:
            self._switch(True)

        def leave() -> None:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._switch(False)

        return leave

    def keep_payloads(self, seconds: float) -> float:
        """Keep payloads for some seconds; return until when, in Unix seconds."""
        self._payloads_until = self._clock() + seconds
        self._payloads_left = _PAYLOADS
        return time.time() + seconds

    def add(
        self,
        event: str,
        mode: str,
        outcome: str,
        duration_s: float,
        hops: tuple[Hop, ...],
        payload: Any,
    ) -> None:
        """Record an event."""
        self._number += 1
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._in_second = now, 0
        trace = Trace(
            id=self._number,
            time=time.time() - duration_s,
            event=event,
            mode=mode,
            outcome=outcome,
            duration_s=duration_s,
            hops=hops,
        )
        is_ordinary = not trace.is_notable and duration_s < self._slow_s()
        # Half of the places are for what went wrong.
        limit = _PER_SECOND // 2 if is_ordinary else _PER_SECOND
        if self._in_second >= limit:
            self.not_shown += 1
            self.note_sampling()
            return
        self._in_second += 1
        if now < self._payloads_until and self._payloads_left > 0:
            trace = self._with_payload(trace, payload)
        self._kept.append(trace)
        for watcher in tuple(self._watchers):
            watcher(trace)

    def note_sampling(self) -> None:
        """Record that events pass of which no trace is made."""
        self._is_sample = True

    def take_sampling(self) -> bool:
        """Return whether that was so since the last time."""
        was, self._is_sample = self._is_sample, False
        return was

    def newest(self, count: int) -> list[Trace]:
        """Return the newest traces, oldest first."""
        return list(self._kept)[-count:]

    def _with_payload(self, trace: Trace, payload: Any) -> Trace:
        self._payloads_left -= 1
        try:
            encoded = orjson.dumps(payload)
        except (TypeError, RecursionError):
            return trace
        text = encoded[:_PAYLOAD_BYTES].decode("utf-8", "replace")
        fields = {one: getattr(trace, one) for one in trace.__struct_fields__}
        return Trace(**{**fields, "payload": text})


def matches(trace: Trace, *, event: str, plugin: str, slow_s: float) -> bool:
    """Return whether a trace is of interest.

    Args:
        trace: The trace.
        event: A pattern as in capabilities; empty for all.
        plugin: A plugin that took part; empty for any.
        slow_s: The least duration, unless something went wrong.
    """
    if event and not capability_matches(event, trace.event):
        return False
    if plugin and all(hop.plugin != plugin for hop in trace.hops):
        return False
    return trace.duration_s >= slow_s or (slow_s > 0 and trace.is_notable)
