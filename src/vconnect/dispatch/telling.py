"""Notifications: events that nobody waits for, each in the bounded queue of its plugin."""

from __future__ import annotations

from asyncio import gather
from asyncio import timeout as asyncio_timeout
from collections.abc import Coroutine
from math import inf
from time import monotonic
from typing import Any

from vconnect._framing import Event
from vconnect.errors import NotAskedError, PluginOverloadedError
from vconnect.names import canonical_name
from vconnect.plugins.registry import Registry
from vconnect.plugins.routes import Route, Step
from vconnect.plugins.runtime import PluginRuntime
from vconnect.wire.messages import encode_event

from .delivery import checked, inherited, inherited_trace, tell, tell_when_room


class Telling:
    """Sends notifications along the registry's routes.

    Args:
        registry: The plugins and their routes.
        max_frame_bytes: The largest payload of a frame.
    """

    def __init__(self, registry: Registry, max_frame_bytes: int) -> None:
        self._registry = registry
        self._max_frame_bytes = max_frame_bytes
        #: How many calls of plugins are being served: without any, there is nothing to inherit.
        self.serving = 0

    def notify(
        self,
        event: str,
        payload: Any,
        *,
        hops: int = 0,
        publisher: PluginRuntime | None = None,
        trace: str | None = None,
    ) -> int:
        """Send an event to all plugins that want it and to subscribers, without waiting.

        Each plugin's queue is limited (``max_notified``). If it is full, the event's ``overflow``
        decides; dropped notifications are counted for their plugin.

        Args:
            event: The event's name.
            payload: Any JSON value.
            hops: How many plugins the event came through.
            publisher: The plugin that published it, which does not get it itself.
            trace: A W3C ``traceparent``, passed on to native plugins.

        Returns:
            The number of plugins that the event was sent to or queued for.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            PluginOverloadedError: The event's ``overflow`` is ``block`` and a queue is full. All
                other plugins got the event; `notify_when_room` waits instead.
            PluginUnavailableError: The event requires a plugin's answer, for which this call does
                not wait.
        """
        route = self._registry.routes.route(event)
        return self._notify(route, event, payload, hops, publisher, trace)

    def publish(
        self,
        event: str,
        payload: Any,
        *,
        hops: int,
        publisher: PluginRuntime,
        trace: str | None = None,
    ) -> int | Coroutine[Any, Any, int]:
        """Do what `notify` does, and what `notify_when_room` does if ``overflow`` is ``block``."""
        route = self._registry.routes.route(event)
        if route.policy.overflow == "block":
            return self._notify_when_room(route, event, payload, None, hops, publisher, trace)
        return self._notify(route, event, payload, hops, publisher, trace)

    def _notify(
        self,
        route: Route,
        event: str,
        payload: Any,
        hops: int,
        publisher: PluginRuntime | None,
        trace: str | None,
    ) -> int:
        message = self._message_to_tell(route, event, payload, trace)
        if self.serving:
            hops = max(hops, inherited(inf)[0])
        sent, full = _tell_all(route, message, payload, route.policy.overflow, hops, publisher)
        if full:
            raise full[0][1]
        return sent

    async def notify_when_room(
        self,
        event: str,
        payload: Any,
        *,
        timeout: float | None = None,
        hops: int = 0,
        publisher: PluginRuntime | None = None,
        trace: str | None = None,
    ) -> int:
        """Send an event as `notify` does, and wait where a queue is full, whatever ``overflow``.

        Args:
            event: The event's name.
            payload: Any JSON value.
            timeout: Seconds to wait; by default the event's ``timeout``. A plugin whose queue stays
                full does not get the event, which is counted.
            hops: How many plugins the event came through.
            publisher: The plugin that published it, which does not get it itself.
            trace: A W3C ``traceparent``, passed on to native plugins.

        Returns:
            The number of plugins that the event was sent to or queued for.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            PluginUnavailableError: See `notify`.
        """
        route = self._registry.routes.route(event)
        return await self._notify_when_room(route, event, payload, timeout, hops, publisher, trace)

    async def _notify_when_room(
        self,
        route: Route,
        event: str,
        payload: Any,
        timeout: float | None,
        hops: int,
        publisher: PluginRuntime | None,
        trace: str | None,
    ) -> int:
        message = self._message_to_tell(route, event, payload, trace)
        timeout = route.policy.timeout if timeout is None else checked(timeout)
        if self.serving:
            passed, until = inherited(monotonic() + timeout)
            hops, timeout = max(hops, passed), until - monotonic()
        # Nobody waits for another plugin's queue.
        sent, full = _tell_all(route, message, payload, "block", hops, publisher)
        waits = (self._wait_for_room(step, message, timeout, hops) for step, _ in full)
        return sent + sum(await gather(*waits))

    # Building blocks.

    def _message_to_tell(self, route: Route, event: str, payload: Any, trace: str | None) -> Event:
        """Encode a notification, unless the event may not be one."""
        if route.policy.requires:
            raise NotAskedError(
                canonical_name(route.policy.requires[0]),
                f"{event} requires its answer, for which a notification does not wait; use emit",
            )
        if self.serving:
            trace = inherited_trace(trace)
        return encode_event(event, payload, self._max_frame_bytes, trace)

    async def _tell_observer(self, step: Step, message: Event, until: float, hops: int) -> None:
        """Notify an observer of a chain; where ``overflow`` is ``block``, wait while it is full."""
        try:
            tell(step, message, step.policy.overflow, hops)
        except PluginOverloadedError:
            patience = min(step.timeout, until - monotonic())
            await self._wait_for_room(step, message, patience, hops)

    async def _wait_for_room(self, step: Step, message: Event, timeout: float, hops: int) -> bool:
        try:
            async with asyncio_timeout(timeout):
                return await tell_when_room(step, message, "block", hops)
        except TimeoutError:
            step.plugin.counters.dropped += 1
            step.plugin.counters.blocked += 1
            return False


def _tell_all(
    route: Route,
    message: Event,
    payload: Any,
    overflow: str,
    hops: int,
    publisher: PluginRuntime | None,
) -> tuple[int, list[tuple[Step, PluginOverloadedError]]]:
    """Tell everyone who has room; return how many got it, and whose queue is full."""
    sent = 0
    full: list[tuple[Step, PluginOverloadedError]] = []
    for step in route.told:
        # A plugin that publishes what it subscribes to would otherwise answer itself.
        if step.plugin is publisher:
            continue
        if step.matches is not None and not step.matches(payload):
            continue
        try:
            sent += tell(step, message, overflow, hops, published=publisher is not None)
        except PluginOverloadedError as error:
            full.append((step, error))
    return sent, full
