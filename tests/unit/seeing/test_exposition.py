"""Metrics, as the parser of ``prometheus_client`` reads them."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from vconnect.plugins.passed_over import Effect, Reason
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.seeing.exposition import RESTART_REASONS, Exposition
from vconnect.seeing.overview import Overview


@pytest.fixture
def registry():
    made = Registry()
    made.add(PluginRuntime("a", None))
    return made


def exposition(registry, *, coarse=False):
    return Exposition(registry, Overview(registry, lambda: 0.1), "uvloop", lambda: coarse)


async def samples(registry, *, is_open=False, coarse=False):
    text = (await exposition(registry, coarse=coarse).render(is_open=is_open)).decode()
    parse = open_families if is_open else families
    return [sample for family in parse(text) for sample in family.samples]


async def test_every_series_of_a_plugin_is_there_from_the_beginning(registry):
    found = await samples(registry)
    reasons = {one.labels["reason"] for one in found if one.name.endswith("restarts_total")}
    assert reasons == set(RESTART_REASONS)
    zero = [one for one in found if one.labels.get("plugin") == "a" and one.value]
    assert {one.name for one in zero} == {"vconnect_plugin_info", "vconnect_plugin_state"}
    registry.remove(registry.get("a"))
    assert not [one for one in await samples(registry) if one.labels.get("plugin") == "a"]


@pytest.mark.parametrize("coarse", [False, True])
async def test_a_histogram_agrees_with_itself(registry, coarse):
    row = registry.get("a").rows.row("message.incoming")
    for seconds in (10e-6, 1e-3, 0.3, 100.0):
        row.observe(seconds)
    name = "vconnect_event_duration_seconds"
    found = [one for one in await samples(registry, coarse=coarse) if one.name.startswith(name)]
    buckets = [one.value for one in found if one.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert len(buckets) == (19 if coarse else 36)
    values = {one.name: one.value for one in found}
    assert buckets[-1] == values[f"{name}_count"] == 4
    assert values[f"{name}_sum"] == pytest.approx(100.30101, rel=1e-6)
    assert found[0].labels["event"] == "message"


async def test_openmetrics_is_what_its_parser_reads(registry):
    registry.absent["b"].add("e", Reason.NOT_INSTALLED, Effect.REFUSED)
    found = await samples(registry, is_open=True)
    (passed,) = [one for one in found if one.name == "vconnect_events_passed_over_total"]
    assert passed.labels == {
        "plugin": "b",
        "event": "e",
        "reason": "not_installed",
        "effect": "refused",
    }


async def test_labels_cannot_break_a_line(registry):
    registry.chains.row('a"b\\c\nd').observe(0.1)
    found = await samples(registry)
    assert 'a"b\\c\nd' in {one.labels.get("event") for one in found}
