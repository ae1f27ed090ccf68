"""The kit's end of the native dialect, without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.sdk_end import GatedPlugin, Sink, Transport
from tests.support.wire_kit import until

from vconnect import Context, HostCallError, on
from vconnect.errors import ConfigError
from vconnect.sdk import native_pipeline as native_module
from vconnect.sdk.native_pipeline import NativePipeline


class Example(GatedPlugin):
    concurrency = 2

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[Any] = []

    @on("stubborn")
    async def stubborn(self, ctx: Context) -> None:
        self.entered.append(ctx.payload)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ctx.reply("went on")

    @on("lazy")
    def lazy(self, ctx: Context) -> Any:
        return self.slow(ctx)

    @on("all")
    def everything(self, ctx: Context) -> None:
        ctx.reply(1)
        ctx.stop()
        ctx.replace({"x": 1})

    @on("coded")
    def coded(self, ctx: Context) -> None:
        ctx.reply_error("no", code="busy")

    @on("left")
    def left(self, ctx: Context) -> None:
        ctx.reply(None if ctx.time_left is None else round(ctx.time_left))

    @on("calls")
    async def calls(self, ctx: Context) -> None:
        ctx.reply(await ctx.host.call("x", {"a": 1}))

    def on_config_update(self, config: Any) -> None:
        if config.get("refused"):
            raise RuntimeError("not this one")
        if config.get("wrong"):
            raise ConfigError("$.wrong: expected nothing")
        self.updates.append(config)


class End:
    """A plugin, its pipeline and what goes out."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.plugin = Example()
        self.plugin.config = {"first": True}
        self.transport = Transport()
        self.sink = Sink(self.transport)
        self.stopped: list[bool] = []
        stream: Any = self.sink
        self.pipeline = NativePipeline(self.plugin, stream, lambda: self.stopped.append(True))
        self.plugin.host.connected(stream, self.pipeline.keep_reading)
        if is_open:
            self.pipeline.open()

    def ask(self, number: int | None, event: str, payload: Any = None, **fields: Any) -> None:
        asked = {} if number is None else {"id": number}
        self.pipeline.accept({**asked, "event": event, "payload": payload, **fields})

    def cancel(self, number: int) -> None:
        self.ask(None, "vconnect.cancel", {"id": number})

    async def frames(self, count: int) -> list[Any]:
        await until(lambda: len(self.sink.frames) >= count, f"{count} frames: {self.sink.frames}")
        assert len(self.sink.frames) == count
        taken, self.sink.frames = self.sink.frames, []
        return taken


def cancelled(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "status": "error",
        "code": "cancelled",
        "message": "cancelled by the host",
    }


async def test_each_kind_of_reply():
    end = End()
    for number, event in enumerate(["plain", "silent", "all", "coded", "fail", "fail.later"], 1):
        end.ask(number, event, "p")
    frames = sorted(await end.frames(6), key=lambda frame: frame["id"])
    assert frames == [
        {"id": 1, "status": "ok", "data": "p"},
        {"id": 2, "status": "ok"},
        {"id": 3, "status": "ok", "data": 1, "flow": "stop", "payload": {"x": 1}},
        {"id": 4, "status": "error", "code": "busy", "message": "no"},
        {"id": 5, "status": "error", "code": "internal", "message": "ValueError: asked to fail"},
        {"id": 6, "status": "error", "code": "internal", "message": "KeyError"},
    ]


async def test_what_is_told_gets_no_reply():
    end = End()
    for event in ("plain", "all", "coded", "fail", "fail.later"):
        end.ask(None, event, 1)
    end.ask(None, "slow", "s")
    await until(lambda: "s" in end.plugin.entered)
    end.plugin.gates["s"].set()
    await until(lambda: not end.pipeline._running)
    assert end.sink.frames == []


@pytest.mark.parametrize(("deadline_ms", "left"), [(9000, 9), (None, None)])
async def test_a_handler_knows_its_time(deadline_ms, left):
    end = End()
    end.ask(1, "left", deadline_ms=deadline_ms)
    reply = {"id": 1, "status": "ok", "data": left}
    assert await end.frames(1) == [reply]


async def test_async_handlers_end_in_any_order_and_begin_in_theirs():
    end = End()
    for number in range(1, 6):
        end.ask(number, "slow", number)
    await until(lambda: end.plugin.entered == [1, 2])
    end.ask(6, "plain", 6)  # it waits its turn as well
    end.plugin.gates[2].set()
    assert [frame["id"] for frame in await end.frames(1)] == [2]
    await until(lambda: end.plugin.entered == [1, 2, 3])
    for number in (4, 5, 1, 3):
        end.plugin.gates.setdefault(number, asyncio.Event()).set()
    frames = await end.frames(5)
    assert sorted(frame["id"] for frame in frames) == [1, 3, 4, 5, 6]
    assert end.plugin.entered == [1, 2, 3, 4, 5, 6]


async def test_nothing_begins_before_it_is_open():
    end = End(is_open=False)
    end.ask(1, "plain", 1)
    end.ask(2, "slow", 2, hops=3)
    await asyncio.sleep(0)
    assert end.plugin.entered == []
    end.pipeline.open()
    await until(lambda: end.plugin.entered == [1, 2])
    end.plugin.gates[2].set()
    assert [frame["id"] for frame in await end.frames(2)] == [1, 2]


async def test_an_event_that_came_back_does_not_wait():
    end = End()
    end.ask(1, "slow", 1)
    end.ask(2, "slow", 2)
    end.ask(3, "slow", 3)
    end.ask(4, "slow", 4, hops=1)
    end.ask(5, "plain", 5, hops=1)
    await until(lambda: end.plugin.entered == [1, 2, 4, 5])
    assert [frame["id"] for frame in await end.frames(1)] == [5]
    end.pipeline.close()
    await until(lambda: not end.pipeline._running)


# --- cancel ----------------------------------------------------------------------------------


async def test_cancel_reaches_the_handler():
    end = End()
    for number in (1, 2, 3):
        end.ask(number, "slow", number)
    await until(lambda: end.plugin.entered == [1, 2])
    end.cancel(1)
    assert await end.frames(1) == [cancelled(1)]
    await until(lambda: end.plugin.entered == [1, 2, 3])
    assert end.plugin.cancelled == [1]
    end.pipeline.close()
    await until(lambda: not end.pipeline._running)


@pytest.mark.parametrize("event", ["slow", "lazy"])
async def test_cancel_in_the_same_read_as_its_event(event):
    end = End()
    end.ask(1, event, 1)
    end.cancel(1)
    assert await end.frames(1) == [cancelled(1)]
    assert end.plugin.entered == []
    end.ask(2, "plain", 2)
    assert [frame["id"] for frame in await end.frames(1)] == [2]


async def test_cancel_of_what_waits():
    end = End()
    for number in (1, 2, 3):
        end.ask(number, "slow", number)
    end.cancel(3)
    assert await end.frames(1) == [cancelled(3)]
    await until(lambda: end.plugin.entered == [1, 2])
    for number in (1, 2):
        end.plugin.gates[number].set()
    await end.frames(2)
    assert end.plugin.entered == [1, 2]


async def test_a_handler_may_go_on():
    end = End()
    end.ask(1, "stubborn", 1)
    await until(lambda: end.plugin.entered)
    end.cancel(1)
    assert await end.frames(1) == [{"id": 1, "status": "ok", "data": "went on"}]


@pytest.mark.parametrize("number", [7, 0, None, "1", [1], {}])
async def test_cancel_of_nothing(number):
    end = End()
    end.ask(1, "slow", 1)
    await until(lambda: end.plugin.entered)
    end.ask(None, "vconnect.cancel", {"id": number})
    end.ask(None, "vconnect.cancel", number)
    end.plugin.gates[1].set()
    assert await end.frames(1) == [{"id": 1, "status": "ok", "data": 1}]


@pytest.mark.parametrize("event", ["slow", "lazy"])
async def test_the_end_leaves_nothing(event):
    end = End()
    for number in range(1, 6):
        end.ask(number, event, number)
    end.pipeline.close()
    await until(lambda: not end.pipeline._running)
    assert end.sink.frames == []


# --- what the host itself sends --------------------------------------------------------------


async def test_ping():
    end = End()
    end.ask(1, "vconnect.ping")
    end.ask(None, "vconnect.ping")
    assert await end.frames(1) == [{"id": 1, "status": "ok"}]


async def test_a_reserved_event_that_this_kit_does_not_know():
    end = End()
    end.ask(1, "vconnect.future", {})
    [reply] = await end.frames(1)
    assert (reply["code"], reply["id"]) == ("unknown_event", 1)


async def test_config():
    end = End()
    end.ask(1, "vconnect.config.check", {"config": {"n": 1}})
    assert await end.frames(1) == [{"id": 1, "status": "ok"}]
    assert (end.plugin.config, end.plugin.updates) == ({"first": True}, [])
    end.ask(2, "vconnect.config.update", {"config": {"n": 1}})
    assert await end.frames(1) == [{"id": 2, "status": "ok"}]
    assert (end.plugin.config, end.plugin.updates) == ({"n": 1}, [{"n": 1}])
    for number, key, code in ((3, "refused", "internal"), (4, "wrong", "bad_request")):
        end.ask(number, "vconnect.config.update", {"config": {key: True}})
        [reply] = await end.frames(1)
        assert (reply["status"], reply["code"]) == ("error", code)
        assert end.plugin.config == {"n": 1}


async def test_config_of_another_type():
    class Typed(Example):
        config_type = dict[str, int]

    end = End()
    end.plugin.__class__ = Typed
    for event in ("vconnect.config.check", "vconnect.config.update"):
        end.ask(1, event, {"config": {"a": "x"}})
        [reply] = await end.frames(1)
        assert (reply["status"], reply["code"]) == ("error", "bad_request")
        assert "expected `int`" in reply["message"]
    assert end.plugin.config == {"first": True}


async def test_drain_waits_for_what_is_under_way():
    end = End()
    end.ask(1, "vconnect.drain", {"grace_ms": 1000})
    assert await end.frames(1) == [{"id": 1, "status": "ok"}]
    for number in (2, 3, 4):
        end.ask(number, "slow", number)
    end.ask(5, "vconnect.drain", {})
    await until(lambda: end.plugin.entered == [2, 3])
    assert end.sink.frames == []
    for number in (2, 3, 4):
        end.plugin.gates.setdefault(number, asyncio.Event()).set()
    frames = await end.frames(4)
    assert frames[-1] == {"id": 5, "status": "ok"}


async def test_stop_is_acknowledged_and_later_events_are_refused():
    end = End()
    end.ask(1, "slow", 1)
    await until(lambda: end.plugin.entered)
    end.ask(2, "vconnect.stop", {"reason": "update"})
    assert await end.frames(1) == [{"id": 2, "status": "ok"}]
    assert end.stopped == [True]
    idle: list[bool] = []
    end.pipeline.when_idle(lambda: idle.append(True))
    end.ask(3, "plain", 3)
    [reply] = await end.frames(1)
    assert (reply["id"], reply["code"], idle) == (3, "unavailable", [])
    end.plugin.gates[1].set()
    assert [frame["id"] for frame in await end.frames(1)] == [1]
    await until(lambda: idle)


# --- a host that is not as it should be ------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"status": "ok"},
        {"id": [1], "status": "ok"},
        {"id": {}, "status": "error"},
        {"id": 99, "status": "ok"},
        {"event": 7, "id": 1},
        {"call": "x", "id": 1},
        {"event": "vconnect.cancel", "payload": 7},
        {"event": "vconnect.config.check", "payload": {"config": None}},
    ],
)
async def test_frames_that_mean_nothing_are_ignored(message):
    end = End()
    call = asyncio.create_task(end.plugin.host.call("x"))
    await end.frames(1)
    end.pipeline.accept(message)
    end.pipeline.accept({"id": 1, "status": "ok", "data": "mine"})
    assert await call == "mine"
    end.ask(7, "plain", 7)
    assert await end.frames(1) == [{"id": 7, "status": "ok", "data": 7}]


@pytest.mark.parametrize(
    "fields",
    [
        {"deadline_ms": "soon"},
        {"deadline_ms": [1]},
        {"deadline_ms": True},
        {"hops": "x"},
        {"hops": -1},
        {"hops": 1.5},
        {"hops": None},
        {"id": "1"},
        {"id": 0},
        {"id": True},
    ],
)
async def test_an_event_whose_keys_are_wrong_is_refused(fields):
    end = End()
    end.pipeline.accept({"id": 1, "event": "plain", "payload": 1, **fields})
    if "id" in fields:  # there is no number to answer to
        await asyncio.sleep(0)
        assert end.sink.frames == []
    else:
        [reply] = await end.frames(1)
        assert (reply["id"], reply["code"]) == (1, "bad_request")
    assert end.plugin.entered == []
    end.ask(2, "plain", 2)
    assert await end.frames(1) == [{"id": 2, "status": "ok", "data": 2}]


# --- floods ----------------------------------------------------------------------------------


async def test_reading_stops_while_too_many_wait(monkeypatch):
    monkeypatch.setattr(native_module, "MAX_WAITING", 4)
    end = End()
    for number in range(1, 7):
        end.ask(number, "slow", number)
    assert end.transport.calls == ["pause"]
    for number in range(1, 7):
        end.plugin.gates.setdefault(number, asyncio.Event()).set()
    await end.frames(6)
    assert end.transport.calls == ["pause", "resume"]


async def test_reading_goes_on_for_a_reply(monkeypatch):
    monkeypatch.setattr(native_module, "MAX_WAITING", 2)
    monkeypatch.setattr(native_module, "MAX_TOLD_WAITING", 5)
    end = End()
    for number in (1, 2):
        end.ask(number, "slow", number)
    for number in (3, 4):
        end.ask(number, "slow", number)
    assert end.transport.calls == ["pause"]
    call = asyncio.create_task(end.plugin.host.call("x"))
    await end.frames(1)
    assert end.transport.calls == ["pause", "resume"]
    for number in range(100):  # told: dropped once there are too many
        end.ask(None, "slow", 100 + number)
    assert len(end.pipeline._waiting) == 5
    end.pipeline.accept({"id": 1, "status": "ok", "data": "through"})
    assert await call == "through"
    end.pipeline.close()
    await until(lambda: not end.pipeline._running)


# --- calls -----------------------------------------------------------------------------------


async def test_a_call_and_its_reply():
    end = End()
    end.ask(1, "calls", hops=2)
    [asked] = await end.frames(1)
    call = {"id": 1, "call": "x", "params": {"a": 1}, "deadline_ms": 30_000}
    assert asked == {**call, "hops": 2}
    end.pipeline.accept({"id": 1, "status": "ok", "data": "answer"})
    assert await end.frames(1) == [{"id": 1, "status": "ok", "data": "answer"}]


async def test_calls_that_fail():
    end = End()
    host = end.plugin.host
    tasks = [asyncio.create_task(host.call(name)) for name in "abc"]
    await end.frames(3)
    end.pipeline.accept({"id": 2, "status": "error", "code": "loop", "message": "no"})
    with pytest.raises(HostCallError, match="no") as caught:
        await tasks[1]
    assert caught.value.code == "loop"
    end.pipeline.accept({"id": 1, "status": "error"})
    with pytest.raises(HostCallError) as caught:
        await tasks[0]
    assert caught.value.code == "internal"
    host.disconnected()
    with pytest.raises(HostCallError) as caught:
        await tasks[2]
    assert caught.value.code == "unavailable"
    with pytest.raises(HostCallError, match="no host"):
        await host.call("d")
    with pytest.raises(HostCallError):
        host.log("info", "x")
    assert not host.waits


async def test_a_call_that_is_given_up():
    end = End()
    with pytest.raises(HostCallError) as caught:
        await end.plugin.host.call("x", timeout=0.01)
    assert caught.value.code == "deadline_exceeded"
    task = asyncio.create_task(end.plugin.host.call("y"))
    await end.frames(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    end.pipeline.accept({"id": 1, "status": "ok"})
    end.pipeline.accept({"id": 2, "status": "ok"})
    assert not end.plugin.host.waits


async def test_the_hosts_own_calls_by_name():
    end = End()
    host = end.plugin.host
    host.log("warn", "look", user="u1")
    tasks = [
        asyncio.create_task(call)
        for call in (
            host.publish("e", 1),
            host.subscribe("a", "b"),
            host.unsubscribe("a"),
            host.call_plugin("p", "m", [1], timeout=2),
        )
    ]
    frames = await end.frames(5)
    assert [frame.pop("deadline_ms", None) for frame in frames] == [None, *[30_000] * 3, 2000]
    assert frames == [
        {
            "call": "log",
            "params": {"level": "warn", "message": "look", "fields": {"user": "u1"}},
        },
        {"id": 1, "call": "event.publish", "params": {"event": "e", "payload": 1}},
        {"id": 2, "call": "event.subscribe", "params": {"events": ["a", "b"]}},
        {"id": 3, "call": "event.unsubscribe", "params": {"events": ["a"]}},
        {
            "id": 4,
            "call": "plugin.call",
            "params": {"plugin": "p", "method": "m", "params": [1], "deadline_ms": 2000},
        },
    ]
    for number, data in ((1, {"plugins": 3}), (2, None), (3, None), (4, "answer")):
        end.pipeline.accept({"id": number, "status": "ok", "data": data})
    assert await asyncio.gather(*tasks) == [3, None, None, "answer"]
