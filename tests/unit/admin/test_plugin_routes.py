"""The routes for plugins, beyond what ``test_application`` asks of all."""

from __future__ import annotations

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary
from tests.unit.admin.test_application import JSON, asking

from vconnect.plugins.latency import Latency
from vconnect.plugins.passed_over import Effect, Reason


def several():
    return FakeManager(
        plugin_summary("slow", latency=Latency(0.1, 0.4, 9), state="running", rss_bytes=5),
        plugin_summary("fast", latency=Latency(0.1, 0.2, 9), state="running", events_per_s=9.0),
        plugin_summary("down", state="error"),
    )


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["slow", "fast", "down"]),
        ("?sort=name", ["down", "fast", "slow"]),
        ("?sort=p99", ["slow", "fast", "down"]),
        ("?sort=events", ["fast", "slow", "down"]),
        ("?sort=memory", ["slow", "fast", "down"]),
        ("?state=running&sort=name", ["fast", "slow"]),
    ],
)
async def test_a_list_is_sorted_and_filtered(query, names):
    async with asking(several()) as web:
        body = await web("GET", f"/api/plugins{query}")
    assert [one["name"] for one in body["plugins"]] == names


async def test_why_is_the_explanation():
    async with asking(FakeManager(plugin_summary(serving=True))) as web:
        why = await web("GET", "/api/plugins/example/why")
    assert (why["plugin"], why["serving"], why["code"]) == ("example", True, "healthy")


async def test_what_was_passed_over_has_its_words():
    manager = FakeManager(plugin_summary())
    manager.registry.get("example").passed_over.add("e", Reason.STOPPED, Effect.REFUSED)
    async with asking(manager) as web:
        (row,) = (await web("GET", "/api/plugins/example/passed-over"))["items"]
        later = await web("GET", "/api/plugins/example/passed-over?since=9999999999")
    assert (row["event"], row["effect"], row["words"]) == ("e", "refused", "stopped")
    assert later["items"] == []


async def test_logs_are_searched_for_a_text_and_never_for_an_expression():
    manager = FakeManager(plugin_summary())
    for text in ("one (a+)+$", "two", "three (a+)+$"):
        manager.says("example", text)
    async with asking(manager) as web:
        found = await web("GET", "/api/plugins/example/logs?grep=(a%2B)%2B$")
        last = await web("GET", "/api/plugins/example/logs?grep=(a%2B)%2B$&lines=1")
        await web.fails("GET", f"/api/plugins/example/logs?grep={'a' * 257}", 400)
    assert [one["text"] for one in found["records"]] == ["one (a+)+$", "three (a+)+$"]
    assert [one["text"] for one in last["records"]] == ["three (a+)+$"]


@pytest.mark.parametrize("action", ["kill", "close-circuit", "stop"])
async def test_a_dry_run_does_nothing(action):
    manager = FakeManager(plugin_summary())
    async with asking(manager) as web:
        path = f"/api/plugins/example/{action}"
        await web("POST", path, json={"dry_run": True})
        assert manager.calls == []
        await web("POST", path, headers=JSON)
    assert manager.calls == [(action, "example")]
