"""Closed means closed, roles, conditions, and which counter each event is in."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.dispatch_kit import Plugins, answering, having

from vconnect.dispatch.origin import Origin
from vconnect.errors import NotAskedError, PluginReplyError, PluginUnavailableError
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.events import EventSettings, PluginEventOptions
from vconnect.settings.match import Condition
from vconnect.settings.model import PluginOptions

OK = {"status": "ok"}
REQUIRES = {"e": EventSettings(requires=("wk.plugin.filter",))}


def choices(**options: Any) -> PluginOptions:
    return PluginOptions(events={"e": PluginEventOptions(**options)})


async def absent(plugins: Plugins) -> None:
    """Nothing is installed under that name."""


async def stopped(plugins: Plugins) -> None:
    plugins.registry.add(PluginRuntime("filter", None))


@pytest.mark.parametrize("make", [absent, stopped])
@pytest.mark.parametrize("mode", ["emit", "broadcast"])
async def test_without_the_required_plugin_nothing_goes_on(make, mode):
    async with having(events=REQUIRES) as plugins:
        await make(plugins)
        await plugins.add("behind")
        outcome = await getattr(plugins.dispatcher, mode)("e", {"content": "x"})
        assert (outcome.results, outcome.stopped_by) == ([], "filter")
        assert outcome.refusal.code == "unavailable"
        assert "the event requires it" in outcome.refusal.message
        assert plugins.registry.get("behind").rows.sent == 0


@pytest.mark.parametrize("mode", ["emit", "broadcast"])
async def test_a_required_plugin_that_is_not_connected_stops_it(mode):
    async with having(events=REQUIRES) as plugins:
        await plugins.add("filter", 9)
        plugins.registry.get("filter").session = None
        outcome = await getattr(plugins.dispatcher, mode)("e", 1)
        assert outcome.stopped_by == "filter"
        assert outcome.refusal is not None


@pytest.mark.parametrize("answer", [{"status": "error", "message": "no"}, []])
async def test_a_required_plugin_whose_answer_is_not_good_stops_it(answer):
    tables = {"e": EventSettings(requires=("filter",), on_failure="default", default=OK)}
    options = {"filter": PluginOptions(events={"e": PluginEventOptions(on_failure="open")})}
    async with having(events=tables, options=options) as plugins:
        peer = await plugins.add("filter", 9)
        await plugins.add("behind")
        task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
        await answering(peer, answer)
        outcome = await task
        assert outcome.stopped_by == "filter"
        assert plugins.registry.get("behind").rows.sent == 0


async def test_a_notification_cannot_wait_for_the_required_answer():
    async with having(events=REQUIRES) as plugins:
        await plugins.add("filter")
        with pytest.raises(PluginUnavailableError, match="use emit"):
            plugins.dispatcher.notify("e", 1)
        with pytest.raises(PluginUnavailableError, match="use emit"):
            await plugins.dispatcher.notify_when_room("e", 1)


async def test_a_good_answer_of_the_required_plugin_lets_it_go_on():
    async with having(events=REQUIRES) as plugins:
        first, second = await plugins.add("filter", 9), await plugins.add("behind")
        task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
        await answering(first, OK)
        await answering(second, OK)
        outcome = await task
        assert (outcome.stopped_by, outcome.refusal, len(outcome.results)) == (None, None, 2)


async def test_a_transform_replaces_and_does_not_stop():
    async with having(options={"a": choices(role="transform")}) as plugins:
        first, second = await plugins.add("a", 9), await plugins.add("b")
        task = asyncio.create_task(plugins.dispatcher.emit("e", {"x": 1, "y": 1}))
        await answering(first, {**OK, "flow": "stop", "payload": {"x": 2, "y": 1}})
        assert await answering(second, OK) == {"x": 2, "y": 1}
        outcome = await task
        assert [result.changed for result in outcome.results] == [("x",), ()]
        assert outcome.stopped_by is None


async def test_an_observer_is_told_and_not_waited_for():
    async with having(options={"a": choices(role="observer")}) as plugins:
        watching, second = await plugins.add("a", 9), await plugins.add("b")
        task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
        assert await answering(second, OK) == 1
        outcome = await task
        assert [result.plugin for result in outcome.results] == ["b"]
        assert await answering(watching, {**OK, "flow": "stop", "payload": 2}) == 1


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", [10, 11]), ("drop_newest", [8, 9]), ("block", [8, 9])]
)
async def test_the_queue_of_an_observer_is_full(overflow: Any, kept: list[int]):
    tables = {"e": EventSettings(overflow=overflow)}
    options = {"a": choices(role="observer", timeout=0.05)}
    async with having(events=tables, options=options) as plugins:
        watching = await plugins.add("a")
        session = plugins.registry.get("a").session
        assert session is not None
        for number in range(12):  # eight are in flight; two have room behind them
            await plugins.dispatcher.emit("e", number)
        for number in [*range(8), *kept]:
            assert await answering(watching, OK) == number
        assert plugins.registry.get("a").counters.dropped + session.dropped == 2


async def test_on_failure_of_one_plugin():
    async with having(options={"a": choices(on_failure="closed")}) as plugins:
        first, _ = await plugins.add("a", 9), await plugins.add("b")
        task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
        await answering(first, {"status": "error", "message": "no", "code": "busy"})
        outcome = await task
        assert (outcome.stopped_by, outcome.reason) == ("a", "a: no")
        assert (outcome.refusal.code, outcome.refusal.message) == ("busy", "no")


async def test_the_timeout_of_one_plugin_for_one_event():
    async with having(options={"a": choices(timeout=0.05)}) as plugins:
        await plugins.add("a")
        outcome = await plugins.dispatcher.emit("e", 1)
        assert outcome.results[0].error_code == "deadline_exceeded"
        with pytest.raises(Exception, match="no answer by the deadline"):
            await plugins.dispatcher.request("a", "e", 1)


@pytest.mark.parametrize("mode", ["emit", "broadcast"])
async def test_what_does_not_match_is_not_asked(mode):
    match = {"content": Condition(prefix="/help")}
    async with having(options={"a": choices(match=match)}) as plugins:
        first, second = await plugins.add("a", 9), await plugins.add("b")
        send = getattr(plugins.dispatcher, mode)
        task = asyncio.create_task(send("e", {"content": "hello"}))
        await answering(second, OK)
        assert [result.plugin for result in (await task).results] == ["b"]
        task = asyncio.create_task(send("e", {"content": "/help"}))
        await answering(first, OK)
        await answering(second, OK)
        assert [result.plugin for result in (await task).results] == ["a", "b"]
        assert plugins.dispatcher.notify("e", {"content": "hello"}) == 1
        plugin = plugins.registry.get("a")
        assert (plugin.rows.sent, plugin.passed_over.count, plugin.counters.dropped) == (1, 0, 0)


async def test_a_stop_says_why_in_one_form():
    async with having() as plugins:
        peer = await plugins.add("a")
        for data, expected in [
            (None, ("stopped", "a stopped it", None)),
            ({"code": "spam", "message": "no", "details": [1]}, ("spam", "no", [1])),
            ({"code": 7}, ("stopped", "a stopped it", None)),
        ]:
            task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
            await answering(peer, {**OK, "flow": "stop", "data": data})
            refusal = (await task).refusal
            assert refusal is not None
            assert (refusal.code, refusal.message, refusal.details) == expected


@dataclass
class Message:
    content: str
    from_uid: str


@pytest.mark.parametrize("payload", [Message("a", "ada"), {"content": "a", "from_uid": "ada"}])
async def test_what_the_caller_changes_later_changes_nothing(payload):
    async with having() as plugins:
        peer = await plugins.add("a")
        task = asyncio.create_task(plugins.dispatcher.emit("e", payload))
        asked = await peer.read()
        if isinstance(payload, dict):
            payload["from_uid"] = "eve"
        else:
            payload.from_uid = "eve"
        await peer.answer({**OK, "payload": {**asked["payload"], "content": "b"}})
        outcome = await task
        assert outcome.payload == {"content": "b", "from_uid": "ada"}
        assert outcome.results[0].changed == ("content",)
        assert plugins.registry.get("a").counters.refused_changes == 0


async def test_each_event_is_in_one_counter():
    async with having(breaker_failures=2, breaker_cooldown=60) as plugins:
        peer = await plugins.add("a")
        for answer in (OK, {"status": "error"}, {"status": "error"}):
            task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
            await answering(peer, answer)
            await task
        await plugins.dispatcher.emit("e", 1)  # its circuit is open
        with suppress(PluginUnavailableError):
            await plugins.dispatcher.request("a", "e", 1)
        plugin = plugins.registry.get("a")
        assert (plugin.rows.sent, plugin.counters.errors, plugin.passed_over.count) == (3, 2, 2)


async def test_conditions_look_at_what_was_sent():
    match = {"content": Condition(prefix="/help")}
    async with having(options={"b": choices(match=match)}) as plugins:
        first, second = await plugins.add("a", 9), await plugins.add("b")
        payload = {"content": "hi"}
        task = asyncio.create_task(plugins.dispatcher.emit("e", payload))
        await first.read()
        payload["content"] = "/help"  # too late
        await first.answer(OK)
        assert [result.plugin for result in (await task).results] == ["a"]
        task = asyncio.create_task(plugins.dispatcher.emit("e", {"content": "hi"}))
        await answering(first, {**OK, "payload": {"content": "/help"}})
        assert await answering(second, OK) == {"content": "/help"}
        assert [result.plugin for result in (await task).results] == ["a", "b"]


async def test_an_error_that_stops_is_refused_in_its_own_words():
    async with having() as plugins:
        peer = await plugins.add("a")
        task = asyncio.create_task(plugins.dispatcher.emit("e", 1))
        error = {"status": "error", "code": "mine", "message": "no", "flow": "stop"}
        await answering(peer, error)
        refusal = (await task).refusal
        assert refusal is not None
        assert (refusal.code, refusal.message) == ("mine", "no")


async def test_waiting_for_room_ends_with_the_call_that_is_served():
    async with having() as plugins:
        await plugins.add("a")
        for _ in range(10):
            plugins.dispatcher.notify("e", "full")
        origin = Origin(plugins.dispatcher)
        origin.until = time.monotonic() + 0.05
        with origin.inherited():
            began = time.monotonic()
            assert await plugins.dispatcher.notify_when_room("e", "late", timeout=30) == 0
        assert time.monotonic() - began < 10
        origin.end()


MODES = ["emit", "broadcast", "request", "request_result", "notify_when_room"]


async def sent(plugins: Plugins, mode: str, timeout: float) -> Any:
    names = ("a", "e", 1) if mode.startswith("request") else ("e", 1)
    return await getattr(plugins.dispatcher, mode)(*names, timeout=timeout)


@pytest.mark.parametrize("mode", MODES)
async def test_a_timeout_is_a_number(mode: str):
    async with having() as plugins:
        await plugins.add("a")
        with pytest.raises(ValueError, match="timeout is nan"):
            await sent(plugins, mode, float("nan"))


@pytest.mark.parametrize("timeout", [0, -1])
@pytest.mark.parametrize("mode", MODES[:-1])
async def test_what_there_is_no_time_for_is_not_sent(mode: str, timeout: float):
    async with having(breaker_failures=1) as plugins:
        await plugins.add("a")
        if mode.startswith("request"):
            with pytest.raises(NotAskedError, match="no time was left") as caught:
                await sent(plugins, mode, timeout)
            code = caught.value.code
        else:
            code = (await sent(plugins, mode, timeout)).results[0].error_code
        assert code == "deadline_exceeded"
        plugin = plugins.registry.get("a")
        assert (plugin.rows.sent, plugin.passed_over.count) == (0, 1)
        assert not plugin.breaker.is_open


async def test_the_deadline_of_a_call_that_is_over_lets_nothing_through():
    async with having() as plugins:
        await plugins.add("a")
        origin = Origin(plugins.dispatcher)
        origin.until = time.monotonic() - 1
        with origin.inherited(), pytest.raises(NotAskedError):
            await plugins.dispatcher.request("a", "e", 1)
        origin.end()


@pytest.mark.parametrize("mode", ["request", "request_result"])
async def test_an_error_in_place_of_a_failure_is_raised(mode: str):
    default = {"status": "error", "message": "sorry", "code": "no"}
    async with having(
        events={"e": EventSettings(on_failure="default", default=default)}
    ) as plugins:
        peer = await plugins.add("a")
        task = asyncio.create_task(getattr(plugins.dispatcher, mode)("a", "e", 1))
        await answering(peer, {"status": "error", "message": "mine"})
        with pytest.raises(PluginReplyError, match="sorry") as caught:
            await task
        assert caught.value.code == "no"
