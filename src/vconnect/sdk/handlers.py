"""Which method of a plugin handles which event."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from vconnect._names import NameCache
from vconnect.names import PATTERN_RULE, capability_matches, is_pattern, specificity

from .context import Context

Handler = Callable[[Context], Awaitable[None] | None]
_Function = TypeVar("_Function", bound=Callable[..., Any])

# `on` marks functions, not classes: when it runs, the class does not exist yet.
_EVENTS = "_vconnect_events"


def on(*events: str) -> Callable[[_Function], _Function]:
    """Make a method the handler of events: ``@on("message.incoming", "user.*")``.

    If several handlers match an event, only the most specific one is called: the exact name, then
    a wildcard of one level, a deep wildcard, a family, and ``*`` last.

    Raises:
        TypeError: No event is given, or one is not `PATTERN_RULE`.
    """
    # A callable: the decorator was used without parentheses.
    if not events or callable(events[0]):
        raise TypeError('on() requires the events to handle: @on("message.incoming")')
    for event in events:
        check_pattern(event, "on()")

    def mark(function: _Function) -> _Function:
        # Decorators may be stacked, and each adds its events.
        setattr(function, _EVENTS, (*getattr(function, _EVENTS, ()), *events))
        return function

    return mark


def check_pattern(pattern: object, origin: str) -> None:
    """Reject a pattern that can never match an event.

    Raises:
        TypeError: ``pattern`` is not `PATTERN_RULE`.
    """
    if not isinstance(pattern, str) or not is_pattern(pattern):
        raise TypeError(f"{origin}: got {pattern!r}; expected {PATTERN_RULE}")


def collect_handlers(plugin: type) -> dict[str, str]:
    """Map each pattern of a plugin's `on` handlers to its method's name.

    Raises:
        TypeError: Two methods handle the same pattern.
    """
    found: dict[str, str] = {}
    for method in _method_names(plugin):
        for pattern in getattr(getattr(plugin, method), _EVENTS, ()):
            first = found.setdefault(pattern, method)
            if first != method:
                raise TypeError(
                    f"{plugin.__name__}: both {first}() and {method}() handle {pattern!r}; "
                    "keep one of them"
                )
    return found


def find_handler(plugin: Any, handlers: Mapping[str, str], event: str) -> Handler:
    """Return the most specific handler for ``event``, or the plugin's ``on_event``."""
    # Slow but rare: `HandlerTable` remembers the result for each event's name.
    covering = [pattern for pattern in handlers if capability_matches(pattern, event)]
    method = handlers[max(covering, key=specificity)] if covering else "on_event"
    handler: Handler = getattr(plugin, method)
    return handler


class HandlerTable:
    """The handler for each event, cached.

    Args:
        plugin: The plugin that has the handlers.
    """

    def __init__(self, plugin: Any) -> None:
        self._plugin = plugin
        self._routes = NameCache(self._find)

    def find(self, event: str) -> tuple[Handler, bool]:
        """Return the event's handler, and whether it is ``async``."""
        return self._routes[event]

    def _find(self, event: str) -> tuple[Handler, bool]:
        handler = find_handler(self._plugin, self._plugin._handlers, event)
        return handler, inspect.iscoroutinefunction(handler)


async def settle(result: Awaitable[None] | None) -> None:
    """Await what a method returned if it is awaitable."""
    if inspect.isawaitable(result):
        await result


def _method_names(plugin: type) -> list[str]:
    """List methods in the order of their definition, those of base classes first."""
    # A dictionary is a set that keeps its order; a method that overrides another stays in place.
    names: dict[str, None] = {}
    for base in reversed(plugin.__mro__):
        names |= dict.fromkeys(name for name, value in vars(base).items() if callable(value))
    return list(names)
