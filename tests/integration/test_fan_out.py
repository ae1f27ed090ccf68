"""Broadcasts over real sessions: every answer or error, each with its own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.support.wire_end import Wire, connected, run

from vconnect.dispatch.dispatcher import Dispatcher
from vconnect.dispatch.results import Outcome
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.wire._fan_out import FanOut

NAMES = ("a", "b", "c")
OK = b'{"status":"ok","data":%d}'


@asynccontextmanager
async def three_plugins() -> AsyncIterator[tuple[Dispatcher, Registry, list[Wire]]]:
    registry = Registry()
    async with AsyncExitStack() as stack:
        wires = []
        for name in NAMES:
            runtime = PluginRuntime(name, None)
            wire = await stack.enter_async_context(connected(name, rows=runtime.rows))
            runtime.session = wire.session
            registry.add(runtime)
            wires.append(wire)
        yield Dispatcher(registry, 1 << 24), registry, wires


def started(dispatcher: Dispatcher, timeout: float = 10.0) -> asyncio.Task[Outcome]:
    return asyncio.create_task(dispatcher.broadcast("user.online", {"uid": "u"}, timeout=timeout))


def test_every_answer_is_collected_whatever_the_order() -> None:
    async def scenario() -> None:
        async with three_plugins() as (dispatcher, registry, wires):
            broadcast = started(dispatcher)
            for wire in wires:
                assert (await wire.event())["payload"] == {"uid": "u"}
            await wires[2].answer(OK % 3)
            await wires[0].answer(OK % 1)
            await asyncio.sleep(0.05)
            assert not broadcast.done()
            await wires[1].answer(b'{"status":"error","message":"no","code":"bad_request"}')
            outcome = await broadcast
            assert [result.plugin for result in outcome.results] == list(NAMES)
            assert [result.data for result in outcome.results] == [1, None, 3]
            assert outcome.results[1].error == "no"
            assert outcome.results[1].error_code == "bad_request"
            assert outcome.results[1].duration_ms > outcome.results[2].duration_ms
            assert [runtime.rows.sent for runtime in registry] == [1, 1, 1]
            assert [runtime.counters.errors for runtime in registry] == [0, 1, 0]

    run(scenario)


def test_a_plugin_that_fails_does_not_keep_the_others_answers() -> None:
    async def scenario() -> None:
        async with three_plugins() as (dispatcher, registry, wires):
            broadcast = started(dispatcher, timeout=0.2)
            await wires[2].event()
            await wires[0].answer(OK % 1)
            wires[1].hang_up()
            outcome = await broadcast
            codes = [result.error_code for result in outcome.results]
            assert codes == [None, "unavailable", "deadline_exceeded"]
            assert [runtime.counters.timeouts for runtime in registry] == [0, 0, 1]

    run(scenario)


def test_a_broadcast_to_nobody_has_no_results() -> None:
    async def scenario() -> None:
        outcome = await Dispatcher(Registry(), 1 << 24).broadcast("user.online", {})
        assert outcome.results == []

    run(scenario)


def test_a_plugin_that_went_away_is_told_of_and_the_others_are_asked() -> None:
    async def scenario() -> None:
        async with three_plugins() as (dispatcher, registry, wires):
            assert len(registry.routes.route("user.online").plugins) == 3
            registry.get("a").session = None
            broadcast = started(dispatcher)
            await wires[2].event()
            await wires[1].answer(OK % 2)
            await wires[2].answer(OK % 3)
            outcome = await broadcast
            assert [result.ok for result in outcome.results] == [False, True, True]
            assert outcome.results[0].error_code == "unavailable"

    run(scenario)


def test_answers_to_a_cancelled_broadcast_reach_nobody_else() -> None:
    async def scenario() -> None:
        async with three_plugins() as (dispatcher, _, wires):
            broadcast = started(dispatcher)
            await wires[0].event()
            broadcast.cancel()
            with pytest.raises(asyncio.CancelledError):
                await broadcast
            request = wires[0].request()
            await wires[0].answer(OK % 1, OK % 2)
            assert await request == 2

    run(scenario)


def test_a_delivery_is_done_once() -> None:
    fan_out = FanOut()
    first, second = fan_out.add(), fan_out.add()
    first.set_result({"type": 1})
    fan_out.abandon()
    for delivery in (first, second):
        assert delivery.done()
        with pytest.raises(asyncio.InvalidStateError):
            delivery.set_result({"type": 2})
    (one, _, _), (other, _, _) = fan_out.results()
    assert (one, other) == ({"type": 1}, None)
