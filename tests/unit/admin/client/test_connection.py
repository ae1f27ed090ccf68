"""What all methods of the client share: routes, queries, and orders that it need not wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served
from tests.support.lab import until

from vconnect.admin.client.client import AdminClient
from vconnect.admin.client.connection import plugin_route, query, segment
from vconnect.errors import AdminError

STOP = plugin_route("example", "stop")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"after": 0, "since": 0.0}, "?after=0&since=0.0"),
        ({}, ""),
        ({"a": None, "b": "", "c": False, "d": []}, ""),
        ({"a": 0, "b": 0.0}, "?a=0&b=0.0"),
        ({"a": 1, "b": True, "c": "x&y"}, "?a=1&b=true&c=x%26y"),
        ({"a": ["x", "y"], "b": []}, "?a=x&a=y"),
    ],
)
def test_a_query_has_the_keys_that_have_a_value(keys: dict[str, Any], text: str) -> None:
    assert query(**keys) == text


def test_a_name_is_one_segment() -> None:
    assert segment("../a/b") == "%2E%2E%2Fa%2Fb"
    assert plugin_route("example") == "/api/plugins/example"


async def test_a_key_makes_an_order_be_carried_out_once() -> None:
    manager = FakeManager(plugin_summary())
    async with served(manager) as path, AdminClient(path) as client:
        for _ in range(2):
            assert (await client.post(STOP, key="k"))["status"] == "Stopped"
    assert manager.calls == [("stop", "example")]


async def test_an_order_is_begun_and_looked_up_later() -> None:
    manager = FakeManager(plugin_summary())
    manager.gate = asyncio.Event()
    async with served(manager) as path, AdminClient(path) as client:
        begun = await client.begin(STOP, key="k")
        assert (begun.state, begun.order, begun.plugin) == ("running", "stop", "example")
        assert (await client.begin(STOP, key="k")).id == begun.id
        assert (await client.order_state(begun.id)).state == "running"
        manager.gate.set()
        await until(lambda: manager.calls, "the stop")
        done = await client.order_state(begun.id)
        with pytest.raises(AdminError, match="no order 'other'"):
            await client.order_state("other")
    assert (done.state, done.status, done.answer["status"]) == ("done", 200, "Stopped")
