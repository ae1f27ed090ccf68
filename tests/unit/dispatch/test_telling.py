"""Notifications: what is dropped is counted, and nobody waits for another plugin's queue."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.dispatch_kit import answering, having

from vconnect.errors import (
    PluginOverloadedError,
)
from vconnect.seeing.summary import summarize
from vconnect.settings.events import EventSettings


async def test_notify_counts_what_it_drops(plugins):
    await plugins.add("a")
    sent = [plugins.dispatcher.notify("e", n) for n in range(12)]
    assert sent == [1] * 12  # 8 in flight, 2 in the queue, and 2 took the place of older ones
    assert summarize(plugins.registry.get("a")).dropped == 2


async def test_waiting_for_room_counts_who_is_not_connected(plugins):
    peer = await plugins.add("a", 2)
    await plugins.add("b", 1)
    runtime = plugins.registry.get("b")
    route = plugins.registry.routes.route("e")
    assert len(route.told) == 2
    runtime.session = None
    assert await plugins.dispatcher.notify_when_room("e", 1) == 1
    assert (await peer.read())["payload"] == 1
    assert runtime.counters.dropped == 1


async def test_each_plugin_is_waited_for_on_its_own():
    block = {"e": EventSettings(overflow="block")}
    async with having(events=block) as plugins:
        peers = [await plugins.add("a", 2), await plugins.add("b", 1)]
        for _ in range(10):
            plugins.dispatcher.notify("e", "full")
        await plugins.add("c")
        with pytest.raises(PluginOverloadedError):
            plugins.dispatcher.notify("e", "full")
        # Whoever has room gets it all the same.
        assert plugins.registry.get("c").rows.sent == 1
        waits = asyncio.create_task(plugins.dispatcher.notify_when_room("e", "late", timeout=0.5))
        await answering(peers[1], {"status": "ok"})
        assert await waits == 2
        dropped = {name: plugins.registry.get(name).counters.dropped for name in "abc"}
        assert dropped == {"a": 1, "b": 0, "c": 0}


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_it_waits_for_room_whatever_the_overflow(overflow):
    async with having(events={"e": EventSettings(overflow=overflow)}) as plugins:
        peer = await plugins.add("a")
        for _ in range(10):
            plugins.dispatcher.notify("e", "full")
        waits = asyncio.create_task(plugins.dispatcher.notify_when_room("e", "late", timeout=5))
        await asyncio.sleep(0.01)
        assert not waits.done()
        await answering(peer, {"status": "ok"})
        assert await waits == 1
