"""What has come in the last minute: rates, latencies, outcomes, and what was passed over."""

# Every ten seconds the present of all counters is kept beside them. The last minute is what they
# have now, less what they had 60 to 70 seconds ago. It runs from the host's first event, or the
# last minute would be empty at the moment when somebody looks.

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

import msgspec

from vconnect.plain import Plain
from vconnect.plugins.latency import OUTCOME_NAMES, Latency, added, latency_of
from vconnect.plugins.moments import EVERY_S, KEPT, Moments
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.wire._latency import EDGES_US, OTHER, Row


class EventLatency(Plain, frozen=True, kw_only=True):
    """One plugin's events of one name in the last minute.

    Attributes:
        event: The event or its family.
        p50_s: The median in seconds; ``None`` if nothing was answered.
        p99_s: The 99th percentile.
        count: Of how many events.
        timeout_s: How long it may take.
        outcomes: How many events had each outcome; see `vconnect.plugins.latency.Outcome`.
        share: Which part of the whole chain's time these took, from 0 to 1; ``None`` without one.
        cells: The upper end in seconds and the count of each cell that is not empty.
    """

    event: str
    p50_s: float | None
    p99_s: float | None
    count: int
    timeout_s: float | None
    outcomes: dict[str, int]
    share: float | None
    cells: list[tuple[float, int]]


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin in the last minute.

    Attributes:
        events_per_s: Events that were sent to it; ``None`` if there were none.
        latency: Of all of its events together; ``None`` if it has answered none.
        outcomes: What became of them.
        by_event: The same for each event.
        passed_over: Events that it did not get, by what became of them.
        dropped: Notifications that it did not get.
        share: The largest part of a chain's time that it took, and whose.
    """

    events_per_s: float | None
    latency: Latency | None
    outcomes: dict[str, int]
    by_event: list[EventLatency]
    passed_over: dict[str, int]
    dropped: int
    share: float | None


class ChainStep(Plain, frozen=True, kw_only=True):
    """One plugin of a chain in the last minute.

    Attributes:
        plugin: The plugin.
        share: Which part of the chain's time it took, from 0 to 1; ``None`` if it was not asked.
        p99_s: The 99th percentile of its answers; ``None`` likewise.
        serving: Whether it would be asked now.
        state: Its state in one or two words.
        observer: Whether nobody waits for it.
    """

    plugin: str
    share: float | None
    p99_s: float | None
    serving: bool
    state: str
    observer: bool


class Chain(Plain, frozen=True, kw_only=True):
    """The chains of one event in the last minute; see `Latency`.

    Attributes:
        event: The event.
        per_s: How many there were in a second.
        p50_s: The median in seconds.
        p99_s: The 99th percentile.
        count: How many there were.
        steps: The plugins that get the event now, in order.
    """

    event: str
    per_s: float
    p50_s: float
    p99_s: float
    count: int
    steps: tuple[ChainStep, ...] = ()


class LastMinute:
    """Keeps the past of all counters, and says what has come since.

    Args:
        registry: The plugins.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._moments = Moments()
        #: How late a timer of the event loop was; see `LoopWatch`.
        self.lag = Row("loop")
        # Events and dropped notifications at each kept moment, by plugin.
        self._counted: dict[PluginRuntime, deque[tuple[int, int, int]]] = {}

    @property
    def window_s(self) -> float:
        """The seconds that the window has; at first they are fewer than sixty."""
        return self._moments.window_s

    async def run(self) -> None:
        """Keep the present again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.keep()

    def keep(self) -> None:
        """Keep the present as a moment."""
        moment = self._moments.next()
        counted, self._counted = self._counted, {}
        for row in (self.lag, *self._registry.chains.all()):
            row.keep(moment)
        for passed_over in self._registry.absent.values():
            passed_over.keep(moment)
        for plugin in self._registry:
            for row in plugin.rows.all():
                row.keep(moment)
            plugin.passed_over.keep(moment)
            kept = counted.get(plugin) or deque(maxlen=KEPT)
            kept.append((moment, *_counts(plugin)))
            self._counted[plugin] = kept

    def of(self, plugin: PluginRuntime) -> Minute:
        """Return what has come of one plugin."""
        first = self._moments.first
        rows = {row.event: row.since(first) for row in plugin.rows.all()}
        chains = {row.event: row.since(first)[1] for row in self._registry.chains.all()}
        by_event = [
            _of_event(event, row, chains, self._timeout(plugin, event))
            for event, row in rows.items()
            if any(row[2])
        ]
        events, dropped = self._since(plugin)
        return Minute(
            events_per_s=events / max(self.window_s, 1.0) if events else None,
            latency=latency_of(added([row[0] for row in rows.values()])),
            outcomes=_named(added([row[2] for row in rows.values()])),
            by_event=sorted(by_event, key=lambda one: one.event),
            passed_over=plugin.passed_over.since(first),
            dropped=dropped,
            share=max((one.share for one in by_event if one.share is not None), default=None),
        )

    def chains(self) -> list[Chain]:
        """Return the chains of each event that was sent, the busiest first."""
        found = []
        for row in self._registry.chains.all():
            latency = latency_of(row.since(self._moments.first)[0])
            if latency is not None:
                per_s = latency.count / max(self.window_s, 1.0)
                found.append(
                    Chain(
                        event=row.event,
                        per_s=per_s,
                        p50_s=latency.p50_s,
                        p99_s=latency.p99_s,
                        count=latency.count,
                    )
                )
        return sorted(found, key=lambda one: -one.count)

    def loop_lag(self) -> Latency | None:
        """Return how late the event loop was."""
        return latency_of(self.lag.since(self._moments.first)[0])

    def _timeout(self, plugin: PluginRuntime, event: str) -> float | None:
        """Return how long a plugin may take for an event; ``None`` for what is left of the rest."""
        return None if event == OTHER else self._registry.routes.step(plugin, event).timeout

    def _since(self, plugin: PluginRuntime) -> tuple[int, int]:
        """Return how many events and dropped notifications there were."""
        events, dropped = _counts(plugin)
        first = self._moments.first
        for moment, events_then, dropped_then in self._counted.get(plugin, ()):
            if moment == first:
                return events - events_then, dropped - dropped_then
        return events, dropped


def _counts(plugin: PluginRuntime) -> tuple[int, int]:
    dropped = plugin.counters.dropped
    if plugin.session is not None:
        dropped += plugin.session.dropped
    return plugin.rows.sent, dropped


def _of_event(
    event: str,
    row: tuple[list[int], float, list[int]],
    chains: dict[str, float],
    timeout_s: float | None,
) -> EventLatency:
    cells, seconds, outcomes = row
    latency = latency_of(cells, timeout_s)
    whole = chains.get(event, 0.0)
    return EventLatency(
        event=event,
        p50_s=latency.p50_s if latency else None,
        p99_s=latency.p99_s if latency else None,
        count=latency.count if latency else 0,
        timeout_s=timeout_s,
        outcomes=_named(outcomes),
        share=min(1.0, seconds / whole) if whole else None,
        cells=[(upper_s(at), count) for at, count in enumerate(cells) if count],
    )


def upper_s(cell: int) -> float:
    """Return the upper end of a cell in seconds; of the last one, twice its lower end."""
    return (EDGES_US[cell] if cell < len(EDGES_US) else 2 * EDGES_US[-1]) / 1e6


def _named(outcomes: Iterable[int]) -> dict[str, int]:
    return {name: count for name, count in zip(OUTCOME_NAMES, outcomes, strict=False) if count}
