from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.support.wire_kit import frame, until

from vconnect import Context, Plugin, PluginClient, on
from vconnect.sdk.client import HostWatch, retry_delays


class Example(Plugin):
    plugin_no = "wk.plugin.example"

    @on("message")
    def message(self, ctx: Context) -> None: ...


def test_ten_tries_half_a_second_apart_then_less_and_less_often():
    delays = list(islice(retry_delays(), 20))
    assert delays[:10] == [0.5] * 10
    for delay, longest in zip(delays[10:], [1, 2, 4, 5, 5, 5, 5, 5, 5, 5], strict=True):
        assert 0.75 * longest <= delay <= longest


def test_no_host_is_never_gone():
    assert not HostWatch(None).is_gone()


def test_a_live_host_is_not_gone():
    assert not HostWatch(os.getpid()).is_gone()


def test_a_process_of_somebody_else_is_not_gone():
    assert not HostWatch(1).is_gone()


def test_no_such_process_is_gone():
    assert HostWatch(2**22 + 1).is_gone()  # above the highest process id of any system


def test_a_new_parent_means_that_the_host_is_gone(monkeypatch):
    watch = HostWatch(os.getpid())
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert watch.is_gone()


def test_mistakes_of_the_author_show_at_once():
    plugin = Example()
    plugin.plugin_no = ""
    with pytest.raises(TypeError, match="plugin_no"):
        PluginClient(plugin, "x.sock")


async def test_stopped_before_it_began():
    client = PluginClient(Example(), "/nonexistent/x.sock")
    client.stop()
    await client.run()


async def test_gone_before_it_began():
    await PluginClient(Example(), "/nonexistent/x.sock", host_pid=2**22 + 1).run()


# --- ready -----------------------------------------------------------------------------------


class Host:
    """A host's end of the socket: it acknowledges, and writes down what it hears."""

    def __init__(self, path: str, terms: dict[str, Any]) -> None:
        self.path, self.terms = path, terms
        self.heard: list[dict[str, Any]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Host:
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()

    def send(self, message: dict[str, Any]) -> None:
        self.writers[-1].write(frame(message))

    def hears(self, **part: Any) -> bool:
        return any(part.items() <= message.items() for message in self.heard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        # A client that goes with something unread resets the connection.
        with suppress(asyncio.IncompleteReadError, ConnectionResetError):
            while True:
                length = int.from_bytes(await reader.readexactly(4))
                self.heard.append(json.loads(await reader.readexactly(length)))
                if "plugin_no" in self.heard[-1]:
                    self.send({"status": "ok", "config": {}, **self.terms})


class Slow(Example):
    def __init__(self) -> None:
        self.may_start = asyncio.Event()
        self.story: list[str] = []

    async def on_start(self) -> None:
        self.story.append("starts")
        try:
            await self.may_start.wait()
        except asyncio.CancelledError:
            self.story.append("cancelled")
            raise
        self.story.append("started")

    def on_stop(self) -> None:
        self.story.append("stops")


@pytest.fixture
async def native(tmp_path: Path) -> AsyncIterator[tuple[Host, Slow, PluginClient]]:
    async with asyncio.timeout(10), Host(str(tmp_path / "s"), {"protocol_version": 1}) as host:
        plugin = Slow()
        yield host, plugin, PluginClient(plugin, host.path)


async def test_it_is_ready_after_on_start_and_says_so_once(native):
    host, plugin, client = native
    running = asyncio.create_task(client.run())
    await until(lambda: plugin.story == ["starts"])
    assert host.hears(ready=False)
    assert not host.hears(call="plugin.ready")
    plugin.may_start.set()
    await until(lambda: host.hears(call="plugin.ready"))
    host.writers[-1].close()  # it comes back, ready at once
    await until(lambda: len(host.writers) == 2 and len(host.heard) == 3)
    assert "ready" not in host.heard[-1]
    client.stop()
    await running
    assert plugin.story == ["starts", "started", "stops"]
    assert [message.get("call") for message in host.heard] == [None, "plugin.ready", None]


async def test_a_classic_host_is_told_nothing_more(tmp_path):
    async with asyncio.timeout(10), Host(str(tmp_path / "s"), {}) as host:
        plugin = Slow()
        plugin.may_start.set()
        client = PluginClient(plugin, host.path)
        running = asyncio.create_task(client.run())
        await until(lambda: plugin.story == ["starts", "started"])
        host.send({"event": "x", "payload": {}})
        await until(lambda: host.hears(status="ok"))
        client.stop()
        await running
        assert not host.hears(call="plugin.ready")


async def test_a_stop_cancels_on_start_and_is_answered_first(native):
    host, plugin, client = native
    running = asyncio.create_task(client.run())
    await until(lambda: plugin.story == ["starts"])
    host.send({"id": 5, "event": "vconnect.stop", "payload": {}})
    await running
    await until(lambda: host.hears(id=5, status="ok"))
    assert plugin.story == ["starts", "cancelled"]


async def test_an_event_that_is_cancelled_before_it_started_is_answered(native):
    host, plugin, client = native
    running = asyncio.create_task(client.run())
    await until(lambda: plugin.story == ["starts"])
    host.send({"id": 6, "event": "message", "payload": {}})
    host.send({"event": "vconnect.cancel", "payload": {"id": 6}})
    await until(lambda: host.hears(id=6, status="error", code="cancelled"))
    client.stop()
    await running


async def test_a_client_that_is_cancelled_does_not_go_on_starting(native):
    _, plugin, client = native
    running = asyncio.create_task(client.run())
    await until(lambda: plugin.story == ["starts"])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert plugin.story == ["starts", "cancelled"]


async def test_an_on_start_whose_wait_is_cancelled_by_others_has_failed(native):
    _, plugin, client = native
    other = asyncio.get_running_loop().create_future()
    plugin.may_start.wait = lambda: other
    running = asyncio.create_task(client.run())
    await until(lambda: plugin.story == ["starts"])
    other.cancel()
    with pytest.raises(RuntimeError, match="something that it waited for"):
        await running
