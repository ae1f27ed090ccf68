"""What a plugin may do to its chain and fan-out, and what never reaches the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
from tests.support.dispatch_kit import Plugins, answering, having
from tests.support.wire_kit import Peer as WirePeer
from tests.support.wire_kit import until

from vconnect.errors import (
    PayloadError,
    PluginOverloadedError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
    UnknownPluginError,
)
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.events import EventSettings
from vconnect.settings.model import PluginOptions
from vconnect.wire.messages import encode_event


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


async def test_a_chain_in_order_of_priority_with_a_replacement_and_a_stop(plugins):
    _, high, middle = [await plugins.add(n, p) for n, p in (("c", 0), ("a", 9), ("b", 5))]
    task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
    assert await answering(high, {"status": "ok", "payload": 2}) == 1
    assert await answering(middle, {"status": "ok", "data": {"flow": "stop"}}) == 2
    outcome = await task
    assert [result.plugin for result in outcome.results] == ["a", "b"]
    assert (outcome.stopped_by, outcome.payload) == ("b", 2)
    assert plugins.registry.get("c").rows.sent == 0


@pytest.mark.parametrize(
    ("replacement", "words"),
    [
        (deep(500), "its answer cannot be read: payload is nested too deeply"),
        ("x" * ((1 << 20) - 40), "its replacement: payload"),
    ],
)
async def test_a_replacement_that_cannot_be_sent_is_the_plugins_failure(
    plugins, replacement, words
):
    first, second = await plugins.add("a", 2), await plugins.add("b", 1)
    task = asyncio.create_task(plugins.dispatcher.emit("e", "kept"))
    writing = asyncio.create_task(answering(first, {"status": "ok", "payload": replacement}))
    assert await answering(second, {"status": "ok", "data": 1}) == "kept"
    outcome = await task
    await writing
    assert [(result.plugin, result.ok) for result in outcome.results] == [("a", False), ("b", True)]
    assert words in (outcome.results[0].error or "")
    assert outcome.payload == "kept"
    assert plugins.registry.get("a").counters.errors == 1


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
    assert plugins.registry.get("c").counters.timeouts == 1


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


async def test_a_call_that_came_through_plugins_fails_as_any_other(plugins):
    await plugins.add("a")
    runtime = plugins.registry.get("a")
    runtime.session = None
    with pytest.raises(PluginUnavailableError, match="not connected"):
        await plugins.dispatcher.request("a", "e", {}, hops=2)
    assert runtime.hops_in_flight == []


async def test_hops_are_known_while_the_event_is_in_flight(plugins):
    peer = await plugins.add("a")
    runtime = plugins.registry.get("a")
    task = asyncio.create_task(plugins.dispatcher.request("a", "e", {}, hops=2))
    await peer.read()
    assert runtime.hops_in_flight == [2]
    await peer.answer({"status": "ok"})
    await task
    assert runtime.hops_in_flight == []


# --- the circuit breaker ---------------------------------------------------------------------


@asynccontextmanager
async def half_open(**options: Any) -> AsyncIterator[tuple[Plugins, WirePeer, PluginRuntime]]:
    """A plugin that has failed once too often, and whose time to be probed has come."""
    limits = {"breaker_failures": 1, "breaker_cooldown": 0.01, **options}
    async with having(**limits) as plugins:
        peer = await plugins.add("a")
        runtime = plugins.registry.get("a")
        task = asyncio.create_task(plugins.dispatcher.request("a", "e", {}))
        await answering(peer, {"status": "error", "message": "no"})
        with pytest.raises(PluginReplyError):
            await task
        runtime.breaker._until += 60  # so that it is open still, however slow this machine is
        with pytest.raises(PluginUnavailableError, match=r"circuit is open after 1 failures"):
            await plugins.dispatcher.request("a", "e", {})
        runtime.breaker._until -= 60
        await until(lambda: runtime.breaker.state == "half_open")
        yield plugins, peer, runtime


async def probes_well(plugins: Plugins, peer: WirePeer) -> bool:
    task = asyncio.create_task(plugins.dispatcher.request("a", "e", {}))
    await answering(peer, {"status": "ok", "data": "well"})
    return await task == "well" and plugins.registry.get("a").breaker.state == "closed"


async def test_one_call_probes_and_closes_the_circuit():
    async with half_open() as (plugins, peer, _):
        probe = asyncio.create_task(plugins.dispatcher.emit("e", 1))
        assert (await peer.read())["payload"] == 1
        with pytest.raises(PluginUnavailableError, match="circuit is open"):
            await plugins.dispatcher.request("a", "e", 2)
        await peer.answer({"status": "ok", "data": 1})
        assert (await probe).results[0].ok
        assert await probes_well(plugins, peer)


async def test_a_payload_that_cannot_be_sent_is_no_probe():
    async with half_open() as (plugins, peer, _):
        with pytest.raises(PayloadError):
            await plugins.dispatcher.request("a", "e", object())
        assert await probes_well(plugins, peer)


@pytest.mark.parametrize("how", ["emit", "broadcast", "request"])
async def test_a_call_that_finds_the_queue_full_is_no_probe(how):
    async with half_open() as (plugins, peer, runtime):
        # Eight in flight and two that wait, sent past the circuit: as before it opened.
        message = encode_event("e", "before", 1 << 20)
        calls = [runtime.session.call(message, monotonic() + 60) for _ in range(10)]
        if how == "request":
            with pytest.raises(PluginOverloadedError):
                await plugins.dispatcher.request("a", "e", {})
        else:
            outcome = await getattr(plugins.dispatcher, how)("e", {})
            assert outcome.results[0].error_code == "overloaded"
        for call in calls:
            await answering(peer, {"status": "ok"})
            await call
        assert await probes_well(plugins, peer)


@pytest.mark.parametrize("how", ["emit", "broadcast", "request"])
async def test_a_probe_whose_caller_goes_away_lets_another_one_through(how):
    async with half_open() as (plugins, peer, _):
        ask = getattr(plugins.dispatcher, how)
        task = asyncio.create_task(ask("a", "e", {}) if how == "request" else ask("e", {}))
        await peer.read()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await peer.answer({"status": "ok"})
        assert await probes_well(plugins, peer)


async def test_a_plugin_that_the_chain_had_no_time_for_has_not_failed():
    async with having(breaker_failures=1) as plugins:
        slow, _ = await plugins.add("slow", 2), await plugins.add("next", 1)
        outcome = await plugins.dispatcher.emit("e", {}, timeout=0.02)
        await slow.read()
        first, second = outcome.results
        assert (first.error_code, second.error_code) == ("deadline_exceeded", "deadline_exceeded")
        assert "no time was left for it" in (second.error or "")
        assert plugins.registry.get("slow").breaker.state == "open"
        unasked = plugins.registry.get("next")
        assert (unasked.rows.sent, unasked.counters.timeouts, unasked.breaker.state) == (
            0,
            0,
            "closed",
        )


# --- failures ------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [True, False])
async def test_an_error_may_stop_the_chain_if_it_says_so(plugins, stops):
    first, second = await plugins.add("a", 2), await plugins.add("b", 1)
    task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
    await answering(first, {"status": "error", "message": "no", "flow": "stop" if stops else "go"})
    if not stops:
        await answering(second, {"status": "ok"})
    outcome = await task
    assert outcome.stopped_by == ("a" if stops else None)
    assert (outcome.results[0].ok, outcome.results[0].stop) == (False, stops)
    assert len(outcome.results) == (1 if stops else 2)
    assert outcome.reason is None


async def test_no_default_answers_for_the_hosts_own_events():
    default = EventSettings(on_failure="default", default={"status": "ok", "data": "stand-in"})
    async with having(events={"*": default}) as plugins:
        await plugins.add("a")
        plugins.registry.get("a").session = None
        assert await plugins.dispatcher.request("a", "some.event", {}) == "stand-in"


RESERVED: list[tuple[Any, Any]] = [
    ("vconnect.ping", PayloadError),
    ("", PayloadError),
    ("\ud83d", PayloadError),
]
NO_NAMES: list[tuple[Any, Any]] = [
    (7, TypeError),
    (None, TypeError),
    (b"e", TypeError),
    ("x" * 256, PayloadError),
]


@pytest.mark.parametrize(("event", "kind"), RESERVED + NO_NAMES, ids=range(7))
async def test_names_that_are_not_for_applications(plugins, event, kind):
    await plugins.add("a")
    dispatcher = plugins.dispatcher
    for call in (dispatcher.emit, dispatcher.broadcast, dispatcher.notify_when_room):
        with pytest.raises(kind, match="the event's name"):
            await call(event, 1)
    for call in (dispatcher.request, dispatcher.request_result):
        with pytest.raises(kind, match="the event's name"):
            await call("a", event, 1)
    with pytest.raises(kind, match="the event's name"):
        dispatcher.notify(event, 1)
    assert plugins.registry.get("a").rows.sent == 0


@pytest.mark.parametrize("where", ["message", "code"])
async def test_an_error_whose_words_are_no_text_is_an_error_all_the_same(plugins, where):
    peer = await plugins.add("a")
    answer = {"status": "error", "message": "no", where: deep(900)}
    task = asyncio.create_task(plugins.dispatcher.request("a", "e", {}))
    await answering(peer, answer)
    with pytest.raises(PluginReplyError) as caught:
        await task
    assert len(str(caught.value)) < 500
    assert len(caught.value.code) < 500
    for how in ("emit", "broadcast"):
        chain = asyncio.create_task(getattr(plugins.dispatcher, how)("e", {}))
        await answering(peer, answer)
        assert not (await chain).results[0].ok


# --- the whole result of one plugin -----------------------------------------------------------


async def test_a_result_of_one_plugin_tells_how_long_it_took(plugins):
    peer = await plugins.add("a")
    task = asyncio.create_task(plugins.dispatcher.request_result("wk.plugin.a", "e", 1))
    assert await answering(peer, {"status": "ok", "data": 2}) == 1
    result = await task
    assert (result.plugin, result.ok, result.data, result.is_default) == ("a", True, 2, False)
    assert result.duration_ms > 0
    assert plugins.registry.get("a").rows.sent == 1


async def test_a_result_says_that_a_default_answer_stood_in():
    default = EventSettings(on_failure="default", default={"status": "ok", "data": "stand-in"})
    async with having(events={"e": default}) as plugins:
        peer = await plugins.add("a")
        task = asyncio.create_task(plugins.dispatcher.request_result("a", "e", 1))
        await answering(peer, {"status": "error", "message": "no", "code": "bad_request"})
        result = await task
        assert (result.ok, result.data, result.is_default) == (True, "stand-in", True)
        assert (result.error, result.error_code) == ("no", "bad_request")


async def test_without_a_default_a_failure_of_one_plugin_is_raised_and_counted(plugins):
    peer = await plugins.add("a")
    task = asyncio.create_task(plugins.dispatcher.request_result("a", "e", 1))
    await answering(peer, {"status": "error", "message": "no"})
    with pytest.raises(PluginReplyError, match="no"):
        await task
    assert plugins.registry.get("a").counters.errors == 1


async def test_a_timeout_of_the_caller_is_the_deadline_of_a_result():
    async with having(options={"a": PluginOptions(timeout=60.0)}) as plugins:
        await plugins.add("a")
        with pytest.raises(PluginTimeoutError):
            await plugins.dispatcher.request_result("a", "e", 1, timeout=0.02)


# --- notifications ---------------------------------------------------------------------------
