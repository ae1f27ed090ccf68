"""Metrics in an application's own registry, read in the loop and from a thread."""

from __future__ import annotations

import asyncio
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families as families
from tests.support.paper import plugin

from vconnect.errors import ConfigError
from vconnect.plugins.registry import Registry
from vconnect.seeing import collector
from vconnect.seeing.collector import VConnectCollector
from vconnect.seeing.exposition import Exposition
from vconnect.seeing.overview import Overview
from vconnect.settings.model import Settings


@pytest.fixture
def runtime() -> Any:
    registry = Registry()
    one = plugin("a")
    one.rows.row("e").observe(0.002)
    registry.add(one)
    return SimpleNamespace(
        registry=registry,
        overview=Overview(registry, lambda: 0.1),
        settings=Settings(),
        loop_name=lambda: "asyncio",
    )


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


async def test_they_stand_beside_the_applications_own(runtime: Any) -> None:
    registry = CollectorRegistry()
    Counter("my_orders", "Mine.", registry=registry).inc(3)
    registry.register(VConnectCollector(runtime))
    here = samples(generate_latest(registry))
    elsewhere = samples(await asyncio.to_thread(generate_latest, registry))
    exposition = Exposition(runtime.registry, runtime.overview, lambda: "asyncio", lambda: False)
    told = samples(await exposition.render())
    assert here == elsewhere
    assert here[("my_orders_total", ())] == 3
    assert told.items() <= here.items()


async def test_a_thread_does_not_wait_for_ever(runtime: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(collector, "_PATIENCE_S", 0.1)
    one = VConnectCollector(runtime)
    reading = asyncio.get_running_loop().run_in_executor(None, lambda: list(one.collect()))
    time.sleep(0.3)
    with pytest.raises(TimeoutError, match="has given the metrics no turn"):
        await reading


def test_a_loop_that_has_ended_has_none(runtime: Any) -> None:
    async def make() -> VConnectCollector:
        return VConnectCollector(runtime)

    assert list(asyncio.run(make()).collect()) == []


async def test_it_says_what_it_needs(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.parser", None)
    with pytest.raises(ConfigError, match="install the extra prometheus"):
        VConnectCollector(runtime)
