"""Spans of OpenTelemetry, with real plugins and the SDK's exporter in memory."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from tests.support.lab import Lab

from vconnect.errors import PluginUnavailableError

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-00"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(1.0)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


async def test_an_event_has_a_span_and_one_below_it_for_each_plugin(
    lab: Lab, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    lab.plugin("a", "serve()", capabilities=["e"])
    lab.plugin("b", "serve()", capabilities=["e"])
    async with lab.manager() as manager:
        await manager.start_all()
        manager.trace_with(provider)
        await manager.emit("e", {"x": 1}, trace=SAMPLED)
    first, second, whole = exporter.get_finished_spans()
    assert whole.name == "emit e"
    assert {first.name, second.name} == {"process e"}
    assert f"{whole.context.trace_id:032x}" == TRACE_ID
    assert first.parent.span_id == second.parent.span_id == whole.context.span_id
    assert [one.attributes["vconnect.plugin"] for one in (first, second)] == ["a", "b"]
    assert first.attributes["vconnect.outcome"] == "ok"
    assert whole.start_time <= first.start_time <= first.end_time <= second.end_time


async def test_the_callers_sampling_is_obeyed(
    lab: Lab, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    lab.plugin("a", "serve()", capabilities=["e"])
    async with lab.manager() as manager:
        await manager.start_all()
        manager.trace_with(provider)
        await manager.emit("e", {}, trace=NOT_SAMPLED)
        assert exporter.get_finished_spans() == ()


async def test_the_current_span_is_the_parent(
    lab: Lab, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    lab.plugin("a", "serve()", capabilities=["e"])
    async with lab.manager() as manager:
        await manager.start_all()
        manager.trace_with(provider)
        with provider.get_tracer("application").start_as_current_span("request") as outer:
            await manager.request("a", "e", {})
    spans = {one.name: one for one in exporter.get_finished_spans()}
    assert spans["request e"].parent.span_id == outer.get_span_context().span_id


async def test_a_failure_is_an_error_in_the_span(
    lab: Lab, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    lab.plugin("a", "serve()", capabilities=["e"])
    async with lab.manager() as manager:
        await manager.start_all()
        manager.trace_with(provider)
        await manager.stop_plugin("a")
        with pytest.raises(PluginUnavailableError):
            await manager.request("a", "e", {})
    child, whole = exporter.get_finished_spans()
    assert whole.status.status_code is trace.StatusCode.ERROR
    assert child.attributes["vconnect.outcome"] == "passed_over"
    assert "not connected" in child.status.description
