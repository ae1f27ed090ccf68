"""What both dialects share: backpressure, and handlers that fail or return something to await."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.support.sdk_end import Sink, Transport

from vconnect.sdk.answering import Backpressure, call_handler, encode_answer
from vconnect.sdk.context import Context
from vconnect.sdk.plugin import Plugin
from vconnect.wire._stream import FrameStream


def backpressure(transport: Transport | None, limit: int = 8) -> Backpressure:
    return Backpressure(cast(FrameStream, Sink(transport)), limit)


def context(payload: Any = None) -> Context:
    return Context(Plugin(), "e", payload)


def test_reading_is_switched_once_each_way():
    transport = Transport()
    pressure = backpressure(transport)
    pressure.pause()
    pressure.pause()
    pressure.resume()
    pressure.resume()
    assert transport.calls == ["pause", "resume"]


@pytest.mark.parametrize(("waiting", "resumed"), [(8, False), (5, False), (4, True), (0, True)])
def test_reading_is_resumed_at_half_the_limit(waiting: int, resumed: bool):
    transport = Transport()
    pressure = backpressure(transport)
    pressure.pause()
    pressure.eased(waiting)
    assert (not pressure.is_paused) == resumed


def test_a_stream_that_has_ended_is_left_alone():
    pressure = backpressure(None)
    pressure.pause()
    pressure.eased(0)
    assert not pressure.is_paused


def test_a_plain_handler_leaves_nothing_to_await():
    asked = context(1)
    assert call_handler(asked, lambda ctx: ctx.reply(ctx.payload)) is None
    assert b'"data":1' in encode_answer(asked)


def test_a_handler_that_returns_a_value_by_mistake_leaves_nothing_to_await():
    assert call_handler(context(), cast(Any, lambda _: 5)) is None


def test_a_plain_function_may_return_a_coroutine():
    async def later() -> None:
        pass

    pending = call_handler(context(), lambda _: later())
    assert pending is not None
    cast(Any, pending).close()


def test_a_handler_that_fails_is_its_answer(caplog: pytest.LogCaptureFixture):
    asked = context()

    def fail(_: Context) -> None:
        raise ValueError("no such room")

    assert call_handler(asked, fail) is None
    assert b"ValueError: no such room" in encode_answer(asked)
    assert "the handler of e failed" in caplog.text


def test_an_answer_that_is_too_large_becomes_an_error():
    asked = context()
    asked.reply("x" * 100)
    assert b"cannot be sent" in encode_answer(asked, 7, max_answer_bytes=64)
