"""Metrics: read by Prometheus's own parsers, complete from the start, bounded."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families
from tests.support.paper import moved, plugin, unopened

from vconnect.packages.manifest import Manifest
from vconnect.plugins.latency import OUTCOME_NAMES, Outcome
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import HOST_CALL_OUTCOMES
from vconnect.plugins.status import PluginStatus
from vconnect.seeing.exposition import RESTART_REASONS, Exposition
from vconnect.seeing.overview import Overview


class Made:
    def __init__(self, *plugins: Any, coarse: bool = False) -> None:
        self.registry = Registry()
        for one in plugins:
            self.registry.add(one)
        overview = Overview(self.registry, lambda: 0.1)
        self.overview = overview
        self.one = Exposition(self.registry, overview, lambda: "asyncio", lambda: coarse)

    async def samples(self, *, is_open: bool = False) -> dict[tuple[str, tuple], float]:
        text = (await self.one.render(is_open=is_open)).decode()
        parsed = open_families(text) if is_open else families(text)
        found: dict[tuple[str, tuple], float] = {}
        for family in parsed:
            assert family.documentation
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in found, f"twice: {key}"
                found[key] = sample.value
        return found


def running(name: str = "a", *capabilities: str) -> Any:
    one = moved(plugin(name), PluginStatus.STARTING, PluginStatus.RUNNING)
    one.served_by(None, unopened(name, capabilities=capabilities))
    return one


def key(name: str, **labels: str) -> tuple[str, tuple]:
    return name, tuple(sorted(labels.items()))


@pytest.mark.parametrize("is_open", [False, True])
async def test_both_formats_are_read(is_open: bool) -> None:
    one = running("a", "message.incoming")
    one.rows.row("message.incoming").observe(0.01)
    samples = await Made(one).samples(is_open=is_open)
    assert samples[key("vconnect_plugin_serving", plugin="a")] == 1
    assert samples[key("vconnect_plugin_state", plugin="a", state="running")] == 1
    assert samples[key("vconnect_plugin_state", plugin="a", state="error")] == 0
    count = "vconnect_event_duration_seconds_count"
    assert samples[key(count, plugin="a", event="message.incoming")] == 1


async def test_series_are_there_at_zero_before_the_first_event() -> None:
    samples = await Made(running("a", "message.incoming", "user", "all.*")).samples()
    for event in ("message.incoming", "user"):
        labels = {"plugin": "a", "event": event}
        for outcome in OUTCOME_NAMES:
            assert samples[key("vconnect_events_total", **labels, outcome=outcome)] == 0
        for reason in Reason:
            passed = {**labels, "reason": reason, "effect": "skipped"}
            assert samples[key("vconnect_events_passed_over_total", **passed)] == 0
    for word in RESTART_REASONS:
        assert samples[key("vconnect_plugin_restarts_total", plugin="a", reason=word)] == 0
    for level in ("trace", "debug", "info", "warn", "error"):
        assert samples[key("vconnect_log_lines_total", plugin="a", level=level)] == 0
    assert samples[key("vconnect_circuit_opened_total", plugin="a")] == 0
    assert not [one for one in samples if ("event", "all.*") in one[1]]


async def test_a_plugin_that_is_only_installed_is_known() -> None:
    samples = await Made(plugin("a")).samples()
    assert samples[key("vconnect_plugin_serving", plugin="a")] == 0
    assert samples[key("vconnect_plugin_state", plugin="a", state="installed")] == 1


async def test_series_go_with_their_plugin() -> None:
    one, other = running("a", "e"), running("b", "e")
    made = Made(one, other)
    assert [labels for _, labels in await made.samples() if ("plugin", "a") in labels]
    made.registry.remove(one)
    left = await made.samples()
    assert not [labels for _, labels in left if ("plugin", "a") in labels]
    assert [labels for _, labels in left if ("plugin", "b") in labels]


@pytest.mark.parametrize(("coarse", "buckets"), [(False, 36), (True, 19)])
async def test_a_histogram_agrees_with_itself(coarse: bool, buckets: int) -> None:
    one = running("a", "e")
    seconds = [0.00001, 0.0005, 0.003, 0.003, 0.4, 9.0, 100.0]
    for value in seconds:
        one.rows.row("e").observe(value)
    samples = await Made(one, coarse=coarse).samples()
    name = "vconnect_event_duration_seconds"
    found = sorted(
        (float(dict(labels)["le"]), value)
        for (sample, labels), value in samples.items()
        if sample == f"{name}_bucket"
    )
    assert len(found) == buckets
    assert [count for _, count in found] == sorted(count for _, count in found)
    for edge, count in found:
        assert count == sum(value < edge for value in seconds), edge
    assert found[-1] == (float("inf"), len(seconds))
    assert samples[key(f"{name}_count", plugin="a", event="e")] == len(seconds)
    assert samples[key(f"{name}_sum", plugin="a", event="e")] == pytest.approx(sum(seconds))


async def test_what_is_counted_is_told() -> None:
    one = running("a", "e")
    one.rows.row("e").count(Outcome.LATE)
    one.passed_over.add("e", Reason.CIRCUIT_OPEN, Effect.REFUSED)
    made = Made(one)
    made.registry.absent["missing"].add("e", Reason.NOT_INSTALLED, Effect.REFUSED)
    made.registry.chains.row("e").observe(0.2)
    made.one.count_request("/api/plugins/{name}/status", 200)
    made.one.stream_dropped["logs:a"] += 2
    made.one.stream_dropped["logs:b"] += 3
    samples = await made.samples()
    assert samples[key("vconnect_events_total", plugin="a", event="e", outcome="late")] == 1
    passed = {"event": "e", "effect": "refused"}
    name = "vconnect_events_passed_over_total"
    assert samples[key(name, plugin="a", reason="circuit_open", **passed)] == 1
    assert samples[key(name, plugin="missing", reason="not_installed", **passed)] == 1
    assert samples[key("vconnect_chain_duration_seconds_count", event="e")] == 1
    route = {"route": "/api/plugins/{name}/status", "code": "200"}
    assert samples[key("vconnect_admin_requests_total", **route)] == 1
    assert samples[key("vconnect_stream_dropped_total", topic="logs")] == 5


async def test_calls_of_a_plugin_are_told_and_begin_at_zero() -> None:
    one = running("a", "e")
    one.manifest = Manifest(name="a", permissions=("message.send", "user.*"))
    one.host_calls["user.find", "refused"] += 2
    samples = await Made(one).samples()
    calls = {
        (dict(labels)["call"], dict(labels)["outcome"]): value
        for (name, labels), value in samples.items()
        if name == "vconnect_host_calls_total"
    }
    told = {("message.send", became): 0 for became in HOST_CALL_OUTCOMES}
    told |= {("user.find", became): 0 for became in HOST_CALL_OUTCOMES}
    assert calls == told | {("user.find", "refused"): 2}


async def test_labels_are_escaped() -> None:
    one = running("a", 'we"ird\\\n')
    samples = await Made(one).samples()
    assert samples[key("vconnect_events_total", plugin="a", event='we"ird\\\n', outcome="ok")] == 0


async def test_made_up_events_add_no_lines() -> None:
    one = running("a", "message.incoming")
    made = Made(one)
    for number in range(100):
        one.rows.row(f"made.up{number}")
    before = len((await made.one.render()).splitlines())
    for number in range(100_000):
        one.rows.row(f"made.up{number}").count(Outcome.OK)
    assert len((await made.one.render()).splitlines()) == before
    for number in range(100_000):
        one.rows.row(f"family{number}.x").count(Outcome.OK)
    after = await made.one.render()
    assert after.count(b'outcome="ok"') <= 33
    for number in range(10_000):
        one.rows.row(f"other{number}.x").count(Outcome.OK)
    assert len((await made.one.render()).splitlines()) == len(after.splitlines())


async def test_a_hundred_plugins_do_not_hold_the_loop() -> None:
    made = Made(*(running(f"p{number}", "a.a", "b.b", "c.c") for number in range(100)))
    await made.one.render()
    longest, last = 0.0, time.perf_counter()

    async def tick() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    text = await made.one.render()
    ticking.cancel()
    assert len(text.splitlines()) > 20_000
    assert longest < 0.2
