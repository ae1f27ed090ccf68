"""All plugins as an operator sees them, in the order of what needs attention."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import msgspec

from vconnect.errors import PayloadError
from vconnect.names import canonical_name
from vconnect.plugins.registry import Registry
from vconnect.plugins.routes import Step
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus

from .last_minute import Chain, ChainStep, LastMinute, Minute
from .summary import PluginSummary, summarize, with_minute
from .why import Surroundings, Why, explain, explained

# A plugin is slow if it needs this part of its deadline, or of its chain's time.
_MUCH = 0.5


class Overview:
    """Describes plugins, with their last minute and the explanation of their state.

    Args:
        registry: The plugins.
        slow_s: Returns from how many seconds on a plugin that takes much of a chain is slow.

    Attributes:
        minute: The last minute.
    """

    def __init__(self, registry: Registry, slow_s: Callable[[], float]) -> None:
        self._registry = registry
        self._slow_s = slow_s
        self.minute = LastMinute(registry)

    def summaries(self) -> list[PluginSummary]:
        """Describe every plugin: trouble first, then in the order of chains."""
        around = self._surroundings()
        found = [explained(self._describe(plugin), around) for plugin in self._registry]
        return sorted(found, key=_urgency)

    def summary(self, name: str) -> PluginSummary:
        """Describe one plugin.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return explained(self._describe(self._registry.get(name)), self._surroundings())

    def why(self, name: str) -> Why:
        """Say why a plugin does not serve, or what is wrong with its service.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return explain(self._describe(self._registry.get(name)), self._surroundings())

    def chains(self) -> list[Chain]:
        """Return the chains of the last minute with their plugins, the busiest first."""
        return [
            msgspec.structs.replace(chain, steps=tuple(self._steps(chain.event)))
            for chain in self.minute.chains()
        ]

    def _steps(self, event: str) -> list[ChainStep]:
        try:
            route = self._registry.routes.route(event)
        except PayloadError:  # the row of all events that are too many
            return []
        missing = [self._missing(name) for name in route.absent]
        return missing + [self._step(step) for step in route.steps]

    def _missing(self, name: str) -> ChainStep:
        """Describe a required plugin that the chain does without, and so ends at once."""
        found = self._find(name)
        return ChainStep(
            plugin=name if found is None else found.name,
            share=None,
            p99_s=None,
            serving=False,
            state="not installed" if found is None else found.state,
            observer=False,
        )

    def _step(self, step: Step) -> ChainStep:
        plugin = self._describe(step.plugin)
        found = (one for one in plugin.latency_by_event if one.event == step.row.event)
        latency = next(found, None)
        return ChainStep(
            plugin=plugin.name,
            share=None if latency is None or step.is_observer else latency.share,
            p99_s=None if latency is None else latency.p99_s,
            serving=plugin.serving,
            state=plugin.state,
            observer=step.is_observer,
        )

    def now(self) -> float:
        """Return the present in Unix seconds."""
        return time.time()

    def _describe(self, plugin: PluginRuntime) -> PluginSummary:
        minute = self.minute.of(plugin)
        is_slow = self._is_slow(minute)
        return with_minute(summarize(plugin), minute, self.minute.window_s, is_slow=is_slow)

    def _is_slow(self, minute: Minute) -> bool:
        for one in minute.by_event:
            if one.p99_s is None:
                continue
            if one.timeout_s is not None and one.p99_s >= _MUCH * one.timeout_s:
                return True
            if one.p99_s >= self._slow_s() and one.share is not None and one.share >= _MUCH:
                return True
        return False

    def _surroundings(self) -> Surroundings:
        return Surroundings(self._find, self._sent())

    def _find(self, name: str) -> PluginSummary | None:
        plugin = self._registry.find(canonical_name(name))
        return None if plugin is None else self._describe(plugin)

    def _sent(self) -> dict[str, int]:
        """Return how many events of each name were sent since the host started."""
        sent: Counter[str] = Counter()
        for row in self._registry.chains.all():
            sent[row.event] += sum(row.totals()[0])
        return {event: count for event, count in sent.items() if count}


def _urgency(plugin: PluginSummary) -> tuple[int, int, str]:
    """Return the sort key: what an operator has to look at first."""
    if plugin.passed_over.get("refused"):
        rank = 0
    elif not plugin.serving and plugin.status is PluginStatus.STARTING:
        rank = 4
    elif plugin.code in ("stopped", "disabled", "not_started"):
        rank = 6
    elif not plugin.serving:
        rank = 1
    elif any(plugin.passed_over.values()):
        rank = 2
    elif plugin.is_slow or plugin.code == "queue_full":
        rank = 3
    else:
        rank = 5
    return rank, -plugin.priority, plugin.name
