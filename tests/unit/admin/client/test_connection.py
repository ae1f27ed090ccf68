"""What all methods of the client share: routes, queries, and orders that it need not wait for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
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


async def test_a_body_that_the_host_does_not_read_leaves_no_connection(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        problem = b'{"status":413,"code":"too_large","detail":"no"}'
        head = f"HTTP/1.1 413 \r\nContent-Length: {len(problem)}\r\n\r\n"
        writer.write(head.encode() + problem)
        # Only once the client has given up is there an end of what it sends.
        await ended.wait()
        with suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass
        writer.close()
        gone.set()

    gone = asyncio.Event()
    path = tmp_path / "admin.sock"
    async with await asyncio.start_unix_server(refuse, path):
        with pytest.raises(AdminError, match="no"):
            async with AdminClient(path) as client:
                await client.post("/api/events", "x" * 20_000_000)
        ended.set()
        await asyncio.wait_for(gone.wait(), 10)
