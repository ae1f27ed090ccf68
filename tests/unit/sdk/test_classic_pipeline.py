import asyncio
from typing import Any

import pytest
from tests.support.sdk_end import GatedPlugin, Sink, Transport

from vconnect import Context, on
from vconnect._names import MAX_CACHED_NAMES
from vconnect.sdk import classic_pipeline as pipeline_module
from vconnect.sdk.classic_pipeline import Pipeline


class Example(GatedPlugin):
    @on("lazy")
    def lazy(self, ctx: Context):
        return self.plain_later(ctx)

    async def plain_later(self, ctx: Context) -> None:
        await asyncio.sleep(0)
        self.plain(ctx)

    @on("fail.cancelled")
    async def fail_cancelled(self, ctx: Context) -> None:
        never = asyncio.get_running_loop().create_future()
        never.cancel()
        await never

    @on("unsendable")
    def unsendable(self, ctx: Context) -> None:
        ctx.reply({"thing": object()})


class Wide(Example):
    concurrency = 3


def event(name, payload=None):
    return {"event": name, "event_type": name, "payload": payload}


async def settled(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
async def make():
    made = []

    def build(plugin, *, is_open=True):
        sink: Any = Sink()
        pipeline = Pipeline(plugin, sink)
        made.append(pipeline)
        if is_open:
            pipeline.open()
        return pipeline, sink

    yield build
    for pipeline in made:
        pipeline.close()
        await asyncio.gather(*pipeline._workers, return_exceptions=True)


async def test_a_plain_handler_is_answered_on_the_spot(make):
    pipeline, sink = make(Example())
    pipeline.accept(event("plain", 1))
    assert sink.frames == [{"status": "ok", "data": 1}]
    assert pipeline._workers == []


@pytest.mark.parametrize(
    "message",
    [{"event": "plain", "payload": 1}, {"event_type": "plain", "payload": 1}],
)
async def test_either_key_names_the_event(make, message):
    pipeline, sink = make(Example())
    pipeline.accept(message)
    assert sink.frames == [{"status": "ok", "data": 1}]


@pytest.mark.parametrize("message", [{}, {"event": 7}, {"event": None, "payload": 1}])
async def test_a_nameless_event_is_answered_too(make, message):
    pipeline, sink = make(Example())
    pipeline.accept(message)
    assert sink.frames[0]["status"] == "error"
    assert "neither event nor event_type" in sink.frames[0]["message"]


async def test_an_event_that_nobody_handles(make):
    pipeline, sink = make(Example())
    pipeline.accept(event("unknown"))
    assert sink.frames == [{"status": "ok"}]


async def test_one_at_a_time_in_order(make):
    plugin = Example()
    pipeline, sink = make(plugin)
    for name, payload in [("slow", 1), ("plain", 2), ("slow", 3), ("plain", 4)]:
        pipeline.accept(event(name, payload))
    await settled(lambda: plugin.entered == [1])
    assert sink.frames == []
    plugin.release(1)
    await settled(lambda: plugin.entered == [1, 2, 3])
    assert [frame["data"] for frame in sink.frames] == [1, 2]
    plugin.release(3)
    await settled(lambda: len(sink.frames) == 4)
    assert [frame["data"] for frame in sink.frames] == [1, 2, 3, 4]
    pipeline.accept(event("plain", 5))
    assert sink.frames[-1]["data"] == 5


async def test_many_at_once_are_answered_in_order(make):
    plugin = Wide()
    pipeline, sink = make(plugin)
    for payload in range(5):
        pipeline.accept(event("slow", payload))
    await settled(lambda: plugin.entered == [0, 1, 2])
    plugin.release(2)
    plugin.release(1)
    await settled(lambda: plugin.entered == [0, 1, 2, 3, 4])
    assert sink.frames == []
    plugin.release(0)
    await settled(lambda: len(sink.frames) == 3)
    plugin.release(4)
    plugin.release(3)
    await settled(lambda: len(sink.frames) == 5)
    assert [frame["data"] for frame in sink.frames] == [0, 1, 2, 3, 4]
    assert len(pipeline._workers) == 3


async def test_a_plain_handler_may_return_something_to_wait_for(make):
    pipeline, sink = make(Example())
    pipeline.accept(event("lazy", 1))
    pipeline.accept(event("plain", 2))
    assert sink.frames == []
    await settled(lambda: len(sink.frames) == 2)
    assert [frame["data"] for frame in sink.frames] == [1, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fail", "ValueError: asked to fail"),
        ("fail.later", "KeyError"),
        ("fail.cancelled", "CancelledError"),
    ],
)
async def test_what_a_handler_raises_is_its_answer(make, caplog, name, message):
    pipeline, sink = make(Example())
    pipeline.accept(event(name))
    pipeline.accept(event("plain", 2))
    await settled(lambda: len(sink.frames) == 2)
    assert sink.frames == [
        {"status": "error", "message": message},
        {"status": "ok", "data": 2},
    ]
    assert f"the handler of {name} failed" in caplog.text
    assert "Traceback" in caplog.text


async def test_an_answer_that_is_no_json_is_an_error(make, caplog):
    pipeline, sink = make(Example())
    pipeline.accept(event("unsendable"))
    assert sink.frames[0]["status"] == "error"
    assert "cannot be sent" in sink.frames[0]["message"]
    assert "JSON" in sink.frames[0]["message"]
    assert "the answer to unsendable cannot be sent" in caplog.text


async def test_events_wait_until_it_is_open(make):
    plugin = Example()
    pipeline, sink = make(plugin, is_open=False)
    for payload in range(3):
        pipeline.accept(event("plain", payload))
    await asyncio.sleep(0)
    assert sink.frames == []
    pipeline.open()
    await settled(lambda: len(sink.frames) == 3)
    assert plugin.entered == [0, 1, 2]


async def test_close_cancels_what_is_under_way(make):
    plugin = Example()
    pipeline, sink = make(plugin)
    for payload in range(3):
        pipeline.accept(event("slow", payload))
    pipeline.accept(event("lazy", 3))
    await settled(lambda: plugin.entered == [0])
    pipeline.close()
    await settled(lambda: plugin.cancelled == [0])
    assert sink.frames == []


async def test_close_drops_a_coroutine_that_nobody_began(make):
    pipeline, _ = make(Example())
    pipeline.accept(event("lazy", 1))
    pipeline.close()  # a warning about it would fail this test


async def test_a_handler_that_swallows_its_cancellation_ends_its_worker(make):
    class Stubborn(Example):
        @on("stubborn")
        async def stubborn(self, ctx: Context) -> None:
            self.entered.append(ctx.payload)
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                return

    plugin = Stubborn()
    pipeline, _ = make(plugin)
    pipeline.accept(event("stubborn", 1))
    pipeline.accept(event("stubborn", 2))
    await settled(lambda: plugin.entered == [1])
    pipeline.close()
    await settled(lambda: all(worker.done() for worker in pipeline._workers))
    assert plugin.entered == [1]


async def test_when_idle(make):
    plugin = Example()
    pipeline, sink = make(plugin)
    done = []
    pipeline.when_idle(lambda: done.append(len(sink.frames)))
    assert done == [0]
    pipeline, sink = make(plugin)
    pipeline.accept(event("slow", 1))
    pipeline.accept(event("slow", 2))
    pipeline.when_idle(lambda: done.append(len(sink.frames)))
    plugin.release(1)
    await settled(lambda: sink.frames)
    assert done == [0]
    plugin.release(2)
    await settled(lambda: done == [0, 2])


async def test_a_flood_pauses_reading(make, monkeypatch):
    monkeypatch.setattr(pipeline_module, "MAX_WAITING", 4)
    plugin = Example()
    pipeline, sink = make(plugin)
    sink.transport = transport = Transport()
    for payload in range(6):
        pipeline.accept(event("slow", payload))
    assert transport.calls == ["pause"]
    for payload in range(6):
        plugin.release(payload)
    await settled(lambda: len(sink.frames) == 6)
    assert transport.calls == ["pause", "resume"]


async def test_made_up_event_names_do_not_fill_the_memory(make):
    pipeline, sink = make(Example())
    for number in range(MAX_CACHED_NAMES + 2):
        pipeline.accept(event(f"made.up.{number}"))
    assert len(pipeline._table._routes) == 0
    assert len(sink.frames) == MAX_CACHED_NAMES + 2
