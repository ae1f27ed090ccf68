"""`Session.request`: the data of every spelling of an answer, and the order that it keeps."""

from __future__ import annotations

import time

import pytest
from tests.support.wire_end import connected, run

from vconnect.errors import PayloadError, PluginReplyError


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        (b'{"status":"ok","data":{"type":1}}', {"type": 1}),
        (b'{"data":{"type":1},"status":"ok"}', {"type": 1}),
        (b'{"status": "ok", "data": [1, 2]}', [1, 2]),
        (b'{"status":"ok","data":"}"}', "}"),
        (b'{"status":"ok","data": null }', None),
        (b'{"status":"ok","data":1,"flow":"stop"}', 1),
        (b'{"status":"ok","data":{"a":1},"b":{"c":2}}', {"a": 1}),
        (b'{"data":{"a":1},"b":{"c":2},"status":"ok"}', {"a": 1}),
        (b'{"status":"ok","data":1,"data":2}', 2),
        (b'{"status":"ok"}', None),
        (b'{"data":1}', {"data": 1}),
        (b'{"type":1}', {"type": 1}),
        (b'{"status":"ok","data":"%b"}' % (b"x" * 5000), "x" * 5000),
        (b'{"status":"ok","data":9007199254740993}', 9007199254740993),
    ],
)
def test_the_data_of_an_answer(answer: bytes, data: object) -> None:
    async def scenario() -> None:
        async with connected() as wire:
            requested = wire.request({"content": "hello"})
            event = await wire.event()
            assert event["payload"] == {"content": "hello"}
            assert event["event"] == event["event_type"] == "message.incoming"
            await wire.answer(answer)
            assert await requested == data

    run(scenario)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"status":"ok","data":}',
        b'{"status":"ok","data":99999999999999999999}',
        b'{"data":NaN,"status":"ok"}',
        b'{"status":"ok","data":"\xff"}',
        b"[]",
    ],
)
def test_an_answer_that_cannot_be_read_costs_one_event(answer: bytes) -> None:
    async def scenario() -> None:
        async with connected() as wire:
            first, second = wire.request(), wire.request()
            await wire.answer(answer)
            with pytest.raises(PluginReplyError, match="its answer cannot be read") as failed:
                await first
            assert failed.value.code == "bad_answer"
            await wire.answer(b'{"status":"ok","data":2}')
            assert await second == 2

    run(scenario)


def test_an_error_is_raised_with_the_plugins_words() -> None:
    async def scenario() -> None:
        async with connected() as wire:
            first, second = wire.request(), wire.request()
            await wire.answer(
                b'{"status":"error","message":"no such user","code":"bad_request"}',
                b'{"status":"ok","data":2}',
            )
            with pytest.raises(PluginReplyError, match="example: no such user") as caught:
                await first
            assert caught.value.code == "bad_request"
            assert await second == 2

    run(scenario)


def test_calls_and_requests_keep_one_order() -> None:
    async def scenario() -> None:
        async with connected(window=2) as wire:
            frame = b"\0\0\0\2{}"
            first = wire.request()
            abandoned = wire.request()
            queued = wire.session.call(frame, time.monotonic() + 10)
            last = wire.request()
            assert wire.session.queued == 2
            abandoned.cancel()
            answers = [b'{"status":"ok","data":%d}' % number for number in range(4)]
            await wire.answer(answers[0], b'{"status":"error","message":"too late"}')
            assert await first == 0
            await wire.answer(*answers[2:])
            assert await queued == {"status": "ok", "data": 2}
            assert await last == 3

    run(scenario)


def test_a_payload_that_cannot_be_sent_takes_no_place() -> None:
    async def scenario() -> None:
        async with connected() as wire:
            with pytest.raises(PayloadError):
                wire.request(object())
            with pytest.raises(PayloadError):
                wire.request("x" * (1 << 16))
            assert wire.session.in_flight == 0

    run(scenario)
