"""The routes for events: send one, and see what became of others."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec

from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import body_of, query_of
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.problems import field_problem
from vconnect.admin.http.table import Route
from vconnect.admin.manager import Manager
from vconnect.errors import PayloadError
from vconnect.seeing.trace import Trace, matches
from vconnect.wire.messages import check_event

# How long `GET /api/trace` waits for traces if nobody has watched before. Seconds.
_PATIENCE_S = 1.0
_MAX_PAYLOAD_S = 3600.0


class EventRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/events``.

    Attributes:
        event: The event's name.
        payload: Any JSON value.
        mode: ``chain`` (the default) or ``broadcast``; not together with ``plugin``.
        plugin: The only plugin to call, by any of its names.
        timeout: Seconds for the whole call; by default as configured for the host.
        trace: Whether the answer also says what each plugin has done to the payload.
    """

    event: Annotated[str, msgspec.Meta(min_length=1)]
    payload: Any = msgspec.field(default_factory=dict)
    mode: Literal["chain", "broadcast"] | None = None
    plugin: str | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    trace: bool = False


class TraceQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``GET /api/trace``.

    Attributes:
        event: A pattern as in capabilities.
        plugin: A plugin that took part.
        slow_ms: The least duration in milliseconds, unless something went wrong.
        limit: The maximum number of traces.
    """

    event: str = ""
    plugin: str = ""
    slow_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class PayloadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/trace/payloads``: for how many seconds payloads are kept."""

    seconds: Annotated[float, msgspec.Meta(gt=0, le=_MAX_PAYLOAD_S)] = 300.0


class EventRoutes:
    """The handlers.

    Args:
        manager: The manager.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        return [
            Route(
                "POST",
                "/api/events",
                "operate",
                self.send,
                "Send an event",
                body=EventRequest,
                order="emit",
                codes=("unknown_plugin", "plugin_error", "deadline_exceeded", "not_connected"),
            ),
            Route("GET", "/api/events/names", "view", self.names, "List the names of events"),
            Route(
                "GET",
                "/api/trace",
                "view",
                self.traces,
                "Return the last traces of events",
                query=TraceQuery,
                answer=list[Trace],
            ),
            Route(
                "POST",
                "/api/trace/payloads",
                "operate",
                self.keep_payloads,
                "Keep payloads of traces for a while",
                body=PayloadRequest,
                order="show-payloads",
            ),
        ]

    async def send(self, asked: Asked) -> Reply:
        """Send an event, and return what became of it."""
        wanted = await body_of(asked, EventRequest)
        if wanted.plugin is not None and wanted.mode is not None:
            raise field_problem("bad_field", "mode", "cannot be combined with plugin; omit one")
        try:
            check_event(wanted.event)
        except PayloadError as error:
            raise field_problem("bad_field", "event", str(error)) from None
        if wanted.plugin is not None:
            return json_reply(await self._ask_one(wanted, wanted.plugin))
        call = self._manager.broadcast if wanted.mode == "broadcast" else self._manager.emit
        outcome = await call(wanted.event, wanted.payload, timeout=wanted.timeout)
        if not wanted.trace:
            return json_reply(outcome)
        return json_reply(_with_hops(outcome, wanted.payload))

    async def _ask_one(self, wanted: EventRequest, plugin: str) -> dict[str, Any]:
        """Call one plugin, and return its result in the form of an outcome."""
        result = await self._manager.request_result(
            plugin, wanted.event, wanted.payload, timeout=wanted.timeout
        )
        outcome = {
            "results": [result],
            "stopped_by": result.plugin if result.stop else None,
            "payload": wanted.payload,
            "reason": None,
            "refusal": None,
        }
        if wanted.trace:
            outcome["hops"] = [_hop(result, 0.0, [])]
            outcome["total_ms"] = result.duration_ms
        return outcome

    async def names(self, _: Asked) -> Reply:
        """List the names of events that somebody has declared, configured or sent."""
        registry = self._manager.registry
        names = {row.event for row in registry.chains.all() if not row.event.startswith("_")}
        names |= {name for name in self._manager.settings.events if "*" not in name}
        for plugin in registry:
            wants = (*plugin.capabilities, *plugin.subscriptions)
            names |= {name for name in wants if "*" not in name and "." in name}
        return json_reply({"items": sorted(names)[:1000], "next": None})

    async def traces(self, asked: Asked) -> Reply:
        """Return the last traces. Without anybody who watches, it watches for a moment itself."""
        wanted = query_of(asked, TraceQuery)
        traces = self._manager.traces
        if not traces.newest(1):
            leave = traces.watch(lambda _: None)
            try:
                await asyncio.sleep(_PATIENCE_S)
            finally:
                leave()
        found = [
            _without_payload(trace) if asked.role != "operate" else trace
            for trace in traces.newest(1000)
            if matches(
                trace, event=wanted.event, plugin=wanted.plugin, slow_s=wanted.slow_ms / 1000
            )
        ]
        return json_reply({"items": found[-wanted.limit :], "next": None})

    async def keep_payloads(self, asked: Asked) -> Reply:
        """Keep payloads for a while."""
        wanted = await body_of(asked, PayloadRequest, optional=True)
        return json_reply({"until": self._manager.traces.keep_payloads(wanted.seconds)})


def _without_payload(trace: Trace) -> Trace:
    return trace if trace.payload is None else msgspec.structs.replace(trace, payload=None)


def _with_hops(outcome: Any, sent: Any) -> dict[str, Any]:
    """Add when each plugin was asked, and what it has changed."""
    hops, began = [], 0.0
    for result in outcome.results:
        hops.append(_hop(result, began, _differences(result, sent, outcome.payload)))
        began += result.duration_ms
    return {**msgspec.structs.asdict(outcome), "hops": hops, "total_ms": began}


def _hop(result: Any, began_ms: float, diff: list[dict[str, Any]]) -> dict[str, Any]:
    if result.error_code is not None:
        outcome = {"deadline_exceeded": "late", "unavailable": "passed_over"}.get(
            result.error_code, "error"
        )
    else:
        outcome = "stopped" if result.stop else "changed" if result.changed else "ok"
    return {
        "plugin": result.plugin,
        "outcome": outcome,
        "reason": result.error or "",
        "began_ms": began_ms,
        "duration_ms": result.duration_ms,
        "changed": result.changed,
        "diff": diff,
    }


def _differences(result: Any, before: Any, after: Any) -> list[dict[str, Any]]:
    """Return the changed fields with what they were at first and are at the end."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return []
    return [
        {"field": name, "before": before.get(name), "after": after.get(name)}
        for name in result.changed
        if name != "*"
    ]
