"""The kit's `Host`: calls and their replies, without a socket."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from typing import Any

import pytest

from vconnect.errors import HostCallError, PayloadError
from vconnect.sdk.host_client import Host, hops


class Line:
    """Stands where the connection would, and keeps what is sent."""

    def __init__(self, max_frame_bytes: int = 1024) -> None:
        self.frames: list[Any] = []
        self.readings = 0
        self.host = Host()
        self.host.connected(self, self._keep_reading, max_frame_bytes)  # type: ignore[arg-type]

    def send(self, frame: bytes) -> None:
        assert int.from_bytes(frame[:4], "big") == len(frame) - 4
        self.frames.append(json.loads(frame[4:]))

    def _keep_reading(self) -> None:
        self.readings += 1

    async def asked(self, call: Any) -> tuple[asyncio.Task[Any], dict[str, Any]]:
        """Begin a call; returns it with what it has sent."""
        task = asyncio.create_task(call)
        await asyncio.sleep(0)
        return task, self.frames[-1]

    def reply(self, number: Any, **fields: Any) -> None:
        self.host.settle({"id": number, "status": "ok", **fields})


@pytest.fixture
def line() -> Line:
    return Line()


async def failed(call: asyncio.Task[Any]) -> tuple[str, str]:
    with pytest.raises(HostCallError) as caught:
        await call
    return caught.value.code, str(caught.value)


async def test_a_call_is_answered_by_its_number(line: Line) -> None:
    first, asked = await line.asked(line.host.call("message.send", {"to": "ada"}))
    call = {"id": 1, "call": "message.send", "params": {"to": "ada"}}
    assert asked == {**call, "deadline_ms": 30_000}
    second, asked = await line.asked(line.host.call("message.send", timeout=math.inf))
    assert asked == {"id": 2, "call": "message.send", "params": {}}
    line.reply(2, data="second")
    line.reply(1, data="first")
    assert (await first, await second) == ("first", "second")
    assert line.readings == 2
    assert not line.host.waits


@pytest.mark.parametrize("data", [None, 0, False, "", []])
async def test_a_reply_may_hold_anything(line: Line, data: Any) -> None:
    call, _ = await line.asked(line.host.call("x"))
    line.reply(1, data=data)
    assert await call == data


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"status": "error", "code": "denied", "message": "no"}, ("denied", "no")),
        ({"status": "error"}, ("internal", "")),
        ({"status": "error", "code": None, "message": 5}, ("internal", "5")),
        ({"status": "OK", "data": 1}, ("internal", "")),
        ({}, ("internal", "")),
    ],
)
async def test_what_is_not_ok_is_an_error(
    line: Line, reply: dict[str, Any], error: tuple[str, str]
) -> None:
    call, _ = await line.asked(line.host.call("x"))
    line.host.settle({"id": 1, **reply})
    assert await failed(call) == error


async def test_no_reply_in_time(line: Line) -> None:
    call, _ = await line.asked(line.host.call("slow.call", timeout=0.001))
    assert await failed(call) == ("deadline_exceeded", "slow.call: no reply within 0.001 s")
    line.reply(1, data="too late")
    assert not line.host.waits


@pytest.mark.parametrize("number", [99, "1", None, 1.5, [1], {}])
async def test_a_reply_to_nobody_is_dropped(line: Line, number: Any) -> None:
    call, _ = await line.asked(line.host.call("x"))
    line.reply(number, data="not yours")
    assert line.host.waits
    line.reply(1, data="yours")
    assert await call == "yours"


async def test_the_first_reply_of_two_counts(line: Line) -> None:
    call, _ = await line.asked(line.host.call("x"))
    line.reply(1, data="first")
    line.host.settle({"id": 1, "status": "error", "code": "late"})
    assert await call == "first"


async def test_a_cancelled_call_waits_no_more(line: Line) -> None:
    call, _ = await line.asked(line.host.call("x"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not line.host.waits
    line.reply(1, data="dropped")
    later, asked = await line.asked(line.host.call("x"))
    assert asked["id"] == 2
    line.reply(2)
    await later


async def test_a_lost_connection_fails_all_calls_and_those_after_it(line: Line) -> None:
    calls = [(await line.asked(line.host.call("x")))[0] for _ in range(3)]
    assert line.host.is_native
    line.host.disconnected()
    assert not line.host.is_native
    for call in calls:
        assert await failed(call) == ("unavailable", "the connection was lost")
    with pytest.raises(HostCallError, match="there is no host"):
        await line.host.call("x")
    with pytest.raises(HostCallError, match="there is no host"):
        line.host.tell("x")
    line.host.disconnected()


async def test_numbers_go_on_over_a_new_connection(line: Line) -> None:
    old, _ = await line.asked(line.host.call("x"))
    line.host.disconnected()
    await failed(old)
    line.host.connected(line, lambda: None)  # type: ignore[arg-type]
    new, asked = await line.asked(line.host.call("x"))
    line.reply(1, data="of the old connection")
    assert not new.done()
    line.reply(asked["id"], data="new")
    assert await new == "new"


async def test_before_any_connection_there_is_no_host() -> None:
    with pytest.raises(HostCallError) as caught:
        await Host().call("x")
    assert caught.value.code == "unavailable"


@pytest.mark.parametrize("params", [{"x": {1}}, {"x": "y" * 2000}, {"x": 1 << 64}])
async def test_what_cannot_be_sent_is_an_error_and_leaves_nothing(
    line: Line, params: dict[str, Any]
) -> None:
    with pytest.raises(PayloadError):
        await line.host.call("x", params)
    with pytest.raises(PayloadError):
        line.host.tell("x", params)
    assert (line.frames, line.host.waits) == ([], False)


async def test_telling_waits_for_no_reply(line: Line) -> None:
    line.host.tell("note", {"n": 1})
    line.host.log("warn", "careful", n=2)
    fields = {"level": "warn", "message": "careful", "fields": {"n": 2}}
    assert line.frames == [
        {"call": "note", "params": {"n": 1}},
        {"call": "log", "params": fields},
    ]
    assert (line.readings, line.host.waits) == (0, False)


async def test_another_plugin_is_told_how_long_it_has(line: Line) -> None:
    call, asked = await line.asked(line.host.call_plugin("other", "sum", [1, 2], timeout=1.5))
    assert asked["call"] == "plugin.call"
    assert asked["params"] == {
        "plugin": "other",
        "method": "sum",
        "params": [1, 2],
        "deadline_ms": 1500,
    }
    line.reply(1, data=3)
    assert await call == 3


@pytest.mark.parametrize(("timeout", "deadline"), [(0.0001, 1), (math.inf, None), (0.0015, 1)])
async def test_a_deadline_is_at_least_a_millisecond(
    line: Line, timeout: float, deadline: int | None
) -> None:
    call, asked = await line.asked(line.host.call_plugin("other", "sum", timeout=timeout))
    assert asked["params"].get("deadline_ms") == deadline
    line.reply(1, data=None)
    with suppress(HostCallError):
        await call


async def test_publishing_says_how_many_it_reached(line: Line) -> None:
    call, asked = await line.asked(line.host.publish("news", {"n": 1}))
    assert asked["params"] == {"event": "news", "payload": {"n": 1}}
    line.reply(1, data={"plugins": 3})
    assert await call == 3


@pytest.mark.parametrize("name", ["subscribe", "unsubscribe"])
async def test_subscriptions_are_lists(line: Line, name: str) -> None:
    call, asked = await line.asked(getattr(line.host, name)("a.*", "b"))
    assert (asked["call"], asked["params"]) == (f"event.{name}", {"events": ["a.*", "b"]})
    line.reply(1)
    assert await call is None


async def test_a_handlers_calls_carry_on_how_far_its_event_has_come(line: Line) -> None:
    token = hops.set(3)
    try:
        line.host.tell("note")
        call, _ = await line.asked(line.host.call("x"))
    finally:
        hops.reset(token)
    line.host.tell("note")
    assert [frame.get("hops") for frame in line.frames] == [3, 3, None]
    line.reply(1)
    await call
