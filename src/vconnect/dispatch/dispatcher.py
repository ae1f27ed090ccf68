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

from vconnect._framing import Event, EventName
from vconnect.errors import (
    PayloadError,
    PluginError,
    PluginOverloadedError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from vconnect.plugins.registry import Registry
from vconnect.plugins.routes import Route
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.events import EventPolicy, resolve_policy, restore_protected
from vconnect.settings.load import Settings
from vconnect.wire._lane import Delivery, FanOut
from vconnect.wire.messages import Answer, normalize_answer, reply_error
from vconnect.wire.session import EVENT_NAMES, Session, encode_event

_MAX_ASKED = 4096

_log = logging.getLogger(__name__)


class PluginResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one plugin made of one event.

    Attributes:
        ok: Whether it answered, and not with an error; or a default answer stood in for it.
        data: Its answer.
        error: What went wrong, in words, without the plugin's name; also beside a default answer.
        error_code: … as a word of the wire's vocabulary.
        stop: Whether it ended the chain.
        is_default: Whether `data` is the operator's default answer, because the plugin failed.
        duration_ms: From sending to the answer.
    """

    plugin: str
    ok: bool
    data: Any = None
    error: str | None = None
    error_code: str | None = None
    stop: bool = False
    is_default: bool = False
    duration_ms: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """What came of a chain or a fan-out.

    Attributes:
        results: One for each plugin that was asked, in chain order.
        stopped_by: The plugin that ended the chain, or ``None``.
        payload: The payload as the last plugin left it.
        reason: Why the chain ended at a plugin that failed (``on_failure = "closed"``), or
            ``None``.
    """

    results: list[PluginResult]
    stopped_by: str | None
    payload: Any
    reason: str | None = None


class Dispatcher:
    """Sends events along the registry's routes.

    Args:
        registry: Who is connected.
        settings: Timeouts and limits.
    """

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._by_spelling = registry.by_spelling
        self._asked = _Asked(settings)
        self._max_frame_bytes = settings.max_frame_bytes

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
        for runtime in route.plugins:
            began = monotonic()
            answer = None
            try:
                answer = normalize_answer(await self._ask(runtime, message, policy, began, until))
                if not answer.ok:
                    raise reply_error(runtime.name, answer)
                if answer.replacement is not msgspec.UNSET:
                    payload, message = self._replace(
                        runtime, policy, event, payload, answer.replacement, trace
                    )
                results.append(_answered(runtime, answer, _milliseconds_since(began)))
            except PluginError as error:
                stops = answer is not None and answer.stop
                results.append(
                    self._failed(runtime, error, route, _milliseconds_since(began), stops)
                )
                if policy.on_failure == "closed":
                    return Outcome(results, runtime.name, payload, str(error))
                if route.default is not None and route.default.replacement is not msgspec.UNSET:
                    payload = route.default.replacement
                    message = encode_event(event, payload, self._max_frame_bytes, trace)
            if results[-1].stop:
                return Outcome(results, runtime.name, payload)
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
            for runtime in route.plugins:
                self._deliver(runtime, message, fan_out.add(), began, timeout)
            await fan_out.wait()
        except CancelledError:
            fan_out.abandon()
            _drop_cancelled(route.plugins)
            raise
        results = [
            self._delivered(runtime, delivery, route, began)
            for runtime, delivery in zip(route.plugins, fan_out.deliveries, strict=True)
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
        runtime = self._by_spelling[plugin]
        session = runtime.session
        breaker = runtime.breaker
        try:
            if session is None or breaker.is_open:
                session = _admit(runtime)
            if runtime.crashes.quarantine:
                _check_quarantine(runtime, encode_event(event, payload, self._max_frame_bytes))
            name, usual = self._asked[event]
            if timeout is None:
                own = runtime.limits.timeout
                timeout = usual if own is None or own > usual else own
            ask = session.request  # an attribute, not a method: called in one step it costs more
            answer = ask(name, payload, timeout, hops)
            runtime.events += 1
            data = await (answer if not hops else _while_hopping(runtime, hops, answer))
        except PluginError as error:
            self._count(runtime, error)
            default = self._registry.routes.route(event).default
            if default is None or not default.ok:
                raise
            return default.data
        except (CancelledError, PayloadError):
            self._gave_up(runtime, session)
            raise
        if breaker.failures:
            breaker.succeeded()
        return data

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
            self._tell(runtime, message, overflow, hops)
            for runtime in route.told
            if runtime is not publisher
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
        for runtime in route.told:
            try:
                async with asyncio_timeout(timeout):
                    sent += await self._tell_when_room(runtime, message, overflow)
            except TimeoutError:
                runtime.dropped += 1
        return sent

    # One delivery.

    async def _ask(
        self,
        runtime: PluginRuntime,
        message: Event,
        policy: EventPolicy,
        began: float,
        until: float,
    ) -> dict[str, Any]:
        """Send a chain's event to one plugin and wait for its answer."""
        if began >= until:
            raise _NotAskedError(
                runtime.name, "the chain's time was used up before", PluginTimeoutError.code
            )
        session = runtime.session
        if session is None or runtime.breaker.is_open:
            session = _admit(runtime)
        if runtime.crashes.quarantine:
            _check_quarantine(runtime, message)
        deadline = min(until, began + _shorter(policy.timeout, runtime))
        ask = session.call  # as in `request`
        answer = ask(message, deadline)
        runtime.events += 1
        try:
            return await answer
        except CancelledError:
            self._gave_up(runtime, session)
            raise

    def _deliver(
        self,
        runtime: PluginRuntime,
        message: Event,
        delivery: Delivery,
        began: float,
        timeout: float,
    ) -> None:
        """Send, and let the delivery hold a refusal: the others are still to be asked."""
        try:
            session = runtime.session
            if session is None or runtime.breaker.is_open:
                session = _admit(runtime)
            if runtime.crashes.quarantine:
                _check_quarantine(runtime, message)
            deliver = session.deliver  # as in `request`
            deliver(message, delivery, began + _shorter(timeout, runtime))
            runtime.events += 1
        except PluginError as error:
            delivery.set_exception(error)

    def _delivered(
        self, runtime: PluginRuntime, delivery: Delivery, route: Route, began: float
    ) -> PluginResult:
        duration_ms = (delivery.ended - began) * 1000
        if delivery.error is not None:
            return self._failed(runtime, delivery.error, route, duration_ms)
        answer = normalize_answer(delivery.answer)
        if not answer.ok:
            error = reply_error(runtime.name, answer)
            return self._failed(runtime, error, route, duration_ms, answer.stop)
        return _answered(runtime, answer, duration_ms)

    def _tell(self, runtime: PluginRuntime, message: Event, overflow: str, hops: int) -> bool:
        if runtime.session is None:
            runtime.dropped += 1
            return False
        try:
            if runtime.crashes.quarantine:
                _check_quarantine(runtime, message)
            sent = runtime.session.tell(message, overflow, hops)
        except PluginUnavailableError:
            runtime.dropped += 1
            return False
        runtime.events += sent
        return sent

    async def _tell_when_room(self, runtime: PluginRuntime, message: Event, overflow: str) -> bool:
        while True:
            try:
                return self._tell(runtime, message, overflow, 0)
            except PluginOverloadedError:
                assert runtime.session is not None
                await runtime.session.room()

    def _replace(
        self,
        runtime: PluginRuntime,
        policy: EventPolicy,
        event: str,
        before: Any,
        after: Any,
        trace: str | None,
    ) -> tuple[Any, Event]:
        """Take a plugin's replacement; if it cannot be sent on, the plugin has failed."""
        payload, refused = restore_protected(policy, runtime.name, before, after)
        if refused:
            level = logging.DEBUG if runtime.refused_changes else logging.WARNING
            _log.log(
                level,
                "plugin %s may not change %s of %s; refused (counted from now on)",
                *(runtime.name, ", ".join(refused), event),
            )
            runtime.refused_changes += len(refused)
        try:
            return payload, encode_event(event, payload, self._max_frame_bytes, trace)
        except PayloadError as error:
            raise PluginReplyError(runtime.name, f"its replacement: {error}") from error

    # What is counted.

    def _failed(
        self,
        runtime: PluginRuntime,
        error: PluginError,
        route: Route,
        duration_ms: float,
        stops: bool = False,
    ) -> PluginResult:
        self._count(runtime, error)
        default = route.default
        return PluginResult(
            plugin=runtime.name,
            ok=default is not None and default.ok,
            data=None if default is None else default.data,
            error=error.message,
            error_code=error.code,
            stop=stops if default is None else default.stop,
            is_default=default is not None,
            duration_ms=duration_ms,
        )

    def _count(self, runtime: PluginRuntime, error: PluginError) -> None:
        runtime.errors += 1
        if isinstance(error, PluginTimeoutError):
            runtime.timeouts += 1
        if isinstance(error, PluginOverloadedError):
            runtime.breaker.gave_up()  # nobody knows how it would have answered
        elif not isinstance(error, _NotAskedError):
            runtime.breaker.failed()

    def _gave_up(self, runtime: PluginRuntime, session: Session | None) -> None:
        """Hear that a caller went away with its event in flight."""
        runtime.breaker.gave_up()
        if session is not None:
            session.drop_cancelled()


class _Asked(dict[str, tuple[EventName, float]]):
    """An event's encoded name and what one plugin may take for it, in one look-up.

    Worked out when the event comes first; names come from callers, so there is an end to it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __missing__(self, event: str) -> tuple[EventName, float]:
        settings = self._settings
        policy = resolve_policy(event, settings.events, settings.event_defaults)
        if len(self) >= _MAX_ASKED:
            self.clear()
        found = self[event] = EVENT_NAMES[event], policy.timeout
        return found


class _NotAskedError(PluginUnavailableError):
    """The plugin was not even asked, which says nothing new about it."""


def _admit(runtime: PluginRuntime) -> Session:
    """Return the session of a plugin that may be asked, against first appearances."""
    if runtime.session is None:
        raise _NotAskedError(
            runtime.name, f"not connected ({runtime.status}: {runtime.reason or 'no reason'})"
        )
    breaker = runtime.breaker
    if not breaker.takes_probe():
        raise _NotAskedError(
            runtime.name,
            f"its circuit is open after {breaker.failures} failures in a row; "
            f"the next probe is due in {breaker.opens_in:.1f} s",
        )
    return runtime.session


def _check_quarantine(runtime: PluginRuntime, message: Event) -> None:
    if runtime.crashes.skips(message.classic_frame):
        raise _NotAskedError(
            runtime.name, "this event is in quarantine: the plugin crashed with it twice"
        )


async def _while_hopping(runtime: PluginRuntime, hops: int, answer: Future[Any]) -> Any:
    """Wait for an answer, and know meanwhile how many plugins its event came through."""
    runtime.hops_in_flight.append(hops)
    try:
        return await answer
    finally:
        runtime.hops_in_flight.remove(hops)


def _drop_cancelled(plugins: Iterable[PluginRuntime]) -> None:
    for runtime in plugins:
        runtime.breaker.gave_up()
        if runtime.session is not None:
            runtime.session.drop_cancelled()


def _answered(runtime: PluginRuntime, answer: Answer, duration_ms: float) -> PluginResult:
    if runtime.breaker.failures:
        runtime.breaker.succeeded()
    return PluginResult(
        plugin=runtime.name, ok=True, data=answer.data, stop=answer.stop, duration_ms=duration_ms
    )


def _shorter(timeout: float, runtime: PluginRuntime) -> float:
    own = runtime.limits.timeout
    return timeout if own is None or own > timeout else own


def _milliseconds_since(began: float) -> float:
    return (monotonic() - began) * 1000
