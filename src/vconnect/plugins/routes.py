"""Who gets which event, in which order, and what the operator wants of it: worked out ahead.

A table is never changed, only replaced: a chain that is in flight keeps the one it began with. At
call time a route is one look-up; nothing is sorted, matched or copied.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vconnect.names import NameCache, capability_matches
from vconnect.settings.events import EventPolicy
from vconnect.wire.messages import Answer, is_reserved, normalize_answer

from .order import chain_order
from .runtime import PluginRuntime


class Route(msgspec.Struct, frozen=True):
    """Where one event goes.

    Attributes:
        plugins: Those that are asked, first in the chain first; also such as are meant to be
            connected and are not.
        told: Those that a notification goes to: the same, and those that have subscribed to it.
        policy: What the operator wants of the event.
        default: The answer that stands in for a plugin that fails; ``None`` where none does.
    """

    plugins: tuple[PluginRuntime, ...]
    told: tuple[PluginRuntime, ...]
    policy: EventPolicy
    default: Answer | None


class RouteTable:
    """The routes of all events, each worked out when its event comes first.

    Args:
        plugins: All that the host knows.
        policies: What the operator wants of each event.
    """

    def __init__(self, plugins: Iterable[PluginRuntime], policies: NameCache[EventPolicy]) -> None:
        wanted = {plugin.name: plugin for plugin in plugins if plugin.is_wanted}
        positions = {name: plugin.position for name, plugin in wanted.items()}
        self._plugins = [
            (wanted[name], wanted[name].capabilities) for name in chain_order(positions)
        ]
        self._policies = policies
        self._routes = NameCache(self._work_out)

    def route(self, event: str) -> Route:
        """Return where ``event`` goes."""
        return self._routes[event]

    def _work_out(self, event: str) -> Route:
        policy = self._policies[event]
        plugins, told = [], []
        for plugin, capabilities in self._plugins:
            if _covers(capabilities, event):
                plugins.append(plugin)
                told.append(plugin)
            elif _covers(plugin.subscriptions, event):
                told.append(plugin)
        default = None
        if policy.on_failure == "default" and not is_reserved(event):  # no ping answers itself
            default = normalize_answer(policy.default)
        return Route(tuple(plugins), tuple(told), policy, default)


def _covers(patterns: Iterable[str], event: str) -> bool:
    return any(capability_matches(pattern, event) for pattern in patterns)
