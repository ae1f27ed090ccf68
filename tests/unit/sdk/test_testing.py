import asyncio
from dataclasses import dataclass

import pytest

from vconnect import ConfigError, Context, Plugin, on
from vconnect.errors import PayloadError
from vconnect.sdk.testing import call, started


@dataclass
class Settings:
    name: str = "Ada"


class Counter(Plugin):
    plugin_no = "wk.plugin.counter"
    config_type = Settings

    async def on_start(self) -> None:
        self.count = 0
        self.stopped = False

    def on_stop(self) -> None:
        self.stopped = True

    @on("count")
    def up(self, ctx: Context) -> None:
        self.count += 1
        ctx.reply((self.count, self.config.name))

    @on("echo")
    async def echo(self, ctx: Context) -> None:
        ctx.reply(ctx.payload)

    @on("fail")
    def fail(self, ctx: Context) -> None:
        raise ValueError("asked to fail")


def test_a_class_is_started_for_one_call():
    answer = asyncio.run(call(Counter, "count"))
    assert answer == {"status": "ok", "data": [1, "Ada"]}  # a list: JSON has no tuples


async def test_an_instance_keeps_its_state():
    async with started(Counter, {"name": "Bob"}) as counter:
        await call(counter, "count")
        assert (await call(counter, "count"))["data"] == [2, "Bob"]
        assert not counter.stopped
    assert counter.stopped


async def test_an_async_handler():
    assert await call(Counter, "echo", {"a": [1]}) == {"status": "ok", "data": {"a": [1]}}


async def test_a_failure_is_an_answer():
    answer = await call(Counter, "fail")
    assert answer == {"status": "error", "message": "ValueError: asked to fail"}


async def test_an_event_that_nobody_handles():
    assert await call(Counter, "unknown") == {"status": "ok"}


async def test_a_wrong_configuration():
    with pytest.raises(ConfigError, match=r"\$\.name"):
        await call(Counter, "count", config={"name": 7})


async def test_a_payload_that_no_host_could_send():
    with pytest.raises(PayloadError):
        await call(Counter, "echo", {"thing": object()})


async def test_a_configuration_goes_with_a_class():
    async with started(Counter) as counter:
        with pytest.raises(TypeError, match="config is for a class"):
            await call(counter, "count", config={})
