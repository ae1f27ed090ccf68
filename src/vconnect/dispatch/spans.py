"""Spans of OpenTelemetry for events; the extra ``otel``."""

# The names are those of the messaging conventions, which are still in development. They stand here
# and nowhere else. All plugins of an event get the traceparent of its span: an event is encoded
# once for all of them, and their own spans then stand beside the ones below.

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vconnect.errors import ConfigError
from vconnect.seeing.trace import Hop

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

_SYSTEM = "messaging.system"
_DESTINATION = "messaging.destination.name"
_OPERATION = "messaging.operation.type"
_PLUGIN = "vconnect.plugin"
_OUTCOME = "vconnect.outcome"
_CHANGED = "vconnect.changed"
_ERROR = "error.type"
_GOOD = ("ok", "stopped", "changed")


class Spans:
    """Makes a span for each event, and one below it for each plugin.

    Args:
        provider: Makes the tracer; by default the application's global one.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise ConfigError("spans need OpenTelemetry; install the extra otel") from None
        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = trace.get_tracer("vconnect", tracer_provider=provider)

    def begin(self, verb: str, event: str, traceparent: str | None) -> tuple[Span, str | None]:
        """Begin the span of an event.

        Args:
            verb: What is done: ``emit``, ``broadcast``, ``request`` or ``notify``.
            event: The event's name.
            traceparent: The caller's; by default the current span is the parent.

        Returns:
            The span, and the traceparent for plugins.
        """
        parent = None
        if traceparent is not None:
            parent = self._propagator.extract({"traceparent": traceparent})
        span = self._tracer.start_span(
            f"{verb} {event}",
            context=parent,
            kind=self._trace.SpanKind.PRODUCER,
            attributes={_SYSTEM: "vconnect", _DESTINATION: event, _OPERATION: "send"},
        )
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._trace.set_span_in_context(span))
        return span, carrier.get("traceparent", traceparent)

    def end(self, span: Span, event: str, outcome: str, hops: Sequence[Hop], began: float) -> None:
        """End the span of an event, with one for each plugin.

        Args:
            span: The span.
            event: The event's name.
            outcome: What became of the event.
            hops: Each plugin's part, in order.
            began: When the event came, in Unix seconds.
        """
        if span.is_recording():
            self._add_hops(span, event, hops, began)
            span.set_attribute(_OUTCOME, outcome)
            if outcome in ("refused", "failed"):
                self._fail(span, outcome, _reason(hops))
        span.end()

    def _add_hops(self, span: Span, event: str, hops: Sequence[Hop], began: float) -> None:
        context = self._trace.set_span_in_context(span)
        for hop in hops:
            attributes: dict[str, Any] = {
                _SYSTEM: "vconnect",
                _DESTINATION: event,
                _OPERATION: "process",
                _PLUGIN: hop.plugin,
                _OUTCOME: hop.outcome,
            }
            if hop.changed:
                attributes[_CHANGED] = hop.changed
            child = self._tracer.start_span(
                f"process {event}",
                context=context,
                kind=self._trace.SpanKind.CONSUMER,
                attributes=attributes,
                start_time=_nanoseconds(began),
            )
            if hop.outcome not in _GOOD:
                self._fail(child, hop.outcome, hop.reason)
            began += hop.duration_s
            child.end(_nanoseconds(began))

    def _fail(self, span: Span, kind: str, reason: str) -> None:
        span.set_attribute(_ERROR, kind)
        status = self._trace.Status(self._trace.StatusCode.ERROR, reason)
        span.set_status(status)


def _reason(hops: Sequence[Hop]) -> str:
    return hops[-1].reason if hops else ""


def _nanoseconds(unix_seconds: float) -> int:
    return int(unix_seconds * 1e9)
