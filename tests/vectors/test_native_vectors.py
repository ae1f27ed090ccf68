"""The native dialect as data (``native.json``), for both ends: whole, in bytes, cut everywhere."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.vectors import (
    BEHIND,
    check_handshake,
    check_in_every_split,
    decode,
    send_in_parts,
    splits,
)
from tests.support.wire_kit import Owner, Peer, frame, open_lane, soon, until

from vconnect import Context, Plugin, on
from vconnect.errors import HostCallError, PluginReplyError, RemoteProtocolError
from vconnect.sdk.client import _Connection
from vconnect.wire._stream import FrameStream, ReadBuffer
from vconnect.wire.messages import (
    NativeTerms,
    acknowledgment,
    encode_event,
    normalize_answer,
    parse_call,
)

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("native.json").read_text())

OTHER = frame({"id": 2, "status": "ok", "data": "other"})


def cases(kind: str) -> Any:
    return pytest.mark.parametrize("case", VECTORS[kind], ids=[v["name"] for v in VECTORS[kind]])


class NativeOwner(Owner):
    """Reads calls as the host does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def called(self, payload: bytes) -> bool:
        message = self.stream.read_call(payload)
        if message is None:
            return True
        try:
            self.calls.append(msgspec.structs.asdict(parse_call(message)))
        except HostCallError as error:
            self.calls.append(error.code)
        return True

    def abandoned(self, number: int) -> None:
        pass


# --- without a socket ------------------------------------------------------------------------


@cases("handshakes")
def test_handshakes(case):
    check_in_every_split(case, check_handshake)


def test_the_terms():
    case = VECTORS["terms"]
    [message] = decode([bytes.fromhex(case["hex"])])
    assert acknowledgment(case["config"], NativeTerms(**case["terms"])) == message


@pytest.mark.parametrize("kind", ["replies", "calls", "bad_calls", "asked", "ignored_replies"])
def test_every_frame_in_every_split(kind):
    for case in VECTORS[kind]:
        data = bytes.fromhex(case["hex"])
        [whole] = decode([data])
        for chunks in splits(data):
            assert decode(chunks) == [whole]
        for chunks in splits(data + BEHIND):
            message, behind = decode(chunks)
            assert (message, behind["data"]) == (whole, "behind")


# --- the host's end --------------------------------------------------------------------------


@pytest.mark.both_loops
@cases("events")
async def test_events_through_a_lane(case):
    async with open_lane(NativeOwner(), native=True) as (lane, peer, _):
        event = encode_event(case["event"], case["payload"], 1 << 20, case.get("trace"))
        if case["asked"]:
            call = lane.call(event, soon(5), case.get("hops", 0))
            message = await peer.read()
            assert 0 < message.pop("deadline_ms") <= 5000
            call.cancel()
        else:
            lane.tell(event, "block", case.get("hops", 0))
            message = await peer.read()
        assert message == case["json"]


@pytest.mark.both_loops
@cases("replies")
async def test_replies_through_a_lane(case):
    data = bytes.fromhex(case["hex"])
    for end in (b"", frame({"id": 2, "status": "ok", "data": "behind"})):
        for chunks in splits(data + end):
            async with open_lane(NativeOwner(), native=True) as (lane, peer, _):
                first = lane.call(encode_event("e", 1, 1 << 20), soon())
                second = lane.call(encode_event("e", 2, 1 << 20), soon()) if end else None
                await send_in_parts(peer, chunks)
                answer = msgspec.structs.asdict(normalize_answer(await first))
                assert {key: answer[key] for key in case["expect"]} == case["expect"]
                if second is not None:
                    assert (await second)["data"] == "behind"


@pytest.mark.both_loops
@cases("ignored_replies")
async def test_replies_to_nothing(case):
    data = bytes.fromhex(case["hex"])
    async with open_lane(NativeOwner(), native=True) as (lane, peer, owner):
        call = lane.call(encode_event("e", 1, 1 << 20), soon())
        for count, chunks in enumerate(splits(data), 1):
            await send_in_parts(peer, chunks)
            await until(lambda count=count: lane.unasked == count)
        assert not call.done()
        await peer.answer({"id": 1, "status": "ok", "data": "mine"})
        assert (await call)["data"] == "mine"
        assert owner.ends == []


@pytest.mark.both_loops
@pytest.mark.parametrize("kind", ["calls", "bad_calls"])
async def test_calls_through_a_lane(kind):
    for case in VECTORS[kind]:
        data = bytes.fromhex(case["hex"])
        async with open_lane(NativeOwner(), native=True) as (_, peer, owner):
            behind = {"call": "behind"}
            for chunks in splits(data + frame(behind)):
                owner.calls.clear()
                await send_in_parts(peer, chunks)
                await until(lambda owner=owner: len(owner.calls) == 2)
                read, last = owner.calls
                assert last["call"] == "behind"
                if kind == "bad_calls":
                    assert read == case["error"], case["name"]
                else:
                    assert {key: read[key] for key in case["expect"]} == case["expect"]


@pytest.mark.both_loops
@cases("bad_replies")
async def test_bad_replies_end_the_connection(case):
    data = bytes.fromhex(case["hex"])
    for end in (b"", BEHIND):
        for chunks in splits(data + end):
            async with open_lane(NativeOwner(), native=True) as (lane, peer, owner):
                call = lane.call(encode_event("e", 1, 1 << 20), soon())
                with suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough
                    await send_in_parts(peer, chunks)
                error = await owner.end()
                assert isinstance(error, RemoteProtocolError)
                assert error.code == case["error"]
                assert call.exception() is not None


@pytest.mark.both_loops
@cases("bad_answers")
async def test_bad_answers_cost_one_event(case):
    for chunks in splits(bytes.fromhex(case["hex"]) + OTHER):
        async with open_lane(NativeOwner(), native=True) as (lane, peer, owner):
            call, other = (lane.call(encode_event("e", 1, 1 << 20), soon()) for _ in range(2))
            await send_in_parts(peer, chunks)
            with pytest.raises(PluginReplyError) as failed:
                await call
            assert failed.value.code == case["error"]
            assert (await other)["data"] == "other"
            assert owner.ends == []


# --- the kit's end ---------------------------------------------------------------------------


class Example(Plugin):
    plugin_no = "wk.plugin.example"
    config_type = dict[str, int]

    @on("echo")
    def echo(self, ctx: Context) -> None:
        ctx.reply(ctx.payload)

    @on("steer")
    def steer(self, ctx: Context) -> None:
        ctx.stop()
        ctx.replace({"new": True})

    @on("refuse")
    def refuse(self, ctx: Context) -> None:
        ctx.reply_error("not now", code="busy")

    @on("wait")
    async def wait(self, ctx: Context) -> None:
        await asyncio.get_running_loop().create_future()


class Kit:
    """A connection of the kit, after its handshake; the host's end is in the test's hand."""

    def __init__(self) -> None:
        self.stopped = False
        self.connection = _Connection(Example(), frame({"name": "example"}), self._stop)
        self.stream = FrameStream(self.connection, ReadBuffer())
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.ours, self.peer = ours, Peer(theirs)

    def _stop(self) -> None:
        self.stopped = True

    async def __aenter__(self) -> Kit:
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.stream, sock=self.ours)
        assert await self.peer.read() == {"name": "example"}
        return self

    async def welcome(self, *chunks: bytes) -> None:
        await send_in_parts(self.peer, list(chunks))
        assert await self.connection.welcomed(10) is not None
        self.connection.open()

    async def __aexit__(self, *_: object) -> None:
        self.stream.abort()
        self.peer.close()
        await self.connection.lost


@pytest.mark.both_loops
@cases("acknowledgments")
async def test_acknowledgments(case):
    data = bytes.fromhex(case["hex"])
    asked = {"event": "echo", "event_type": "echo", "payload": 1}
    numbered = {"id": 7} if case["dialect"] == "native" else {}
    for chunks in splits(data):
        async with Kit() as kit:
            await kit.welcome(*chunks)
            assert (await kit.connection.welcomed(1) or {})["config"] == case["config"]
            assert kit.connection._plugin.host.is_native == (case["dialect"] == "native")
            await kit.peer.answer({**numbered, **asked})
            assert await kit.peer.read() == {**numbered, "status": "ok", "data": 1}


@pytest.mark.both_loops
@pytest.mark.parametrize("kind", ["asked", "cancelled"])
async def test_what_the_kit_replies(kind):
    behind = {"id": 1000, "event": "echo", "payload": "behind"}
    for case in VECTORS[kind]:
        data = bytes.fromhex(case["hex"]) + frame(behind)
        async with Kit() as kit:
            await kit.welcome(bytes.fromhex(VECTORS["terms"]["hex"]))
            for chunks in splits(data):
                await send_in_parts(kit.peer, chunks)
                replies: list[Any] = []
                while len(replies) < len(case["replies"]) + 1:
                    replies.append(await kit.peer.read())
                replies.sort(key=lambda reply: reply["id"] == 1000)  # async ones may come later
                assert replies.pop() == {"id": 1000, "status": "ok", "data": "behind"}
                for reply, expected in zip(replies, case["replies"], strict=True):
                    if expected["status"] == "error":
                        assert reply.pop("message")
                        expected = {k: v for k, v in expected.items() if k != "message"}
                    assert reply == expected, case["name"]
            assert kit.stopped == case.get("stops", False)
