"""Sends events to plugins and returns their answers: chain, fan-out, one plugin.

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
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic
from typing import Any

import msgspec

from vconnect._framing import Event, EventName
from vconnect._names import NameCache
from vconnect.errors import (
    NotAskedError,
    PayloadError,
    PluginError,
    PluginReplyError,
)
from vconnect.names import canonical_name
from vconnect.plugins.latency import Outcome as Became
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.plugins.registry import Registry
from vconnect.plugins.routes import Route, Step
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.events import EventPolicy
from vconnect.wire._fan_out import FanOut
from vconnect.wire.messages import (
    EVENT_NAMES,
    check_event,
    encode_event,
    normalize_answer,
    reply_error,
)

from .accounts import Account
from .delivery import (
    admit,
    answered,
    ask,
    check_quarantine,
    checked,
    count,
    count_for_another,
    deliver,
    delivered,
    failed,
    gave_up,
    gave_up_all,
    inherited,
    inherited_trace,
    milliseconds_since,
    out_of_time,
    while_hopping,
)
from .protected import changed_fields, restore_protected
from .results import Outcome, PluginResult, Refusal, refused_by
from .telling import Telling

_log = logging.getLogger(__name__)


class Dispatcher(Telling):
    """Sends events along the registry's routes.

    Args:
        registry: The plugins and their routes.
        max_frame_bytes: The largest payload of a frame.
    """

    def __init__(self, registry: Registry, max_frame_bytes: int) -> None:
        super().__init__(registry, max_frame_bytes)
        self._by_spelling = registry.by_spelling
        #: An event's encoded name and its timeout, in one lookup: `request` needs both each time.
        self._asked = NameCache(self._name_and_timeout)

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
        came = monotonic()
        until = came + (policy.chain_timeout if timeout is None else checked(timeout))
        hops = 0
        if self.serving:
            hops, until = inherited(until)
            trace = inherited_trace(trace)
        # Encoded once for all plugins, and again only when one of them replaces the payload.
        message = encode_event(event, payload, self._max_frame_bytes, trace)
        if route.absent:
            return self._without(route, payload)
        results: list[PluginResult] = []
        # Looked at now: the caller may change the payload while the first plugin works.
        is_plain = route.is_plain
        asked = () if is_plain else route.asked(payload)
        for step in route.steps:
            plugin = step.plugin
            if not is_plain:
                if step not in asked:
                    continue
                if step.is_observer:
                    await self._tell_observer(step, message, until, hops)
                    continue
            began = monotonic()
            answer = None
            # A plugin gets its own timeout, but not more than what is left for the chain.
            deadline = began + step.timeout
            if deadline > until:
                deadline = until
            try:
                sent = message
                changed: tuple[str, ...] = ()
                answer = normalize_answer(await ask(step, sent, began, deadline, hops))
                if not answer.ok:
                    raise reply_error(plugin.name, answer)
                if answer.replacement is not msgspec.UNSET:
                    payload, message, changed = self._replace(
                        plugin, policy, event, sent, answer.replacement, trace
                    )
                    asked = route.asked(payload)
                # After the replacement, which may turn the answer into a failure.
                # Here without `milliseconds_since`: on this path, each call shows in the figures.
                duration_ms = (monotonic() - began) * 1000
                stops = answer.stop and step.may_stop
                results.append(answered(step, answer, duration_ms, sent, stops, changed))
            except PluginError as error:
                # An error answer can still end the chain; see docs/wire.md.
                stops = answer is not None and answer.stop and step.may_stop
                duration_ms = milliseconds_since(began)
                results.append(failed(step, error, duration_ms, deadline - began, stops=stops))
                # "closed": without this plugin's consent, nothing goes further.
                if step.is_closed:
                    route.chain.observe_since(came)
                    return _refused(results, payload, error)
                if step.default is not None and step.default.replacement is not msgspec.UNSET:
                    # The default answer acts like a plugin's own answer, including its replacement.
                    payload = step.default.replacement
                    message = encode_event(event, payload, self._max_frame_bytes, trace)
                    asked = route.asked(payload)
            if results[-1].stop:
                route.chain.observe_since(came)
                refusal = refused_by(results[-1])
                return Outcome(results, plugin.name, payload, None, refusal)
        route.chain.observe_since(came)
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
        if self.serving:
            trace = inherited_trace(trace)
        message = encode_event(event, payload, self._max_frame_bytes, trace)
        policy = route.policy
        if route.absent:
            return self._without(route, payload)
        began = monotonic()
        hops, until = inherited(inf) if self.serving else (0, inf)
        if timeout is not None:
            until = min(until, began + checked(timeout))
        # One future for all plugins, and no task: see `FanOut`.
        fan_out = FanOut()
        steps = route.asked(payload)
        try:
            for step in steps:
                delivery = fan_out.add()
                if until <= began:
                    delivery.set_exception(out_of_time(step.plugin))
                    continue
                deadline = began + step.timeout
                if deadline > until:
                    deadline = until
                deliver(step, message, delivery, deadline, hops, began)
            done = fan_out.wait()
            if hops:
                await while_hopping([step.plugin for step in steps], hops, done)
            else:
                await done
        except CancelledError:
            # The lanes drop the answers that still arrive; their slots stay taken until then.
            fan_out.abandon()
            gave_up_all(steps)
            raise
        deliveries = zip(steps, fan_out.results(), strict=True)
        results = [delivered(step, one, began, until, message) for step, one in deliveries]
        for step, result in zip(steps, results, strict=True) if policy.requires else ():
            if step.is_required and not result.ok:
                error = PluginError(result.plugin, result.error or "", result.error_code)
                return _refused(results, payload, error)
        return Outcome(results, None, payload)

    async def request(
        self,
        plugin: str,
        event: str,
        payload: Any,
        timeout: float | None = None,
        hops: int = 0,
        account: Account | None = None,
        trace: str | None = None,
    ) -> Any:
        """Send an event to one plugin, whatever its capabilities, and return its answer's data.

        If the event has a configured default answer, its data is returned after a failure.

        Args:
            plugin: Any of its names.
            event: The event's name.
            payload: Any JSON value.
            timeout: Seconds; by default the event's, or the plugin's if that is shorter.
            hops: How many plugins the event came through.
            account: Is charged for a large answer.
            trace: A W3C ``traceparent``, passed on to a native plugin.

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
            # Only a plugin that has crashed lately pays for encoding the event twice. First, as in
            # `ask`.
            watched = None
            if target.crashes.is_watching:
                watched = encode_event(event, payload, self._max_frame_bytes)
                check_quarantine(target, watched)
            if session is None or breaker.is_open:
                session = admit(target)
            if timeout is None:
                timeout = usual
                if target.has_timeouts:
                    timeout = self._registry.routes.step(target, event).timeout
            elif checked(timeout) <= 0:
                raise out_of_time(target)
            if self.serving:
                timeout, hops = _within(target, timeout, hops)
                trace = inherited_trace(trace)
            ask = session.request  # read first: calling an attribute as a method costs more
            answer = ask(name, payload, timeout, hops, account, trace)
            # Released before the wait: it may consist of many small objects.
            del payload
            data = await (answer if not hops else while_hopping((target,), hops, answer))
        except PluginError as error:
            # Only after a failure: the usual request needs no route.
            step = self._registry.routes.step(target, event)
            if account is None:
                count(step, error, step.timeout if timeout is None else timeout, raises=True)
            else:
                count_for_another(step, error)
            if step.default is None:
                raise
            return _default_data(step, error)
        # Neither says anything about the plugin, so a pending probe must be released.
        except CancelledError:
            self._registry.routes.step(target, event).row.count(Became.CANCELLED)
            gave_up(target, session)
            raise
        except PayloadError:
            gave_up(target, session)
            raise
        # A comparison is cheaper than a call; after an ordinary answer there is nothing to reset.
        if breaker.failures:
            breaker.succeeded()
        if watched is not None:
            target.crashes.answered(watched.classic_frame)
        return data

    def watch_failures(self, watcher: Callable[[str, PluginError], None] | None) -> None:
        """Call somebody with the event and the error of each failure, or nobody any more."""
        self._registry.on_failure = watcher

    def plugins(self) -> Iterator[PluginRuntime]:
        """Iterate over the plugins."""
        return iter(self._registry)

    def forget_policies(self) -> None:
        """Look up the events' timeouts anew: the settings have changed."""
        self._asked.clear()

    def find(self, plugin: str) -> PluginRuntime:
        """Return a plugin by any of its names.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return self._by_spelling[plugin]

    def timeout_of(self, plugin: str, event: str) -> float:
        """Return the seconds that a plugin may take for an event.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return self._registry.routes.step(self._by_spelling[plugin], event).timeout

    async def request_result(
        self,
        plugin: str,
        event: str,
        payload: Any,
        *,
        timeout: float | None = None,
        trace: str | None = None,
    ) -> PluginResult:
        """Send an event to one plugin as `request` does, and return its whole result.

        Args:
            plugin: Any of its names.
            event: The event's name.
            payload: Anything that JSON can represent.
            timeout: Seconds; by default the event's, or the plugin's if that is shorter.
            trace: A W3C ``traceparent``, passed on to a native plugin.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            PluginError: See `request`; raised only without a configured default answer.
        """
        target = self._by_spelling[plugin]
        check_event(event)
        step = self._registry.routes.step(target, event)
        if self.serving:
            trace = inherited_trace(trace)
        message = encode_event(event, payload, self._max_frame_bytes, trace)
        began = monotonic()
        until = began + (step.timeout if timeout is None else checked(timeout))
        hops = 0
        if self.serving:
            hops, until = inherited(until)
        try:
            answer = normalize_answer(await ask(step, message, began, until, hops))
            if not answer.ok:
                raise reply_error(target.name, answer)
        except PluginError as error:
            result = failed(step, error, milliseconds_since(began), until - began)
            if step.default is None:
                raise
            if not result.ok:
                raise reply_error(target.name, step.default) from error
            return result
        stops = answer.stop and step.may_stop
        return answered(step, answer, milliseconds_since(began), message, stops)

    # Building blocks.

    def _without(self, route: Route, payload: Any) -> Outcome:
        """Refuse an event that requires a plugin which does not take part."""
        name = canonical_name(route.absent[0])
        plugin = self._registry.find(name)
        if plugin is None:
            reason, words = Reason.NOT_INSTALLED, "the event requires it, and it is not there"
        elif plugin.is_wanted and plugin.session is not None:
            reason, words = Reason.NOT_HANDLED, "the event requires it, and it does not handle it"
        else:
            reason = plugin.why_not_connected
            words = f"the event requires it ({plugin.state_in_words})"
        counted = self._registry.absent[name] if plugin is None else plugin.passed_over
        counted.add(route.chain.event, reason, Effect.REFUSED)
        error = NotAskedError(name if plugin is None else plugin.name, words, reason=reason)
        return _refused([], payload, error)

    def _name_and_timeout(self, event: str) -> tuple[EventName, float]:
        check_event(event)
        return EVENT_NAMES[event], self._registry.policies[event].timeout

    def _replace(
        self,
        plugin: PluginRuntime,
        policy: EventPolicy,
        event: str,
        sent: Event,
        after: Any,
        trace: str | None,
    ) -> tuple[Any, Event, tuple[str, ...]]:
        """Apply a plugin's replacement. One that cannot be sent on is a failure of the plugin.

        Returns:
            The payload for the following plugins, its message, and the fields that have changed.
        """
        # What was sent, and not the caller's object: the caller may have changed it meanwhile.
        before = sent.decoded()
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
            message = encode_event(event, payload, self._max_frame_bytes, trace)
        except PayloadError as error:
            raise PluginReplyError(plugin.name, f"its replacement: {error}") from error
        return payload, message, changed_fields(before, payload)


def _within(target: PluginRuntime, timeout: float, hops: int) -> tuple[float, int]:
    """Return the seconds and the hops of a request that another plugin's call may have caused.

    Raises:
        NotAskedError: That call has no time left.
    """
    passed, until = inherited(monotonic() + timeout)
    left = until - monotonic()
    if left <= 0:
        raise out_of_time(target)
    return left, max(hops, passed)


def _default_data(step: Step, error: PluginError) -> Any:
    """Return the data of a default answer, which replaces a failure.

    Raises:
        PluginReplyError: It is an error itself.
    """
    assert step.default is not None
    if not step.default.ok:
        raise reply_error(step.plugin.name, step.default) from error
    return step.default.data


def _refused(results: list[PluginResult], payload: Any, error: PluginError) -> Outcome:
    """Build the outcome of an event that goes no further because a plugin has failed."""
    refusal = Refusal(plugin=error.plugin, code=error.code, message=error.message)
    return Outcome(results, error.plugin, payload, str(error), refusal)
