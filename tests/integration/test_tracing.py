"""Watching events pass: only while somebody watches, and without a change to what they become."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.lab import ECHO

from vconnect.errors import PluginError
from vconnect.seeing.trace import Trace


async def test_each_way_of_sending_is_seen(lab) -> None:
    lab.plugin("a", ECHO)
    lab.plugin("down", "")
    async with lab.manager() as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin("a")
        seen: list[Trace] = []
        before = await runtime.request("a", "test.x", 1)
        leave = runtime.traces.watch(seen.append)
        assert (await runtime.emit("test.event", {"n": 1})).results[0].ok
        await runtime.broadcast("test.event", {"n": 1})
        assert await runtime.request("a", "test.x", 1) == before
        await runtime.request_result("a", "test.x", 1)
        runtime.notify("test.event", {})
        with pytest.raises(PluginError):
            await runtime.request("down", "test.x", 1)
        leave()
        await runtime.emit("test.event", {"n": 1})
    modes = [(one.mode, one.outcome) for one in seen]
    assert modes == [
        ("chain", "passed"),
        ("broadcast", "passed"),
        ("request", "passed"),
        ("request", "passed"),
        ("notify", "passed"),
        ("request", "failed"),
    ]
    assert seen[0].hops[0].plugin == "a"
    assert 0 < seen[0].hops[0].duration_s <= seen[0].duration_s < 10
    assert seen[-1].hops[0].outcome == "passed_over"
    assert seen[-1].is_notable
    assert all(one.payload is None for one in seen)


async def test_a_payload_is_seen_only_if_somebody_asks(lab) -> None:
    lab.plugin("a", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        seen: list[Trace] = []
        leave = runtime.traces.watch(seen.append)
        await runtime.emit("test.event", {"secret": 1})
        runtime.traces.keep_payloads(60)
        await runtime.emit("test.event", {"secret": 1})
        leave()
    assert [one.payload for one in seen] == [None, '{"secret":1}']


async def test_without_anybody_the_dispatcher_is_what_it_was(lab) -> None:
    async with lab.manager() as runtime:
        dispatcher: Any = runtime._dispatcher
        leave = runtime.traces.watch(lambda _: None)
        assert "emit" in vars(dispatcher)
        leave()
        assert not {"emit", "broadcast", "request", "request_result", "notify"} & {
            *vars(dispatcher)
        }
