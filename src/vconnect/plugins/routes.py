"""Which plugins get an event, in which order, under which policy: computed in advance."""

# A table is never changed, only replaced, so a chain in progress keeps the table that it began
# with. At call time a route is one lookup; nothing is sorted, matched or copied.

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vconnect.names import NameCache, capability_matches
from vconnect.settings.events import EventPolicy
from vconnect.wire.messages import Answer, check_event, normalize_answer

from .order import chain_order
from .runtime import PluginRuntime


class Route(msgspec.Struct, frozen=True):
    """Where one event goes.

    Attributes:
        plugins: The plugins that are called, in chain order, including plugins that should be
            connected and are not.
        told: The plugins that are notified: the same, and those that have subscribed to it.
        policy: The event's policy.
        default: The answer that replaces that of a plugin that fails, or ``None``.
    """

    plugins: tuple[PluginRuntime, ...]
    told: tuple[PluginRuntime, ...]
    policy: EventPolicy
    default: Answer | None


class RouteTable:
    """The routes of all events, each computed when its event first occurs.

    Args:
        plugins: All plugins that the host knows.
        policies: The policy of each event.
    """

    def __init__(self, plugins: Iterable[PluginRuntime], policies: NameCache[EventPolicy]) -> None:
        # Without those that are down, a filter that crashed would be skipped silently.
        wanted = {plugin.name: plugin for plugin in plugins if plugin.is_wanted}
        positions = {name: plugin.position for name, plugin in wanted.items()}
        self._plugins = [
            (wanted[name], wanted[name].capabilities) for name in chain_order(positions)
        ]
        self._policies = policies
        self._routes = NameCache(self._work_out)

    def route(self, event: str) -> Route:
        """Return the route of ``event``."""
        return self._routes[event]

    def _work_out(self, event: str) -> Route:
        check_event(event)
        policy = self._policies[event]
        plugins, told = [], []
        for plugin, capabilities in self._plugins:
            if _covers(capabilities, event):
                plugins.append(plugin)
                told.append(plugin)
            # A capability includes the notification, so a subscription adds nothing to it.
            elif _covers(plugin.subscriptions, event):
                told.append(plugin)
        default = None
        if policy.on_failure == "default":
            default = normalize_answer(policy.default)
        return Route(tuple(plugins), tuple(told), policy, default)


def _covers(patterns: Iterable[str], event: str) -> bool:
    return any(capability_matches(pattern, event) for pattern in patterns)
