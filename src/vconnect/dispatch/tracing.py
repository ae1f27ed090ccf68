"""Lets somebody watch events pass, and costs nothing while nobody does."""

# The idea: while somebody watches, the dispatcher's methods are covered by the ones below, which
# build a trace from what the originals return. The hot path has no branch for it.

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vconnect.errors import PluginError
from vconnect.names import canonical_name
from vconnect.plugins.latency import outcome_of
from vconnect.seeing.trace import Hop, Traces
from vconnect.wire._latency import Row

from .accounts import Account
from .delivery import inherited_trace, reason_not_sent
from .dispatcher import Dispatcher
from .results import Outcome, PluginResult
from .spans import Spans

# So many events of a slot are traced as a whole; then the methods are uncovered until the next.
_PER_SLOT = 20
SLOT_S = 0.1

_COVERED = (
    *("emit", "broadcast", "request", "request_result"),
    *("notify", "notify_when_room", "publish"),
)

# Codes of errors of events that were not sent, or not answered.
_OUTCOMES = {
    "deadline_exceeded": "late",
    "unavailable": "lost",
    "overloaded": "passed_over",
    "bad_answer": "bad_answer",
}


class Tracing:
    """Covers a dispatcher's methods while somebody watches, or spans are made.

    Args:
        dispatcher: The dispatcher.

    Attributes:
        traces: Gets the traces.
        spans: Makes spans; ``None`` for none.
    """

    traces: Traces

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._is_watched = False
        self._is_covered = False
        self._in_slot = 0
        self._timer: asyncio.TimerHandle | None = None
        #: Called when other methods are the dispatcher's.
        self.on_cover: Callable[[], None] = _nobody_listens
        self.spans: Spans | None = None

    def switch(self, *, is_on: bool) -> None:
        """Begin or end to make traces."""
        self._is_watched = is_on
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._dispatcher.watch_failures(self._failed_alone if is_on else None)
        if is_on:
            self._next_slot()
        else:
            self._cover(is_on=False)
            self._watch_slow(-1.0)

    def trace_with(self, spans: Spans | None) -> None:
        """Make spans from now on, or no more."""
        self.spans = spans
        self._cover(is_on=self._is_covered)

    def _next_slot(self) -> None:
        """Trace the first events of the next tenth of a second."""
        self._timer = asyncio.get_running_loop().call_later(SLOT_S, self._next_slot)
        if not self._is_covered:
            self._take_slow()
            self._watch_slow(-1.0)
        self._in_slot = 0
        self._cover(is_on=True)

    def _rest(self) -> None:
        """Trace no more until the next slot, but what is slow or fails."""
        self.traces.note_sampling()
        self._cover(is_on=False)
        self._watch_slow(self.traces.slow_s)

    def _cover(self, *, is_on: bool) -> None:
        self._is_covered = is_on
        # Not by its `__dict__`: an object that was asked for that is slower to read from then on.
        for name in _COVERED:
            if is_on or self.spans is not None:
                setattr(self._dispatcher, name, getattr(self, f"_{name}"))
            else:
                with suppress(AttributeError):  # it was not covered
                    delattr(self._dispatcher, name)
        self.on_cover()

    def _watch_slow(self, seconds: float) -> None:
        for _, row in self._rows():
            row.watch_slow(seconds)

    def _take_slow(self) -> None:
        """Make traces of what was slow in the meantime."""
        for plugin, row in self._rows():
            for seconds in row.take_slow():
                hop = Hop(plugin=plugin, outcome="ok", reason="", duration_s=seconds)
                self.traces.add(row.event, "request", "passed", seconds, (hop,), None)

    def _rows(self) -> Iterator[tuple[str, Row]]:
        for plugin in self._dispatcher.plugins():
            for row in plugin.rows.all():
                yield plugin.name, row

    def _failed_alone(self, event: str, error: PluginError) -> None:
        """Trace a failure of an event that is not traced as a whole."""
        if not self._is_covered:
            hop = _failed_hop(error, 0.0)
            self.traces.add(event, "request", "failed", 0.0, (hop,), None)

    async def _emit(self, event: str, payload: Any, **options: Any) -> Outcome:
        return await self._whole("chain", Dispatcher.emit, event, payload, options)

    async def _broadcast(self, event: str, payload: Any, **options: Any) -> Outcome:
        return await self._whole("broadcast", Dispatcher.broadcast, event, payload, options)

    async def _whole(
        self,
        mode: str,
        original: Callable[..., Awaitable[Outcome]],
        event: str,
        payload: Any,
        options: dict[str, Any],
    ) -> Outcome:
        with self._noted(mode, event, payload, options) as noted:
            outcome = await original(self._dispatcher, event, payload, **options)
            noted.outcome = _became(outcome)
            noted.hops = tuple(_hop(result) for result in outcome.results)
            return outcome

    async def _request(
        self,
        plugin: str,
        event: str,
        payload: Any,
        timeout: float | None = None,
        hops: int = 0,
        account: Account | None = None,
        **options: Any,
    ) -> Any:
        given = timeout, hops, account
        with self._noted("request", event, payload, options) as noted:
            began = time.monotonic()
            original = Dispatcher.request
            data = await original(self._dispatcher, plugin, event, payload, *given, **options)
            took = time.monotonic() - began
            name = canonical_name(plugin)
            noted.hops = (Hop(plugin=name, outcome="ok", reason="", duration_s=took),)
            return data

    async def _request_result(
        self, plugin: str, event: str, payload: Any, **options: Any
    ) -> PluginResult:
        with self._noted("request", event, payload, options) as noted:
            original = Dispatcher.request_result
            result = await original(self._dispatcher, plugin, event, payload, **options)
            noted.hops = (_hop(result),)
            return result

    def _notify(self, event: str, payload: Any, **options: Any) -> int:
        with self._noted("notify", event, payload, options):
            return Dispatcher.notify(self._dispatcher, event, payload, **options)

    async def _notify_when_room(self, event: str, payload: Any, **options: Any) -> int:
        with self._noted("notify", event, payload, options):
            return await Dispatcher.notify_when_room(self._dispatcher, event, payload, **options)

    def _publish(self, event: str, payload: Any, **options: Any) -> int | Coroutine[Any, Any, int]:
        # Where it has to wait for room, its trace tells how long it took to be queued elsewhere.
        with self._noted("notify", event, payload, options):
            return Dispatcher.publish(self._dispatcher, event, payload, **options)

    @contextmanager
    def _noted(
        self, mode: str, event: str, payload: Any, options: dict[str, Any]
    ) -> Iterator[_Noted]:
        """Record an event that is sent inside the block, with a trace among its options."""
        noted = _Noted()
        span = None
        if self.spans is not None:
            verb = "emit" if mode == "chain" else mode
            caller = inherited_trace(options.get("trace"))
            span, options["trace"] = self.spans.begin(verb, event, caller)
        came, began = time.time(), time.monotonic()
        try:
            yield noted
        except PluginError as error:
            noted.outcome = "failed"
            noted.hops = (_failed_hop(error, time.monotonic() - began),)
            raise
        except BaseException:
            noted.outcome = "failed"
            raise
        finally:
            took = time.monotonic() - began
            if span is not None and self.spans is not None:
                self.spans.end(span, event, noted.outcome, noted.hops, came)
            if self._is_watched and self._is_covered:
                self.traces.add(event, mode, noted.outcome, took, noted.hops, payload)
                self._in_slot += 1
                if self._in_slot >= _PER_SLOT:
                    self._rest()


class _Noted:
    """What is known of an event while it is being sent."""

    def __init__(self) -> None:
        self.outcome = "passed"
        self.hops: tuple[Hop, ...] = ()


def _nobody_listens() -> None:
    """Do nothing."""


def _failed_hop(error: PluginError, took: float) -> Hop:
    is_sent = reason_not_sent(error) is None
    return Hop(
        plugin=error.plugin,
        outcome=outcome_of(error).name.lower() if is_sent else "passed_over",
        reason=error.message,
        duration_s=took,
    )


def _became(outcome: Outcome) -> str:
    if outcome.reason is not None:
        return "refused"
    return "passed" if outcome.stopped_by is None else "stopped"


def _hop(result: PluginResult) -> Hop:
    if result.passed_over is not None:
        became = "passed_over"
    elif result.error_code is None:
        became = "stopped" if result.stop else "changed" if result.changed else "ok"
    else:
        became = _OUTCOMES.get(result.error_code, "error")
    return Hop(
        plugin=result.plugin,
        outcome=became,
        reason=result.error or "",
        duration_s=result.duration_ms / 1000,
        changed=result.changed,
        is_default=result.is_default,
    )
