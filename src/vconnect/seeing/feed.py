"""Puts news into the stream's ring while somebody follows it: states, logs, metrics, and more."""

# Nothing is computed while nobody follows, and once for all while somebody does. States are looked
# at ten times a second, so that the latest wins and no plugin can flood the stream.

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from vconnect.logs.plugin_log import PluginLog
from vconnect.plugins.passed_over import PassedOverRow
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime

from .encoding import encode
from .happenings import Happening
from .overview import Overview
from .ring import Ring
from .summary import PluginSummary, without_payloads
from .trace import Trace, Traces

_TICK_S = 0.1
_METRICS_EVERY = 10  # ticks
_LOG_RECORDS = 64
# A plugin may print a thousand lines a second, and its followers must keep up.
_LOG_PAGES = 8
# The fields of a summary that its own routes have, or that say nothing new.
_LEFT_OUT = ("crashes", "latency_by_event", "last_stderr")


class Feed:
    """Fills the ring while there are followers.

    Args:
        registry: The plugins.
        overview: What an operator sees of them.
        traces: Makes traces while somebody wants them.

    Attributes:
        boot: Names this life of the host; numbers of another one mean nothing.
        ring: The entries.
    """

    def __init__(self, registry: Registry, overview: Overview, traces: Traces) -> None:
        self._registry = registry
        self._overview = overview
        self._traces = traces
        self.boot = secrets.token_hex(4)
        self.ring = Ring()
        self._topics: Counter[str] = Counter()
        # From which number on the ring has all entries of a topic.
        self._begun: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[str, Any] = {}
        self._passed: dict[str, dict[tuple[str, str, str], int]] = {}
        self._cursors: dict[str, int] = {}
        # When each plugin's events were counted last, and how many there were.
        self._events: dict[str, tuple[float, int]] = {}
        self._sent = 0
        self._end_traces: Callable[[], None] | None = None

    @property
    def followers(self) -> int:
        """How many follow."""
        return self._topics[""]

    def is_followed(self, topic: str) -> bool:
        """Return whether somebody follows a topic."""
        return self._topics[topic] > 0

    def follow(self, topics: Iterable[str]) -> Callable[[], None]:
        """Put entries of these topics into the ring; return what ends that."""
        wanted = ["", *topics]
        for topic in wanted:
            if not self._topics[topic]:
                # What came while nobody followed is not in the ring, and nobody can go on from it.
                self._begun[topic] = self.ring.last + 1
        self._topics.update(wanted)
        if self._task is None:
            self._remember()
            self._task = asyncio.create_task(self._run(), name="vconnect feed")
        for topic in wanted:
            if topic.startswith("logs:"):
                self._begin_log(topic.removeprefix("logs:"))
        if self._topics["trace"] and self._end_traces is None:
            self._end_traces = self._traces.watch(self._trace)

        def leave() -> None:
            self._topics.subtract(wanted)
            for topic in wanted:
                # Who follows it next begins with what is new then.
                if topic.startswith("logs:") and not self._topics[topic]:
                    self._cursors.pop(topic.removeprefix("logs:"), None)
            if not self._topics["trace"] and self._end_traces is not None:
                self._end_traces()
                self._end_traces = None
            if not self._topics[""] and self._task is not None:
                self._task.cancel()
                self._task = None

        return leave

    def has(self, topics: Iterable[str], seq: int) -> bool:
        """Return whether the ring has everything of these topics that came after an entry."""
        return self.ring.has(seq) and all(self._begun[topic] <= seq for topic in ("", *topics))

    def snapshot(self) -> list[dict[str, Any]]:
        """Return all summaries, as the stream has them."""
        return [self._short(one) for one in self._overview.summaries()]

    def happened(self, happening: Happening) -> None:
        """Pass on what happened."""
        if self.followers:
            self.ring.add("host", "happening", encode(happening))

    def audited(self, record: Any) -> None:
        """Pass on what somebody has changed."""
        if self.followers:
            self.ring.add("host", "audit", encode(record))

    async def close(self) -> None:
        """End the task, if there is one."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            ticks += 1
            self._states()
            self._logs()
            if ticks % _METRICS_EVERY == 0:
                self._passed_over()
                self._metrics()
                self._sampling()

    def _remember(self) -> None:
        """Begin with the present: the snapshot has it."""
        self._seen = {plugin.name: _signature(plugin) for plugin in self._registry}
        self._passed = {plugin.name: _counts(plugin) for plugin in self._registry}
        self._sent = sum(plugin.rows.sent for plugin in self._registry)

    def _states(self) -> None:
        seen, self._seen = self._seen, {}
        for plugin in self._registry:
            signature = _signature(plugin)
            self._seen[plugin.name] = signature
            if seen.get(plugin.name) != signature:
                summary = self._short(self._overview.summary(plugin.name))
                self.ring.add("plugins", "plugin", encode(summary), plugin.name)
        for name in seen.keys() - self._seen.keys():
            self.ring.add("plugins", "gone", encode({"name": name}), name)

    def _short(self, summary: PluginSummary) -> dict[str, Any]:
        fields = summary.__struct_fields__
        summary = without_payloads(summary)  # who may see them asks for the plugin's status
        return {one: getattr(summary, one) for one in fields if one not in _LEFT_OUT}

    def _passed_over(self) -> None:
        items = []
        for plugin in self._registry:
            before = self._passed.get(plugin.name, {})
            self._passed[plugin.name] = now = _counts(plugin)
            for row in plugin.passed_over.rows:
                more = now[_key(row)] - before.get(_key(row), 0)
                if more:
                    items.append(
                        {
                            "plugin": plugin.name,
                            "event": row.event,
                            "reason": row.reason,
                            "effect": row.effect,
                            "count": more,
                            "first": row.first,
                            "last": row.last,
                        }
                    )
        if items:
            self.ring.add("passed", "passed", encode({"items": items}))

    def _metrics(self) -> None:
        summaries = self._overview.summaries()
        lag = self._overview.minute.loop_lag()
        columns: dict[str, Any] = {
            "at": time.time(),
            "names": [one.name for one in summaries],
            "p50_s": [one.latency.p50_s if one.latency else None for one in summaries],
            "p99_s": [one.latency.p99_s if one.latency else None for one in summaries],
            "count": [one.latency.count if one.latency else 0 for one in summaries],
            "queue": [one.queue.events for one in summaries],
            "loop_lag_p99_s": lag.p99_s if lag else None,
            "chains": self._overview.chains(),
        }
        columns["events_per_s"] = [self._rate(one) for one in summaries]
        for name in ("in_flight", "cpu_percent", "rss_bytes", "uptime_s"):
            columns[name] = [getattr(one, name) for one in summaries]
        self.ring.add("metrics", "metrics", encode(columns))

    def _rate(self, plugin: PluginSummary) -> float | None:
        """Return the events per second since the last time; ``None`` the first time."""
        now = time.monotonic()
        before = self._events.get(plugin.name)
        self._events[plugin.name] = (now, plugin.events)
        if before is None or plugin.events < before[1] or now <= before[0]:
            return None
        return (plugin.events - before[1]) / (now - before[0])

    def _trace(self, trace: Trace) -> None:
        self.ring.add("trace", "trace", encode(trace))

    def _sampling(self) -> None:
        """Say that only a sample was traced, and how many events plugins got meanwhile."""
        sent = sum(plugin.rows.sent for plugin in self._registry)
        before, self._sent = self._sent, sent
        if self._traces.take_sampling():
            self.ring.add("trace", "sampled", encode({"events": max(0, sent - before)}), "sampled")

    def _begin_log(self, name: str) -> None:
        log = self._log_of(name)
        if log is not None:
            self._cursors.setdefault(name, log.whole.last)

    def _logs(self) -> None:
        for topic, count in self._topics.items():
            name = topic.removeprefix("logs:")
            if count <= 0 or not topic.startswith("logs:"):
                continue
            log = self._log_of(name)
            if log is None:
                continue
            for _ in range(_LOG_PAGES):
                page = log.whole.after(self._cursors.get(name, log.whole.last), _LOG_RECORDS)
                self._cursors[name] = page.next
                if page.records or page.dropped:
                    data = {"plugin": name, "records": page.records, "dropped": page.dropped}
                    self.ring.add(topic, "log", encode(data), name)
                if len(page.records) < _LOG_RECORDS:
                    break

    def _log_of(self, name: str) -> PluginLog | None:
        plugin = self._registry.find(name)
        return None if plugin is None else plugin.log


def _signature(plugin: PluginRuntime) -> tuple[Any, ...]:
    """Return what makes a summary worth sending again, apart from numbers."""
    return (
        plugin.status,
        plugin.substate,
        plugin.reason,
        plugin.generation,
        plugin.session,
        plugin.breaker.state,
        plugin.conflict,
        plugin.desired,
        len(plugin.crashes.quarantine),
        plugin.declared,
        plugin.restarts.due_at,
    )


def _counts(plugin: PluginRuntime) -> dict[tuple[str, str, str], int]:
    return {_key(row): row.count for row in plugin.passed_over.rows}


def _key(row: PassedOverRow) -> tuple[str, str, str]:
    return row.event, row.reason, row.effect
