"""Events to plugins and answers back: chain, fan-out, one plugin, and nobody waiting.

Deadlines are seconds of ``time.monotonic()``, timeouts are seconds from now. Cancelling any of
these calls is safe: an event that was sent is answered all the same, and its answer is dropped.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError, Future
from asyncio import timeout as asyncio_timeout
from collections.abc import Iterable
from time import monotonic
from typing import Any

import msgspec

from vconnect._framing import Event
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
from vconnect.wire.messages import EVENT_NAMES, Answer, encode_event, normalize_answer, reply_error
from vconnect.wire.session import Session

from .protected import restore_protected
from .results import Outcome, PluginResult

_log = logging.getLogger(__name__)


class Dispatcher:
    """Sends events along the registry's routes.

    Args:
        registry: Who is connected.
        max_frame_bytes: The largest payload of a frame.
    """

    def __init__(self, registry: Registry, max_frame_bytes: int) -> None:
        self._registry = registry
        self._by_spelling = registry.by_spelling
        policies = registry.policies
        #: An event's encoded name and its usual timeout, in one look-up.
        self._asked = NameCache(lambda event: (EVENT_NAMES[event], policies[event].timeout))
        self._max_frame_bytes = max_frame_bytes

    async def emit(
        self, event: str, payload: Any, *, timeout: float | None = None, trace: str | None = None
    ) -> Outcome:
        """Send an event through the chain: one plugin after the other, in order.

        An answer may stop the chain, or replace the payload for those after it, except for
        protected fields. What follows when a plugin fails is the operator's choice
        (``on_failure``).

        Args:
            event: The event's name.
            payload: Anything that JSON holds.
            timeout: Seconds for the whole chain; by default the event's ``chain_timeout``.
            trace: A W3C ``traceparent``, handed on to native plugins.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        route = self._registry.routes.route(event)
        policy = route.policy
        until = monotonic() + (policy.chain_timeout if timeout is None else timeout)
        message = encode_event(event, payload, self._max_frame_bytes, trace)
        results: list[PluginResult] = []
        for plugin in route.plugins:
            began = monotonic()
            answer = None
            try:
                deadline = min(until, began + _shorter(policy.timeout, plugin))
                answer = normalize_answer(await self._ask(plugin, message, began, deadline))
                if not answer.ok:
                    raise reply_error(plugin.name, answer)
                if answer.replacement is not msgspec.UNSET:
                    payload, message = self._replace(
                        plugin, policy, event, payload, answer.replacement, trace
                    )
                results.append(_answered(plugin, answer, _milliseconds_since(began)))
            except PluginError as error:
                stops = answer is not None and answer.stop
                results.append(
                    self._failed(plugin, error, route, _milliseconds_since(began), stops)
                )
                if policy.on_failure == "closed":
                    return Outcome(results, plugin.name, payload, str(error))
                if route.default is not None and route.default.replacement is not msgspec.UNSET:
                    payload = route.default.replacement
                    message = encode_event(event, payload, self._max_frame_bytes, trace)
            if results[-1].stop:
                return Outcome(results, plugin.name, payload)
        return Outcome(results, None, payload)

    async def broadcast(
        self, event: str, payload: Any, *, timeout: float | None = None, trace: str | None = None
    ) -> Outcome:
        """Send an event to all capable plugins at the same time and collect every answer or error.

        Args:
            event: The event's name.
            payload: Anything that JSON holds; encoded once for all.
            timeout: Seconds for each plugin; by default the event's ``timeout``.
            trace: A W3C ``traceparent``, handed on to native plugins.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        route = self._registry.routes.route(event)
        message = encode_event(event, payload, self._max_frame_bytes, trace)
        began = monotonic()
        if timeout is None:
            timeout = route.policy.timeout
        fan_out = FanOut()
        try:
            for plugin in route.plugins:
                self._deliver(plugin, message, fan_out.add(), began, timeout)
            await fan_out.wait()
        except CancelledError:
            fan_out.abandon()
            _drop_cancelled(route.plugins)
            raise
        results = [
            self._delivered(plugin, delivery, route, began)
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

        Where the operator has a default answer for the event, its data stands in for a failure.

        Args:
            plugin: Any of its names.
            event: The event's name.
            payload: Anything that JSON holds.
            timeout: Seconds; by default the event's, or the plugin's if that is shorter.
            hops: How many plugins the event came through.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            UnknownPluginError: There is no such plugin.
            PluginReplyError: It answered with an error.
            PluginTimeoutError: It did not answer in time.
            PluginUnavailableError: It is not connected, its connection ended meanwhile, or it has
                failed so often that it is left alone for a while.
            PluginOverloadedError: Too many events wait for it already.
        """
        target = self._by_spelling[plugin]
        session = target.session
        breaker = target.breaker
        try:
            if session is None or breaker.is_open:
                session = _admit(target)
            if target.crashes.quarantine:
                _check_quarantine(target, encode_event(event, payload, self._max_frame_bytes))
            name, usual = self._asked[event]
            if timeout is None:
                own = target.policy.timeout
                timeout = usual if own is None or own > usual else own
            ask = session.request  # an attribute, not a method: called in one step it costs more
            answer = ask(name, payload, timeout, hops)
            target.counters.events += 1
            data = await (answer if not hops else _while_hopping(target, hops, answer))
        except PluginError as error:
            self._count(target, error)
            default = self._registry.routes.route(event).default
            if default is None or not default.ok:
                raise
            return default.data
        except (CancelledError, PayloadError):
            self._gave_up(target, session)
            raise
        if breaker.failures:
            breaker.succeeded()
        return data

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
            PluginError: As `request`. No default answer was there to stand in.
        """
        target = self._by_spelling[plugin]
        route = self._registry.routes.route(event)
        message = encode_event(event, payload, self._max_frame_bytes)
        began = monotonic()
        if timeout is None:
            timeout = _shorter(route.policy.timeout, target)
        try:
            answer = normalize_answer(await self._ask(target, message, began, began + timeout))
            if not answer.ok:
                raise reply_error(target.name, answer)
        except PluginError as error:
            result = self._failed(target, error, route, _milliseconds_since(began))
            if not result.ok:
                raise
            return result
        return _answered(target, answer, _milliseconds_since(began))

    def notify(
        self, event: str, payload: Any, *, hops: int = 0, publisher: PluginRuntime | None = None
    ) -> int:
        """Send an event to all capable plugins and subscribers, and wait for nobody.

        Each plugin's queue is bounded (``max_notified``). What happens at its end is the event's
        ``overflow``; what is dropped is counted for its plugin.

        Args:
            event: The event's name.
            payload: Anything that JSON holds.
            hops: How many plugins the event came through.
            publisher: Who published it, and does not get it itself.

        Returns:
            To how many plugins it went.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            PluginOverloadedError: The event's ``overflow`` is ``block`` and a queue is full. It
                went to those before that one; `notify_when_room` waits instead.
        """
        route = self._registry.routes.route(event)
        message = encode_event(event, payload, self._max_frame_bytes)
        overflow = route.policy.overflow
        return sum(
            self._tell(plugin, message, overflow, hops)
            for plugin in route.told
            if plugin is not publisher
        )

    async def notify_when_room(
        self, event: str, payload: Any, *, timeout: float | None = None
    ) -> int:
        """Send an event as `notify` does, and wait where a queue is full.

        Only for events whose ``overflow`` is ``block`` there is anything to wait for.

        Args:
            event: The event's name.
            payload: Anything that JSON holds.
            timeout: Seconds to wait for each plugin; by default the event's ``timeout``. A plugin
                whose queue stays full does not get it, which is counted.

        Returns:
            To how many plugins it went.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        route = self._registry.routes.route(event)
        message = encode_event(event, payload, self._max_frame_bytes)
        overflow = route.policy.overflow
        if timeout is None:
            timeout = route.policy.timeout
        sent = 0
        for plugin in route.told:
            try:
                async with asyncio_timeout(timeout):
                    sent += await self._tell_when_room(plugin, message, overflow)
            except TimeoutError:
                plugin.counters.dropped += 1
        return sent

    # One delivery.

    async def _ask(
        self,
        plugin: PluginRuntime,
        message: Event,
        began: float,
        deadline: float,
    ) -> dict[str, Any]:
        """Send an event to one plugin and wait for its answer."""
        if began >= deadline:
            raise _NotAskedError(
                plugin.name, "the chain's time was used up before", PluginTimeoutError.code
            )
        session = plugin.session
        if session is None or plugin.breaker.is_open:
            session = _admit(plugin)
        if plugin.crashes.quarantine:
            _check_quarantine(plugin, message)
        ask = session.call  # as in `request`
        answer = ask(message, deadline)
        plugin.counters.events += 1
        try:
            return await answer
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
    ) -> None:
        """Send, and let the delivery hold a refusal: the others are still to be asked."""
        try:
            session = plugin.session
            if session is None or plugin.breaker.is_open:
                session = _admit(plugin)
            if plugin.crashes.quarantine:
                _check_quarantine(plugin, message)
            deliver = session.deliver  # as in `request`
            deliver(message, delivery, began + _shorter(timeout, plugin))
            plugin.counters.events += 1
        except PluginError as error:
            delivery.set_exception(error)

    def _delivered(
        self, plugin: PluginRuntime, delivery: Delivery, route: Route, began: float
    ) -> PluginResult:
        duration_ms = (delivery.ended - began) * 1000
        if delivery.error is not None:
            return self._failed(plugin, delivery.error, route, duration_ms)
        answer = normalize_answer(delivery.answer)
        if not answer.ok:
            error = reply_error(plugin.name, answer)
            return self._failed(plugin, error, route, duration_ms, answer.stop)
        return _answered(plugin, answer, duration_ms)

    def _tell(self, plugin: PluginRuntime, message: Event, overflow: str, hops: int) -> bool:
        if plugin.session is None:
            plugin.counters.dropped += 1
            return False
        try:
            if plugin.crashes.quarantine:
                _check_quarantine(plugin, message)
            sent = plugin.session.tell(message, overflow, hops)
        except PluginUnavailableError:
            plugin.counters.dropped += 1
            return False
        plugin.counters.events += sent
        return sent

    async def _tell_when_room(self, plugin: PluginRuntime, message: Event, overflow: str) -> bool:
        while True:
            try:
                return self._tell(plugin, message, overflow, 0)
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
        """Take a plugin's replacement; if it cannot be sent on, the plugin has failed."""
        payload, refused = restore_protected(policy, plugin.name, before, after)
        if refused:
            level = logging.DEBUG if plugin.counters.refused_changes else logging.WARNING
            _log.log(
                level,
                "plugin %s may not change %s of %s; refused (counted from now on)",
                *(plugin.name, ", ".join(refused), event),
            )
            plugin.counters.refused_changes += len(refused)
        try:
            return payload, encode_event(event, payload, self._max_frame_bytes, trace)
        except PayloadError as error:
            raise PluginReplyError(plugin.name, f"its replacement: {error}") from error

    # What is counted.

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
        if isinstance(error, PluginOverloadedError):
            plugin.breaker.gave_up()  # nobody knows how it would have answered
        elif not isinstance(error, _NotAskedError):
            plugin.breaker.failed()

    def _gave_up(self, plugin: PluginRuntime, session: Session | None) -> None:
        """Hear that a caller went away with its event in flight."""
        plugin.breaker.gave_up()
        if session is not None:
            session.drop_cancelled()


class _NotAskedError(PluginUnavailableError):
    """The plugin was not even asked, which says nothing new about it."""


def _admit(plugin: PluginRuntime) -> Session:
    """Return the session of a plugin that may be asked, against first appearances."""
    if plugin.session is None:
        raise _NotAskedError(
            plugin.name, f"not connected ({plugin.status}: {plugin.reason or 'no reason'})"
        )
    breaker = plugin.breaker
    if not breaker.takes_probe():
        raise _NotAskedError(
            plugin.name,
            f"its circuit is open after {breaker.failures} failures in a row; "
            f"the next probe is due in {breaker.opens_in:.1f} s",
        )
    return plugin.session


def _check_quarantine(plugin: PluginRuntime, message: Event) -> None:
    if plugin.crashes.skips(message.classic_frame):
        raise _NotAskedError(
            plugin.name, "this event is in quarantine: the plugin crashed with it twice"
        )


async def _while_hopping(plugin: PluginRuntime, hops: int, answer: Future[Any]) -> Any:
    """Wait for an answer, and know meanwhile how many plugins its event came through."""
    plugin.hops_in_flight.append(hops)
    try:
        return await answer
    finally:
        plugin.hops_in_flight.remove(hops)


def _drop_cancelled(plugins: Iterable[PluginRuntime]) -> None:
    for plugin in plugins:
        plugin.breaker.gave_up()
        if plugin.session is not None:
            plugin.session.drop_cancelled()


def _answered(plugin: PluginRuntime, answer: Answer, duration_ms: float) -> PluginResult:
    if plugin.breaker.failures:
        plugin.breaker.succeeded()
    return PluginResult(
        plugin=plugin.name, ok=True, data=answer.data, stop=answer.stop, duration_ms=duration_ms
    )


def _shorter(timeout: float, plugin: PluginRuntime) -> float:
    own = plugin.policy.timeout
    return timeout if own is None or own > timeout else own


def _milliseconds_since(began: float) -> float:
    return (monotonic() - began) * 1000
