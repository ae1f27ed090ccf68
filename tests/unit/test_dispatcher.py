"""What a plugin may do to its chain and fan-out, and what never reaches the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from vconnect._lane import Lane
from vconnect._stream import ReadBuffer
from vconnect.config import Settings
from vconnect.dispatcher import Dispatcher
from vconnect.errors import (
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
    UnknownPluginError,
)
from vconnect.plugin import PluginRuntime
from vconnect.protocol import Handshake
from vconnect.registry import Registry
from vconnect.session import LaneLimits, Peer, Session
from wire_kit import Owner, connected, until
from wire_kit import Peer as WirePeer

LIMITS = LaneLimits(
    window=8,
    max_queued=2,
    max_notified=2,
    max_abandoned=8,
    stuck_after=30.0,
    max_frame_bytes=1 << 20,
)


class SessionOwner:
    """Tells the stream's owner of the session's end."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def detached(self, session: Session, error: Exception | None) -> None:
        self._owner.disconnected(error)

    def called(self, session: Session, message: dict[str, Any]) -> None:
        raise AssertionError("a classic plugin calls nothing")


class Plugins:
    """A registry of real sessions, each with its peer."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.registry = Registry()
        self.dispatcher = Dispatcher(self.registry, Settings(max_frame_bytes=1 << 20))
        self._stack = stack

    async def add(self, name: str, priority: int = 0) -> WirePeer:
        owner = Owner()
        lane = Lane(owner, ReadBuffer(), 1 << 20)
        peer = await self._stack.enter_async_context(connected(lane, owner))
        shaken = Handshake(plugin=name, priority=priority, capabilities=("*",))
        runtime = PluginRuntime(name, None)
        runtime.session = Session(shaken, Peer(1, 1), lane, LIMITS, SessionOwner(owner))
        runtime.session.open(b"\0\0\0\2{}")
        await peer.read()
        self.registry.add(runtime)
        self.registry.reroute()
        return peer


@pytest.fixture
async def plugins() -> AsyncIterator[Plugins]:
    async with AsyncExitStack() as stack:
        yield Plugins(stack)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


async def answering(peer: WirePeer, message: Any) -> Any:
    asked = await peer.read()
    await peer.answer(message)
    return asked["payload"]


async def test_a_chain_in_order_of_priority_with_a_replacement_and_a_stop(plugins):
    _, high, middle = [await plugins.add(n, p) for n, p in (("c", 0), ("a", 9), ("b", 5))]
    task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
    assert await answering(high, {"status": "ok", "payload": 2}) == 1
    assert await answering(middle, {"status": "ok", "data": {"flow": "stop"}}) == 2
    outcome = await task
    assert [result.plugin for result in outcome.results] == ["a", "b"]
    assert (outcome.stopped_by, outcome.payload) == ("b", 2)
    assert plugins.registry.get("c").events == 0


@pytest.mark.parametrize("replacement", [deep(500), "x" * ((1 << 20) - 40)])
async def test_a_replacement_that_cannot_be_sent_is_the_plugins_failure(plugins, replacement):
    first, second = await plugins.add("a", 2), await plugins.add("b", 1)
    task = asyncio.create_task(plugins.dispatcher.emit("e", "kept"))
    writing = asyncio.create_task(answering(first, {"status": "ok", "payload": replacement}))
    assert await answering(second, {"status": "ok", "data": 1}) == "kept"
    outcome = await task
    await writing
    assert [(result.plugin, result.ok) for result in outcome.results] == [("a", False), ("b", True)]
    assert "its replacement: payload" in (outcome.results[0].error or "")
    assert outcome.payload == "kept"
    assert plugins.registry.get("a").errors == 1


async def test_a_cancelled_fan_out_leaves_nothing_unheard(plugins):
    await plugins.add("a", 2)
    failing = await plugins.add("b", 1)
    task = asyncio.create_task(plugins.dispatcher.broadcast("e", {}))
    await failing.read()
    failing.close()
    session = plugins.registry.get("b").session
    await until(lambda: session.in_flight == 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_fan_out_collects_answers_and_errors(plugins):
    peers = {name: await plugins.add(name) for name in "abc"}
    task = asyncio.create_task(plugins.dispatcher.broadcast("e", {"x": 1}, timeout=0.2))
    await answering(peers["a"], {"n": 1})
    await answering(peers["b"], {"status": "error", "code": "internal", "message": "no"})
    found = {result.plugin: result for result in (await task).results}
    assert (found["a"].ok, found["a"].data) == (True, {"n": 1})
    assert (found["b"].ok, found["b"].error) == (False, "no")
    assert (found["c"].ok, found["c"].error_code) == (False, "deadline_exceeded")
    assert plugins.registry.get("c").timeouts == 1


async def test_requests(plugins):
    peer = await plugins.add("a")
    ask = plugins.dispatcher.request
    task = asyncio.create_task(ask("wk.plugin.a", "e", {}))
    await answering(peer, {"status": "ok", "data": 7})
    assert await task == 7
    task = asyncio.create_task(ask("a", "e", {}))
    await answering(peer, {"status": "error", "message": "no"})
    with pytest.raises(PluginReplyError, match="a: no"):
        await task
    with pytest.raises(PluginTimeoutError):
        await ask("a", "e", {}, timeout=0.01)
    with pytest.raises(UnknownPluginError):
        await ask("nobody", "e", {})
    plugins.registry.get("a").session = None
    with pytest.raises(PluginUnavailableError, match="not connected"):
        await ask("a", "e", {})


async def test_notify_counts_what_it_drops(plugins):
    await plugins.add("a")
    sent = [plugins.dispatcher.notify("e", n) for n in range(12)]
    assert sent == [1] * 12  # 8 in flight, 2 in the queue, and 2 took the place of older ones
    assert plugins.registry.get("a").summary().dropped == 2
