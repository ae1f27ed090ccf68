"""Lets somebody watch events pass, and costs nothing while nobody does."""

# The idea: while somebody watches, the dispatcher's methods are covered by the ones below, which
# build a trace from what the originals return. The hot path has no branch for it.

from __future__ import annotations

import time
from typing import Any

from vconnect.errors import NotAskedError, PluginError, PluginOverloadedError
from vconnect.names import canonical_name
from vconnect.plugins.latency import outcome_of
from vconnect.seeing.trace import Hop, Traces

from .dispatcher import Dispatcher
from .results import Outcome, PluginResult

_COVERED = ("emit", "broadcast", "request", "request_result", "notify")

# Codes of errors of events that were not sent, or not answered.
_OUTCOMES = {
    "deadline_exceeded": "late",
    "unavailable": "lost",
    "overloaded": "passed_over",
    "bad_answer": "bad_answer",
}


class Tracing:
    """Covers a dispatcher's methods while somebody watches.

    Args:
        dispatcher: The dispatcher.

    Attributes:
        traces: Gets the traces.
    """

    traces: Traces

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def switch(self, *, is_on: bool) -> None:
        """Begin or end to make traces."""
        covers = vars(self._dispatcher)
        for name in _COVERED:
            if is_on:
                covers[name] = getattr(self, f"_{name}")
            else:
                covers.pop(name, None)

    async def _emit(self, event: str, payload: Any, **options: Any) -> Outcome:
        return await self._whole("chain", event, payload, options)

    async def _broadcast(self, event: str, payload: Any, **options: Any) -> Outcome:
        return await self._whole("broadcast", event, payload, options)

    async def _whole(self, mode: str, event: str, payload: Any, options: dict[str, Any]) -> Outcome:
        began = time.monotonic()
        original = Dispatcher.emit if mode == "chain" else Dispatcher.broadcast
        outcome = await original(self._dispatcher, event, payload, **options)
        hops = tuple(_hop(result) for result in outcome.results)
        self._note(event, mode, _became(outcome), began, hops, payload)
        return outcome

    async def _request(self, plugin: str, event: str, payload: Any, *args: Any, **more: Any) -> Any:
        began = time.monotonic()
        try:
            data = await Dispatcher.request(self._dispatcher, plugin, event, payload, *args, **more)
        except PluginError as error:
            self._failed(event, began, error, payload)
            raise
        self._answered(plugin, event, began, payload)
        return data

    async def _request_result(
        self, plugin: str, event: str, payload: Any, **options: Any
    ) -> PluginResult:
        began = time.monotonic()
        original = Dispatcher.request_result
        try:
            result = await original(self._dispatcher, plugin, event, payload, **options)
        except PluginError as error:
            self._failed(event, began, error, payload)
            raise
        self._note(event, "request", "passed", began, (_hop(result),), payload)
        return result

    def _notify(self, event: str, payload: Any, **options: Any) -> int:
        began = time.monotonic()
        sent = Dispatcher.notify(self._dispatcher, event, payload, **options)
        self._note(event, "notify", "passed", began, (), payload)
        return sent

    def _answered(self, plugin: str, event: str, began: float, payload: Any) -> None:
        hop = Hop(
            plugin=canonical_name(plugin),
            outcome="ok",
            reason="",
            duration_s=time.monotonic() - began,
        )
        self._note(event, "request", "passed", began, (hop,), payload)

    def _failed(self, event: str, began: float, error: PluginError, payload: Any) -> None:
        is_sent = not isinstance(error, NotAskedError | PluginOverloadedError)
        hop = Hop(
            plugin=error.plugin,
            outcome=outcome_of(error).name.lower() if is_sent else "passed_over",
            reason=error.message,
            duration_s=time.monotonic() - began,
        )
        self._note(event, "request", "failed", began, (hop,), payload)

    def _note(
        self,
        event: str,
        mode: str,
        outcome: str,
        began: float,
        hops: tuple[Hop, ...],
        payload: Any,
    ) -> None:
        self.traces.add(event, mode, outcome, time.monotonic() - began, hops, payload)


def _became(outcome: Outcome) -> str:
    if outcome.reason is not None:
        return "refused"
    return "passed" if outcome.stopped_by is None else "stopped"


def _hop(result: PluginResult) -> Hop:
    if result.error_code is None:
        became = "stopped" if result.stop else "changed" if result.changed else "ok"
    else:
        became = _OUTCOMES.get(result.error_code, "error")
    # What was not sent took no time to speak of.
    if became == "lost" and (result.error or "").startswith(("not connected", "its circuit")):
        became = "passed_over"
    return Hop(
        plugin=result.plugin,
        outcome=became,
        reason=result.error or "",
        duration_s=result.duration_ms / 1000,
        changed=result.changed,
        is_default=result.is_default,
    )
