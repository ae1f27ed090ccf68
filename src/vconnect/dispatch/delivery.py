"""One event to one plugin: sent or refused, and counted.

Cancelling any of these is safe: an event that was sent is still answered, and its answer is
dropped.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Iterable
from time import monotonic
from typing import Any, TypeVar

from vconnect._framing import Event
from vconnect.bounds import cut
from vconnect.errors import (
    NotAskedError,
    PluginError,
    PluginOverloadedError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from vconnect.plugins.latency import Outcome as Became
from vconnect.plugins.latency import outcome_of
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.plugins.routes import Step
from vconnect.plugins.runtime import PluginRuntime
from vconnect.wire._fan_out import Delivery
from vconnect.wire.messages import Answer, normalize_answer, reply_error
from vconnect.wire.session import Session

from .origin import Origin
from .results import PluginResult

T = TypeVar("T")

# As plain numbers: looking up a member of an enumeration costs more than counting.
# The words of an error are in every summary of its plugin.
_MAX_ERROR_BYTES = 500
_OK, _STOPPED, _CHANGED = int(Became.OK), int(Became.STOPPED), int(Became.CHANGED)
_CANCELLED, _NOTIFIED = int(Became.CANCELLED), int(Became.NOTIFIED)

#: What a fan-out has for one plugin; see `FanOut.results`.
Delivered = tuple[dict[str, Any] | None, PluginError | None, float]


def admit(plugin: PluginRuntime) -> Session:
    """Return the session of a plugin that may be called after all.

    Raises:
        NotAskedError: It may not; the text says why.
    """
    if plugin.session is None:
        raise NotAskedError(
            plugin.name,
            f"not connected ({plugin.state_in_words})",
            reason=plugin.why_not_connected,
        )
    breaker = plugin.breaker
    if not breaker.takes_probe():
        raise NotAskedError(
            plugin.name,
            f"its circuit is open after {breaker.failures} failures in a row; "
            f"the next attempt is possible in {breaker.opens_in:.1f} s",
            reason=Reason.CIRCUIT_OPEN,
        )
    return plugin.session


def check_quarantine(plugin: PluginRuntime, message: Event) -> None:
    """Refuse an event that the plugin has crashed with twice.

    Raises:
        NotAskedError: It has.
    """
    if plugin.crashes.skips(message.classic_frame):
        raise NotAskedError(
            plugin.name,
            "this event is in quarantine: the plugin crashed with it twice",
            reason=Reason.QUARANTINE,
        )


def out_of_time(plugin: PluginRuntime) -> NotAskedError:
    """Return the error of an event for which no time was left."""
    return NotAskedError(
        plugin.name,
        "no time was left for it",
        PluginTimeoutError.code,
        reason=Reason.TIME_USED_UP,
    )


def checked(timeout: float) -> float:
    """Return a timeout that a caller has given.

    Raises:
        ValueError: It is not a number, so that nothing would ever be later than it.
    """
    if timeout != timeout:
        raise ValueError("timeout is nan; expected a number of seconds")
    return timeout


async def ask(
    step: Step, message: Event, began: float, deadline: float, hops: int
) -> dict[str, Any]:
    """Send an event to one plugin and wait for its answer.

    Raises:
        PluginError: There is no answer.
    """
    plugin = step.plugin
    # Not sent, so it is not the plugin's failure: earlier plugins used up the time.
    if began >= deadline:
        raise out_of_time(plugin)
    # Before it may become the probe of an open circuit, whose result would never be reported.
    if plugin.crashes.is_watching:
        check_quarantine(plugin, message)
    session = plugin.session
    if session is None or plugin.breaker.is_open:
        session = admit(plugin)
    call = session.call  # read first: calling an attribute as a method costs more
    answer = call(message, deadline, hops, began)
    try:
        return await (answer if not hops else while_hopping((plugin,), hops, answer))
    except CancelledError:
        step.row.count(_CANCELLED)
        gave_up(plugin, session)
        raise


def deliver(
    step: Step, message: Event, delivery: Delivery, deadline: float, hops: int, began: float
) -> None:
    """Send, and record a refusal in the delivery, so that the other plugins still get it."""
    plugin = step.plugin
    try:
        if plugin.crashes.is_watching:  # first, as in `ask`
            check_quarantine(plugin, message)
        session = plugin.session
        if session is None or plugin.breaker.is_open:
            session = admit(plugin)
        send = session.deliver  # as in `ask`
        send(message, delivery, deadline, hops, began)
    except PluginError as error:
        delivery.set_exception(error)


def delivered(
    step: Step, delivery: Delivered, began: float, until: float, message: Event
) -> PluginResult:
    """Turn what a fan-out has for a plugin into the plugin's result."""
    received, error, ended = delivery
    duration_ms = (ended - began) * 1000
    stops = False
    if received is not None:
        answer = normalize_answer(received)
        stops = answer.stop and step.may_stop
        if answer.ok:
            return answered(step, answer, duration_ms, message, stops)
        error = reply_error(step.plugin.name, answer)
    assert error is not None
    given = min(step.timeout, until - began)
    return failed(step, error, duration_ms, given, stops=stops)


def tell(step: Step, message: Event, overflow: str, hops: int, *, published: bool = False) -> bool:
    """Send or queue a notification; return whether the plugin gets it.

    Args:
        step: The plugin and the event.
        message: The event.
        overflow: What to do if its queue is full; see `Lane.tell`.
        hops: How many plugins the event came through.
        published: Whether another plugin has published it.

    Raises:
        PluginOverloadedError: ``overflow`` is ``block``, and the queue is full.
    """
    plugin = step.plugin
    if plugin.session is None:
        _not_told(step, plugin.why_not_connected)
        return False
    try:
        if plugin.crashes.is_watching:
            check_quarantine(plugin, message)
        sent = plugin.session.tell(message, overflow, hops, published)
    except PluginUnavailableError as error:
        _not_told(step, reason_not_sent(error) or Reason.FAILED)
        return False
    if sent:
        step.row.count(_NOTIFIED)
    return sent


def _not_told(step: Step, reason: Reason) -> None:
    """Count a notification that a plugin does not get, because it is not there for it."""
    counters = step.plugin.counters
    counters.dropped += 1
    counters.unconnected += 1
    step.plugin.passed_over.add(step.row.event, reason, Effect.SKIPPED)


async def tell_when_room(step: Step, message: Event, overflow: str, hops: int) -> bool:
    """Do as `tell`, and wait while the queue is full."""
    while True:
        # Another caller may be faster when room is announced; so this tries in a loop.
        try:
            return tell(step, message, overflow, hops)
        except PluginOverloadedError:
            session = step.plugin.session
            assert session is not None
            await session.room(message)


# Results and counting.


def answered(
    step: Step,
    answer: Answer,
    duration_ms: float,
    message: Event,
    stops: bool,
    changed: tuple[str, ...] = (),
) -> PluginResult:
    """Count a good answer, and build its result.

    Args:
        step: The plugin and the event.
        answer: The plugin's answer.
        duration_ms: How long it took.
        message: What it answered.
        stops: Whether it ends the chain.
        changed: The fields of the payload that it has changed.
    """
    plugin = step.plugin
    step.row.count(_STOPPED if stops else _CHANGED if changed else _OK)
    if plugin.breaker.failures:
        plugin.breaker.succeeded()
    if plugin.crashes.is_watching:
        plugin.crashes.answered(message.classic_frame)
    return PluginResult(
        plugin=plugin.name,
        ok=True,
        data=answer.data,
        stop=stops,
        duration_ms=duration_ms,
        changed=changed,
    )


def failed(
    step: Step, error: PluginError, duration_ms: float, given: float, *, stops: bool = False
) -> PluginResult:
    """Count a failure, and build its result: an error, or the default answer in its place.

    Args:
        step: The plugin and the event.
        error: The failure.
        duration_ms: After how many milliseconds.
        given: How many seconds it was given.
        stops: Whether the plugin ends the chain all the same.
    """
    count(step, error, given)
    passed_over = reason_not_sent(error)
    default = step.default
    if default is not None and not default.ok:  # the operator's own refusal, in his own words
        error = reply_error(step.plugin.name, default)
    return PluginResult(
        plugin=step.plugin.name,
        # The error stays visible in the result even if the default answer replaces it.
        ok=default is not None and default.ok,
        data=None if default is None else default.data,
        error=error.message,
        error_code=error.code,
        stop=stops if default is None else default.stop and step.may_stop,
        is_default=default is not None,
        duration_ms=duration_ms,
        passed_over=passed_over,
    )


def count(step: Step, error: PluginError, given: float, *, raises: bool = False) -> None:
    """Count a failure, and let the circuit breaker know of it.

    Args:
        step: The plugin and the event.
        error: The failure.
        given: How many seconds the plugin was given.
        raises: Whether the caller gets the error, unless there is a default answer.
    """
    plugin = step.plugin
    # Not sent, so not its failure. A full queue is the host's own: the plugin's health is unknown.
    if not _tally(step, error, raises=raises):
        if isinstance(error, PluginOverloadedError):
            plugin.breaker.gave_up()
        elif error.code == PluginTimeoutError.code:  # no time was left for it
            plugin.missed.add(error, step.event, step.policy, step.timeout, given)
        return
    if isinstance(error, PluginTimeoutError):
        plugin.missed.add(error, step.event, step.policy, step.timeout, given)
    # What an earlier process left unanswered says nothing about the one that serves now.
    if isinstance(error, PluginUnavailableError) and plugin.session is not None:
        plugin.breaker.gave_up()
    else:
        plugin.breaker.failed(error.message)


def count_for_another(step: Step, error: PluginError) -> None:
    """Count a failure of an event that another plugin has caused.

    That plugin chooses the parameters and the deadline, so the failure says nothing about the
    health of this one.
    """
    plugin = step.plugin
    _tally(step, error, raises=True)
    # It may have been the probe of an open circuit. What was not asked was none: another event is.
    if not isinstance(error, NotAskedError):
        plugin.breaker.gave_up()


def _tally(step: Step, error: PluginError, *, raises: bool) -> bool:
    """Add a failure to the plugin's counters, and return whether the event was sent."""
    plugin = step.plugin
    plugin.on_failure(step.event, error)
    reason = reason_not_sent(error)
    if reason is not None:
        plugin.passed_over.add(step.row.event, reason, _effect(step, raises=raises))
        return False
    outcome = outcome_of(error)
    step.row.count(outcome)
    if outcome in (Became.ERROR, Became.BAD_ANSWER):
        plugin.last_error = cut(error.message, _MAX_ERROR_BYTES)
    plugin.counters.errors += 1
    plugin.counters.timeouts += isinstance(error, PluginTimeoutError)
    return True


def reason_not_sent(error: PluginError) -> Reason | None:
    """Return why an event was not sent; ``None`` for the error of one that was."""
    if isinstance(error, NotAskedError):
        return Reason(error.reason)
    return Reason.QUEUE_FULL if isinstance(error, PluginOverloadedError) else None


def _effect(step: Step, *, raises: bool) -> Effect:
    """Return what becomes of an event that a plugin does not get."""
    if step.default is not None:
        return Effect.DEFAULT
    return Effect.REFUSED if step.is_closed or raises else Effect.SKIPPED


def gave_up(plugin: PluginRuntime, session: Session | None) -> None:
    """Record that a caller gave up while its event was in flight."""
    plugin.breaker.gave_up()
    if session is not None:
        # The lane is not notified of a cancelled future, so it has to look for it.
        session.drop_cancelled()


def gave_up_all(steps: Iterable[Step]) -> None:
    """Record that the caller of a fan-out gave up."""
    # Any of them may have been the probe of an open circuit, whose end must be reported.
    for step in steps:
        step.row.count(_CANCELLED)
        gave_up(step.plugin, step.plugin.session)


# What a call of a plugin passes on.


def inherited(until: float) -> tuple[int, float]:
    """Return the hops of the call that is being served, and the earlier of the two deadlines."""
    origin = Origin.current()
    return (0, until) if origin is None else (origin.hops, min(until, origin.until))


def inherited_trace(trace: str | None) -> str | None:
    """Return the ``traceparent`` that is given, or else that of the call that is being served."""
    if trace is not None:
        return trace
    origin = Origin.current()
    return None if origin is None else origin.trace


async def while_hopping(plugins: Iterable[PluginRuntime], hops: int, answer: Awaitable[T]) -> T:
    """Wait for an answer, and meanwhile record how many plugins its event came through."""
    for plugin in plugins:
        plugin.hops_in_flight.append(hops)
    try:
        return await answer
    finally:
        for plugin in plugins:
            plugin.hops_in_flight.remove(hops)


def milliseconds_since(began: float) -> float:
    """Return the milliseconds since a moment of ``time.monotonic()``."""
    return (monotonic() - began) * 1000
