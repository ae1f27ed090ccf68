"""Which plugins get an event, in which order, under which policy: computed in advance."""

# A table is never changed, only replaced, so a chain in progress keeps the table that it began
# with. At call time a route is one lookup; nothing is sorted, resolved or copied, and a plugin
# without conditions pays nothing for those of others.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from vconnect._names import MAX_CACHED_NAMES, NameCache
from vconnect.names import canonical_name, matching_patterns
from vconnect.order import chain_order
from vconnect.settings.events import EventPolicy, resolve_choices
from vconnect.settings.match import Matcher, compile_match
from vconnect.wire._latency import Row, Rows
from vconnect.wire.messages import Answer, check_event, normalize_answer

from .runtime import PluginRuntime


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one plugin may do with one event.

    Attributes:
        plugin: The plugin.
        event: The event's name.
        policy: The event's policy.
        timeout: Seconds that it may take.
        is_closed: Whether its failure ends the chain.
        is_required: Whether the event goes no further without its good answer.
        default: The answer that replaces its own if it fails, or ``None``.
        is_observer: Whether it is notified instead of being asked in a chain.
        may_stop: Whether it may end the chain.
        matches: Whether it is asked about a payload; ``None`` if about every one.
        row: Where what becomes of the event is counted.
    """

    plugin: PluginRuntime
    event: str
    policy: EventPolicy
    timeout: float
    is_closed: bool
    is_required: bool
    default: Answer | None
    row: Row
    is_observer: bool = False
    may_stop: bool = True
    matches: Matcher | None = None


class Route(msgspec.Struct, frozen=True):
    """Where one event goes.

    Attributes:
        steps: The plugins that are called, in chain order, including plugins that should be
            connected and are not.
        told: The plugins that are notified: the same, and those that have subscribed to it.
        policy: The event's policy.
        absent: Required plugins that are not among the steps, by their names in the settings.
        has_conditions: Whether one of the steps has conditions.
        is_plain: Whether every plugin of the chain is asked, and waited for.
        chain: Where the duration of the whole chain is recorded.
    """

    steps: tuple[Step, ...]
    told: tuple[Step, ...]
    policy: EventPolicy
    absent: tuple[str, ...]
    has_conditions: bool
    is_plain: bool
    chain: Row

    def asked(self, payload: Any) -> Sequence[Step]:
        """Return the steps whose conditions a payload meets."""
        if not self.has_conditions:
            return self.steps
        return [one for one in self.steps if one.matches is None or one.matches(payload)]

    @property
    def plugins(self) -> tuple[PluginRuntime, ...]:
        """The plugins that are called, in chain order."""
        return tuple(step.plugin for step in self.steps)


class RouteTable:
    """The routes of all events, each computed when its event first occurs.

    Args:
        plugins: All plugins that the host knows.
        policies: The policy of each event.
        chains: Has the durations of whole chains.
    """

    def __init__(
        self, plugins: Iterable[PluginRuntime], policies: NameCache[EventPolicy], chains: Rows
    ) -> None:
        self._chains = chains
        self._all = list(plugins)
        # Without those that are down, a filter that crashed would be skipped silently.
        wanted = {plugin.name: plugin for plugin in self._all if plugin.is_wanted}
        positions = {name: plugin.position for name, plugin in wanted.items()}
        # With what it handles and what it has subscribed to; a change makes another table.
        self._plugins = [
            (wanted[name], frozenset(wanted[name].capabilities), _subscribed(wanted[name]))
            for name in chain_order(positions)
        ]
        self._policies = policies
        self._routes = NameCache(self._work_out)
        self._steps: dict[tuple[PluginRuntime, str], Step] = {}

    def route(self, event: str) -> Route:
        """Return the route of ``event``.

        Raises:
            PayloadError: This is not a name that an event may have.
            TypeError: It is not a string.
        """
        return self._routes[event]

    def step(self, plugin: PluginRuntime, event: str) -> Step:
        """Return what a plugin may do with an event, whatever its capabilities."""
        step = self._steps.get((plugin, event))
        if step is None:
            step = make_step(plugin, event, self._policies[event], is_required=False)
            if len(self._steps) >= MAX_CACHED_NAMES:
                self._steps.clear()
            self._steps[plugin, event] = step
        return step

    def _work_out(self, event: str) -> Route:
        check_event(event)
        policy = self._policies[event]
        required = {name: self._find(name) for name in policy.requires}
        steps, told = [], []
        patterns = matching_patterns(event)
        for plugin, capabilities, subscriptions in self._plugins:
            is_asked = not capabilities.isdisjoint(patterns)
            # A capability includes the notification, so a subscription adds nothing to it.
            if is_asked or not subscriptions.isdisjoint(patterns):
                is_required = plugin in required.values()
                step = make_step(plugin, event, policy, is_required=is_required)
                told.append(step)
                if is_asked:
                    steps.append(step)
        asked = [step.plugin for step in steps]
        absent = tuple(name for name, plugin in required.items() if plugin not in asked)
        has_conditions = any(step.matches is not None for step in steps)
        is_plain = not has_conditions and not any(step.is_observer for step in steps)
        chain = self._chains.row(event)
        return Route(tuple(steps), tuple(told), policy, absent, has_conditions, is_plain, chain)

    def _find(self, name: str) -> PluginRuntime | None:
        wanted = canonical_name(name)
        return next((one for one in self._all if wanted in one.aliases()), None)


def make_step(plugin: PluginRuntime, event: str, policy: EventPolicy, *, is_required: bool) -> Step:
    """Resolve what a plugin may do with an event.

    Args:
        plugin: The plugin.
        event: The event.
        policy: The event's policy.
        is_required: Whether the event requires its good answer. Then no option of the plugin can
            weaken that.
    """
    tables = plugin.policy.events
    choices = resolve_choices(event, tables) if tables else _ORDINARY
    on_failure = "closed" if is_required else choices.on_failure or policy.on_failure
    timeout = choices.timeout
    if timeout is None:
        own = plugin.policy.timeout
        timeout = policy.timeout if own is None else min(own, policy.timeout)
    return Step(
        plugin=plugin,
        event=event,
        policy=policy,
        timeout=timeout,
        is_closed=on_failure == "closed",
        is_required=is_required,
        default=normalize_answer(policy.default) if on_failure == "default" else None,
        is_observer=choices.role == "observer" and not is_required,
        may_stop=choices.role == "filter",
        matches=None if is_required else compile_match(choices.match),
        row=plugin.rows.row(event),
    )


_ORDINARY = resolve_choices("", {})


def _subscribed(plugin: PluginRuntime) -> frozenset[str]:
    return frozenset(plugin.subscriptions)
