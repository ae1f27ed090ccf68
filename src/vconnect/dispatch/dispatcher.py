"""Sends events to plugins and returns their answers: chain, fan-out, one plugin, notification.

Deadlines are seconds of ``time.monotonic()``, timeouts are seconds from now. Cancelling any of
these calls is safe: an event that was sent is still answered, and its answer is dropped.
"""

# The idea: an event is encoded once, whatever the number of plugins, and a route says in one lookup
# which plugins get it, under which policy. What is left to do here is to combine timeouts into a
# deadline, to send, and to turn failures into results.
#
# Everything that goes wrong with a plugin is a `PluginError`. The event's policy decides whether it
# becomes a result, the end of the chain, or the default answer; only `request` raises it. Errors
# that occur before anything is sent (an open circuit, a quarantined event, no connection) do not
# count as failures of the plugin, because they say nothing new about it.

from __future__ import annotations

import logging
from asyncio import CancelledError
from asyncio import timeout as asyncio_timeout
from collections.abc import Awaitable, Iterable
from time import monotonic
from typing import Any, TypeVar

import msgspec

from vconnect._framing import Event, EventName
from vconnect.errors import (
    PayloadError,
    PluginError,
    PluginOverloadedError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from vconnect.names import NameCache
from vconnect.plugins.registry import Registry
from vconnect.plugins.routes import Route
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.events import EventPolicy
from vconnect.wire._lane import Delivery, FanOut
from vconnect.wire.messages import (
    EVENT_NAMES,
    Answer,
    check_event,
    encode_event,
    normalize_answer,
    reply_error,
)
from vconnect.wire.session import Session

from .origin import Origin
from .protected import restore_protected
from .results import Outcome, PluginResult

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Dispatcher:
    """Sends events along the registry's routes.

    Args:
        registry: The plugins and their routes.
        max_frame_bytes: The largest payload of a frame.
    """

    def __init__(self, registry: Registry, max_frame_bytes: int) -> None:
        self._registry = registry
        self._by_spelling = registry.by_spelling
        #: An event's encoded name and its timeout, in one lookup: `request` needs both each time.
        self._asked = NameCache(self._name_and_timeout)
        self._max_frame_bytes = max_frame_bytes
        #: How many calls of plugins are being served: without any, there is nothing to inherit.
        self.serving = 0

    async def emit(
        self, event: str, payload: Any, *, timeout: float | None = None, trace: str | None = None
    ) -> Outcome:
        """Send an event through the chain: one plugin after the other, in order.

        An answer may stop the chain, or replace the payload for the following plugins, except for
        protected fields. What happens when a plugin fails is configured (``on_failure``).

        Args:
            event: The event's name.
            payload: Any JSON value.
            timeout: Seconds for the whole chain; by default the event's ``chain_timeout``.
            trace: A W3C ``traceparent``, passed on to native plugins.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        route = self._registry.routes.route(event)
        policy = route.policy
        until = monotonic() + (policy.chain_timeout if timeout is None else timeout)
        hops = 0
        if self.serving:
            hops, until = _inherited(until)
        # Encoded once for all plugins, and again only when one of them replaces the payload.
        message = encode_event(event, payload, self._max_frame_bytes, trace)
        results: list[PluginResult] = []
        for plugin in route.plugins:
            began = monotonic()
            answer = None
            try:
                # A plugin gets its own timeout, but not more than what is left for the chain.
                deadline = min(until, began + _shorter(policy.timeout, plugin))
                sent = message
                answer = normalize_answer(await self._ask(plugin, sent, began, deadline, hops))
                if not answer.ok:
                    raise reply_error(plugin.name, answer)
                if answer.replacement is not msgspec.UNSET:
                    payload, message = self._replace(
                        plugin, policy, event, payload, answer.replacement, trace
                    )
                # After the replacement, which may turn the answer into a failure.
                results.append(_answered(plugin, answer, _milliseconds_since(began), sent))
            except PluginError as error:
                # An error answer can still end the chain; see docs/wire.md.
                stops = answer is not None and answer.stop
                results.append(
                    self._failed(plugin, error, route, _milliseconds_since(began), stops)
                )
                # "closed": without this plugin's consent, nothing goes further.
                if policy.on_failure == "closed":
                    return Outcome(results, plugin.name, payload, str(error))
                if route.default is not None and route.default.replacement is not msgspec.UNSET:
                    # The default answer acts like a plugin's own answer, including its replacement.
                    payload = route.default.replacement
                    message = encode_event(event, payload, self._max_frame_bytes, trace)
            if results[-1].stop:
                return Outcome(results, plugin.name, payload)
        return Outcome(results, None, payload)

    async def broadcast(
        self, event: str, payload: Any, *, timeout: float | None = None, trace: str | None = None
    ) -> Outcome:
        """Send an event to all plugins that want it at the same time; return every answer or error.

        Args:
            event: The event's name.
            payload: Any JSON value; encoded once for all.
            timeout: Seconds for each plugin; by default the event's ``timeout``.
            trace: A W3C ``traceparent``, passed on to native plugins.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        route = self._registry.routes.route(event)
        message = encode_event(event, payload, self._max_frame_bytes, trace)
        began = monotonic()
        if timeout is None:
            timeout = route.policy.timeout
        hops = 0
        if self.serving:
            hops, until = _inherited(began + timeout)
            timeout = until - began
        # One future for all plugins, and no task: see `FanOut`.
        fan_out = FanOut()
        try:
            for plugin in route.plugins:
                self._deliver(plugin, message, fan_out.add(), began, timeout, hops)
            await (
                fan_out.wait() if not hops else _while_hopping(route.plugins, hops, fan_out.wait())
            )
        except CancelledError:
            # The lanes drop the answers that still arrive; their slots stay taken until then.
            fan_out.abandon()
            _drop_cancelled(route.plugins)
            raise
        results = [
            self._delivered(plugin, delivery, route, began, message)
            for plugin, delivery in zip(route.plugins, fan_out.deliveries, strict=True)
        ]
        return Outcome(results, None, payload)

    async def request(
        self,
        plugin: str,
        event: str,
        payload: Any,
        timeout: float | None = None,
        hops: int = 0,
    ) -> Any:
        """Send an event to one plugin, whatever its capabilities, and return its answer's data.

        If the event has a configured default answer, its data is returned after a failure.

        Args:
            plugin: Any of its names.
            event: The event's name.
            payload: Any JSON value.
            timeout: Seconds; by default the event's, or the plugin's if that is shorter.
            hops: How many plugins the event came through.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            UnknownPluginError: There is no such plugin.
            PluginReplyError: The plugin answered with an error.
            PluginTimeoutError: The plugin did not answer in time.
            PluginUnavailableError: The plugin is not connected, its connection ended meanwhile, or
                its circuit is open after repeated failures.
            PluginOverloadedError: Too many events are already waiting for the plugin.
        """
        # The hot path: one lookup each for the plugin and the event, and one compiled step.
        target = self._by_spelling[plugin]
        name, usual = self._asked[event]
        session = target.session
        breaker = target.breaker
        try:
            if session is None or breaker.is_open:
                session = _admit(target)
            # Only a plugin that has crashed lately pays for encoding the event twice.
            watched = None
            if target.crashes.is_watching:
                watched = encode_event(event, payload, self._max_frame_bytes)
                _check_quarantine(target, watched)
            if timeout is None:
                own = target.policy.timeout
                timeout = usual if own is None or own > usual else own
            if self.serving:
                inherited, until = _inherited(monotonic() + timeout)
                hops, timeout = max(hops, inherited), until - monotonic()
            ask = session.request  # read first: calling an attribute as a method costs more
            answer = ask(name, payload, timeout, hops)
            target.counters.events += 1
            data = await (answer if not hops else _while_hopping((target,), hops, answer))
        except PluginError as error:
            self._count(target, error)
            # Only after a failure: the usual request needs no route.
            default = self._registry.routes.route(event).default
            if default is None or not default.ok:
                raise
            return default.data
        # Neither says anything about the plugin, so a pending probe must be released.
        except (CancelledError, PayloadError):
            self._gave_up(target, session)
            raise
        # A comparison is cheaper than a call; after an ordinary answer there is nothing to reset.
        if breaker.failures:
            breaker.succeeded()
        if watched is not None:
            target.crashes.answered(watched.classic_frame)
        return data

    def timeout_of(self, plugin: str, event: str) -> float:
        """Return the seconds that a plugin may take for an event.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return _shorter(self._registry.policies[event].timeout, self._by_spelling[plugin])

    async def request_result(
        self, plugin: str, event: str, payload: Any, *, timeout: float | None = None
    ) -> PluginResult:
        """Send an event to one plugin as `request` does, and return its whole result.

        Args:
            plugin: Any of its names.
            event: The event's name.
            payload: Anything that JSON can represent.
            timeout: Seconds; by default the event's, or the plugin's if that is shorter.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            PluginError: See `request`; raised only without a configured default answer.
        """
        target = self._by_spelling[plugin]
        route = self._registry.routes.route(event)
        message = encode_event(event, payload, self._max_frame_bytes)
        began = monotonic()
        if timeout is None:
            timeout = _shorter(route.policy.timeout, target)
        try:
            hops, until = _inherited(began + timeout) if self.serving else (0, began + timeout)
            answer = normalize_answer(await self._ask(target, message, began, until, hops))
            if not answer.ok:
                raise reply_error(target.name, answer)
        except PluginError as error:
            result = self._failed(target, error, route, _milliseconds_since(began))
            if not result.ok:
                raise
            return result
        return _answered(target, answer, _milliseconds_since(began), message)

    def notify(
        self, event: str, payload: Any, *, hops: int = 0, publisher: PluginRuntime | None = None
    ) -> int:
        """Send an event to all plugins that want it and to subscribers, without waiting.

        Each plugin's queue is limited (``max_notified``). If it is full, the event's ``overflow``
        decides; dropped notifications are counted for their plugin.

        Args:
            event: The event's name.
            payload: Any JSON value.
            hops: How many plugins the event came through.
            publisher: The plugin that published it, which does not get it itself.

        Returns:
            The number of plugins that the event was sent to or queued for.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            PluginOverloadedError: The event's ``overflow`` is ``block`` and a queue is full.
                Plugins before that one got the event; `notify_when_room` waits instead.
        """
        route = self._registry.routes.route(event)
        message = encode_event(event, payload, self._max_frame_bytes)
        overflow = route.policy.overflow
        if self.serving and (origin := Origin.current()) is not None:
            hops = max(hops, origin.hops)
        return sum(
            self._tell(plugin, message, overflow, hops)
            for plugin in route.told
            # A plugin that publishes what it subscribes to would otherwise answer itself.
            if plugin is not publisher
        )

    async def notify_when_room(
        self, event: str, payload: Any, *, timeout: float | None = None
    ) -> int:
        """Send an event as `notify` does, and wait while a queue is full.

        It only ever waits for events whose ``overflow`` is ``block``.

        Args:
            event: The event's name.
            payload: Any JSON value.
            timeout: Seconds to wait for each plugin; by default the event's ``timeout``. A plugin
                whose queue stays full does not get the event, which is counted.

        Returns:
            The number of plugins that the event was sent to or queued for.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        route = self._registry.routes.route(event)
        message = encode_event(event, payload, self._max_frame_bytes)
        overflow = route.policy.overflow
        if timeout is None:
            timeout = route.policy.timeout
        hops = _inherited(0.0)[0] if self.serving else 0
        sent = 0
        for plugin in route.told:
            try:
                # Per plugin, so that one full queue does not use up the time of all others.
                async with asyncio_timeout(timeout):
                    sent += await self._tell_when_room(plugin, message, overflow, hops)
            except TimeoutError:
                plugin.counters.dropped += 1
        return sent

    def _name_and_timeout(self, event: str) -> tuple[EventName, float]:
        check_event(event)
        return EVENT_NAMES[event], self._registry.policies[event].timeout

    # One delivery.

    async def _ask(
        self,
        plugin: PluginRuntime,
        message: Event,
        began: float,
        deadline: float,
        hops: int,
    ) -> dict[str, Any]:
        """Send an event to one plugin and wait for its answer."""
        # Not sent, so it is not the plugin's failure: earlier plugins used up the time.
        if began >= deadline:
            raise _NotAskedError(
                plugin.name, "the chain's timeout expired before its turn", PluginTimeoutError.code
            )
        session = plugin.session
        if session is None or plugin.breaker.is_open:
            session = _admit(plugin)
        if plugin.crashes.is_watching:
            _check_quarantine(plugin, message)
        ask = session.call  # as in `request`
        answer = ask(message, deadline, hops)
        plugin.counters.events += 1
        try:
            return await (answer if not hops else _while_hopping((plugin,), hops, answer))
        except CancelledError:
            self._gave_up(plugin, session)
            raise

    def _deliver(
        self,
        plugin: PluginRuntime,
        message: Event,
        delivery: Delivery,
        began: float,
        timeout: float,
        hops: int,
    ) -> None:
        """Send, and record a refusal in the delivery, so that the other plugins still get it."""
        try:
            session = plugin.session
            if session is None or plugin.breaker.is_open:
                session = _admit(plugin)
            if plugin.crashes.is_watching:
                _check_quarantine(plugin, message)
            deliver = session.deliver  # as in `request`
            deliver(message, delivery, began + _shorter(timeout, plugin), hops)
            plugin.counters.events += 1
        except PluginError as error:
            delivery.set_exception(error)

    def _delivered(
        self,
        plugin: PluginRuntime,
        delivery: Delivery,
        route: Route,
        began: float,
        message: Event,
    ) -> PluginResult:
        duration_ms = (delivery.ended - began) * 1000
        if delivery.error is not None:
            return self._failed(plugin, delivery.error, route, duration_ms)
        answer = normalize_answer(delivery.answer)
        if not answer.ok:
            error = reply_error(plugin.name, answer)
            return self._failed(plugin, error, route, duration_ms, answer.stop)
        return _answered(plugin, answer, duration_ms, message)

    def _tell(self, plugin: PluginRuntime, message: Event, overflow: str, hops: int) -> bool:
        if plugin.session is None:
            plugin.counters.dropped += 1
            return False
        try:
            if plugin.crashes.is_watching:
                _check_quarantine(plugin, message)
            sent = plugin.session.tell(message, overflow, hops)
        except PluginUnavailableError:
            plugin.counters.dropped += 1
            return False
        plugin.counters.events += sent
        return sent

    async def _tell_when_room(
        self, plugin: PluginRuntime, message: Event, overflow: str, hops: int
    ) -> bool:
        while True:
            # Another caller may be faster when room is announced; so this tries in a loop.
            try:
                return self._tell(plugin, message, overflow, hops)
            except PluginOverloadedError:
                assert plugin.session is not None
                await plugin.session.room()

    def _replace(
        self,
        plugin: PluginRuntime,
        policy: EventPolicy,
        event: str,
        before: Any,
        after: Any,
        trace: str | None,
    ) -> tuple[Any, Event]:
        """Apply a plugin's replacement. One that cannot be sent on is a failure of the plugin."""
        payload, refused = restore_protected(policy, plugin.name, before, after)
        # One warning per plugin; a plugin that does this does it with every event.
        if refused:
            level = logging.DEBUG if plugin.counters.refused_changes else logging.WARNING
            _log.log(
                level,
                "plugin %s may not change %s of %s; refused (further attempts are only counted)",
                plugin.name,
                ", ".join(refused),
                event,
            )
            plugin.counters.refused_changes += len(refused)
        try:
            return payload, encode_event(event, payload, self._max_frame_bytes, trace)
        except PayloadError as error:
            raise PluginReplyError(plugin.name, f"its replacement: {error}") from error

    # Counting.

    def _failed(
        self,
        plugin: PluginRuntime,
        error: PluginError,
        route: Route,
        duration_ms: float,
        stops: bool = False,
    ) -> PluginResult:
        self._count(plugin, error)
        default = route.default
        return PluginResult(
            plugin=plugin.name,
            # The error stays visible in the result even if the default answer replaces it.
            ok=default is not None and default.ok,
            data=None if default is None else default.data,
            error=error.message,
            error_code=error.code,
            stop=stops if default is None else default.stop,
            is_default=default is not None,
            duration_ms=duration_ms,
        )

    def _count(self, plugin: PluginRuntime, error: PluginError) -> None:
        plugin.counters.errors += 1
        if isinstance(error, PluginTimeoutError):
            plugin.counters.timeouts += 1
        # Refused by the host's own queue, so the plugin's health is still unknown.
        if isinstance(error, PluginOverloadedError):
            plugin.breaker.gave_up()
        elif not isinstance(error, _NotAskedError):
            plugin.breaker.failed()

    def _gave_up(self, plugin: PluginRuntime, session: Session | None) -> None:
        """Called when a caller gave up while its event was in flight."""
        plugin.breaker.gave_up()
        if session is not None:
            # The lane is not notified of a cancelled future, so it has to look for it.
            session.drop_cancelled()


class _NotAskedError(PluginUnavailableError):
    """The event was not sent to the plugin, which says nothing new about the plugin."""


def _admit(plugin: PluginRuntime) -> Session:
    """Return the session of a plugin that may be called after all, or raise why it may not."""
    if plugin.session is None:
        raise _NotAskedError(
            plugin.name, f"not connected ({plugin.status}: {plugin.reason or 'no reason given'})"
        )
    breaker = plugin.breaker
    if not breaker.takes_probe():
        raise _NotAskedError(
            plugin.name,
            f"its circuit is open after {breaker.failures} failures in a row; "
            f"the next attempt is possible in {breaker.opens_in:.1f} s",
        )
    return plugin.session


def _check_quarantine(plugin: PluginRuntime, message: Event) -> None:
    if plugin.crashes.skips(message.classic_frame):
        raise _NotAskedError(
            plugin.name, "this event is in quarantine: the plugin crashed with it twice"
        )


def _inherited(until: float) -> tuple[int, float]:
    """Return the hops of the call that is being served, and the earlier of the two deadlines."""
    origin = Origin.current()
    return (0, until) if origin is None else (origin.hops, min(until, origin.until))


async def _while_hopping(plugins: Iterable[PluginRuntime], hops: int, answer: Awaitable[T]) -> T:
    """Wait for an answer, and meanwhile record how many plugins its event came through."""
    for plugin in plugins:
        plugin.hops_in_flight.append(hops)
    try:
        return await answer
    finally:
        for plugin in plugins:
            plugin.hops_in_flight.remove(hops)


def _drop_cancelled(plugins: Iterable[PluginRuntime]) -> None:
    # Any of them may have been the probe of an open circuit, whose end must be reported.
    for plugin in plugins:
        plugin.breaker.gave_up()
        if plugin.session is not None:
            plugin.session.drop_cancelled()


def _answered(
    plugin: PluginRuntime, answer: Answer, duration_ms: float, message: Event
) -> PluginResult:
    if plugin.breaker.failures:
        plugin.breaker.succeeded()
    if plugin.crashes.is_watching:
        plugin.crashes.answered(message.classic_frame)
    return PluginResult(
        plugin=plugin.name, ok=True, data=answer.data, stop=answer.stop, duration_ms=duration_ms
    )


def _shorter(timeout: float, plugin: PluginRuntime) -> float:
    own = plugin.policy.timeout
    return timeout if own is None or own > timeout else own


def _milliseconds_since(began: float) -> float:
    return (monotonic() - began) * 1000
