"""One connection: frames in any cut, owners that send, close, abort and raise."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.support.wire_kit import (
    Owner,
    connected,
    frame,
    open_stream,
    raw_frame,
    until,
)

from vconnect.errors import RemoteProtocolError
from vconnect.wire._stream import FrameStream, ReadBuffer

pytestmark = pytest.mark.both_loops


@pytest.mark.parametrize(
    "size", [1, 1000, 16 * 1024 - 8, 16 * 1024, 16 * 1024 + 9, 256 * 1024, 256 * 1024 + 5, 5 << 20]
)
async def test_frames_of_every_size(size):
    owner = Owner()
    async with open_stream(owner) as (_, peer):
        # Small ones on both sides: the large one begins and ends in the midst of a read.
        await peer.write(frame({"n": 0}) * 2 + frame({"x": "a" * size}) + frame({"n": 1}) * 3)
        await until(lambda: len(owner.messages) == 6)
        assert owner.messages[2] == {"x": "a" * size}
        assert [message.get("n") for message in owner.messages] == [0, 0, None, 1, 1, 1]


async def test_connections_that_share_a_buffer_do_not_mix():
    owners, buffer = [Owner() for _ in range(8)], ReadBuffer(64 * 1024)
    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(connected(FrameStream(owner, buffer), owner))
            for owner in owners
        ]
        data = [
            frame({"n": n, "x": str(n) * 3000}) + frame({"n": n, "y": str(n) * 40_000})
            for n in range(8)
        ]
        for at in range(0, max(map(len, data)), 5000):
            for peer, own in zip(peers, data, strict=True):
                await peer.write(own[at : at + 5000])
            await asyncio.sleep(0)
        await until(lambda: all(len(owner.messages) == 2 for owner in owners))
        for n, owner in enumerate(owners):
            assert owner.messages == [
                {"n": n, "x": str(n) * 3000},
                {"n": n, "y": str(n) * 40_000},
            ]


async def test_an_owner_may_answer_from_inside():
    owner = Owner(lambda owner, message: owner.stream.send(frame({"echo": message})))
    async with open_stream(owner) as (_, peer):
        await peer.write(b"".join(frame({"n": n}) for n in range(100)))
        assert [(await peer.read())["echo"]["n"] for _ in range(100)] == list(range(100))


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("fill", [1, 30_000])
async def test_after_its_end_an_owner_hears_no_message(how, fill):
    owner = Owner(lambda owner, message: getattr(owner.stream, how)())
    async with open_stream(owner) as (stream, peer):
        await peer.write(frame({"x": "a" * fill}) * 3)
        assert await owner.end() is None
        assert len(owner.messages) == 1
        stream.send(frame({}))
        stream.flush()
        stream.close()
        stream.abort(ValueError("too late"))
        assert (stream.transport, stream.unsent_bytes, stream.is_closing) == (None, 0, True)
        assert await peer.read() is None


async def test_send_and_close_from_inside():
    def bye(owner: Owner, message: object) -> None:
        owner.stream.send(frame({"bye": 1}))
        owner.stream.close()
        owner.stream.send(frame({"never": 1}))

    owner = Owner(bye)
    async with open_stream(owner) as (_, peer):
        await peer.write(frame({}))
        assert await peer.read() == {"bye": 1}
        assert await peer.read() is None
        assert await owner.end() is None


async def test_an_owner_that_raises_loses_its_connection_and_the_loop_tells():
    def fail(owner: Owner, message: object) -> None:
        raise KeyError("a bug of the owner")

    loop, told = asyncio.get_running_loop(), []
    watch = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    owner = Owner(fail)
    async with open_stream(owner) as (_, peer):
        await peer.write(frame({}) * 2)
        assert isinstance(await owner.end(), KeyError)
        assert len(owner.messages) == 1
        assert await peer.read() is None
    assert [type(context["exception"]) for context in told] == [KeyError]
    loop.set_exception_handler(watch)


async def test_a_broken_wire_is_told_before_the_end():
    class Refusing(Owner):
        def broken(self, error):
            super().broken(error)
            self.stream.send(frame({"code": error.code}))
            self.stream.close()

    owner = Refusing()
    async with open_stream(owner) as (_, peer):
        await peer.write(frame({"n": 1}) + raw_frame(b"[]") + frame({"n": 2}))
        assert await peer.read() == {"code": "not_an_object"}
        assert await peer.read() is None
        error = await owner.end()
        assert owner.breaks == [error]
        assert owner.messages == [{"n": 1}]


@pytest.mark.parametrize("begun", [b"\0", b"\0\0\0\x09{", b"\0\1\0\0{"])
async def test_an_end_inside_a_frame(begun):
    owner = Owner()
    async with open_stream(owner) as (_, peer):
        await peer.write(begun)
        peer.close()
        error = await owner.end()
        assert isinstance(error, RemoteProtocolError)
        assert error.code == "incomplete"
        assert f"after {len(begun)} bytes" in str(error)


async def test_frames_of_one_tick_leave_together_and_in_order():
    owner = Owner()
    async with open_stream(owner) as (stream, peer):
        sizes = [10, 70_000, 20, 300_000, 5, 65_532, 65_531] + [9_000] * 60 + [1 << 20, 3]
        for n, size in enumerate(sizes):
            stream.send(frame({"n": n, "x": "a" * size}))
        stream.close()
        for n, size in enumerate(sizes):
            message = await peer.read()
            assert (message["n"], len(message["x"])) == (n, size)
        assert await peer.read() is None


@pytest.mark.parametrize("bad", [None, "text", bytearray(b"x")])
async def test_only_bytes_are_sent(bad):
    owner = Owner()
    async with open_stream(owner) as (stream, _):
        with pytest.raises(TypeError):
            stream.send(bad)


async def test_before_it_is_connected():
    stream = FrameStream(Owner(), ReadBuffer())
    stream.send(frame({}))
    stream.flush()
    stream.close()
    assert (stream.transport, stream.unsent_bytes, stream.is_closing) == (None, 0, False)
    with pytest.raises(TypeError):
        FrameStream(Owner(), None)
