"""The wire as data (``classic.json``): whole, in bytes, cut everywhere, with bytes behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.vectors import (
    BEHIND,
    DEFAULT_LIMIT,
    check_handshake,
    check_in_every_split,
    decode,
    send_in_parts,
    splits,
)
from tests.support.wire_kit import Owner, frame, open_lane, open_stream, soon, until

from vconnect.errors import RemoteProtocolError
from vconnect.wire.messages import encode_event, normalize_answer

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("classic.json").read_text())


def cases(kind: str) -> Any:
    return pytest.mark.parametrize("case", VECTORS[kind], ids=[v["name"] for v in VECTORS[kind]])


def check_answer(case: dict[str, Any], message: dict[str, Any]) -> None:
    read = msgspec.structs.asdict(normalize_answer(message))
    assert {key: read[key] for key in case["expect"]} == case["expect"]


@cases("handshakes")
def test_handshakes(case):
    check_in_every_split(case, check_handshake)


@cases("answers")
def test_answers(case):
    check_in_every_split(case, check_answer)


@cases("events")
def test_events(case):
    encoded = encode_event(case["event"], case["payload"], 1 << 20).classic_frame
    for chunks in splits(encoded):
        assert decode(chunks) == [case["json"]]


@cases("bad_streams")
def test_bad_streams(case):
    data, limit = bytes.fromhex(case["hex"]), case.get("max_frame_bytes", DEFAULT_LIMIT)
    for chunks in splits(data):
        with pytest.raises(RemoteProtocolError) as broken:
            decode(chunks, limit)
        assert broken.value.code == case["error"]
    if case["error"] == "incomplete":
        return  # with bytes behind it, it is another stream
    for chunks in splits(data + BEHIND):
        with pytest.raises(RemoteProtocolError) as broken:
            decode(chunks, limit)
        assert broken.value.code == case["error"]


# The same through a connection.


@pytest.mark.both_loops
@cases("handshakes")
async def test_handshakes_through_a_stream(case):
    owner = Owner()
    data = bytes.fromhex(case["hex"])
    is_object = isinstance(json.loads(data[4:]), dict)
    if not is_object:
        async with open_stream(owner) as (_, peer):
            await peer.write(data)
            error = await owner.end()
        assert isinstance(error, RemoteProtocolError)
        assert error.code == "not_an_object"
        return
    async with open_stream(owner) as (_, peer):
        for end in (b"", BEHIND):
            for chunks in splits(data + end):
                owner.messages.clear()
                await send_in_parts(peer, chunks)
                wanted = 2 if end else 1
                await until(lambda wanted=wanted: len(owner.messages) == wanted)
                check_handshake(case, owner.messages[0])


@pytest.mark.both_loops
@cases("answers")
async def test_answers_through_a_lane(case):
    data = bytes.fromhex(case["hex"])
    async with open_lane() as (lane, peer, _):
        for chunks in splits(data + BEHIND):
            first, second = lane.call(frame(1), soon()), lane.call(frame(2), soon())
            await send_in_parts(peer, chunks)
            check_answer(case, await first)
            assert (await second)["data"] == "behind"


@pytest.mark.both_loops
@cases("events")
async def test_events_through_a_lane(case):
    async with open_lane() as (lane, peer, _):
        lane.tell(encode_event(case["event"], case["payload"], 1 << 20))
        assert await peer.read() == case["json"]


@pytest.mark.both_loops
@cases("bad_streams")
async def test_bad_streams_through_a_stream(case):
    data, limit = bytes.fromhex(case["hex"]), case.get("max_frame_bytes", DEFAULT_LIMIT)
    ends = [b""] if case["error"] == "incomplete" else [b"", BEHIND]
    for end in ends:
        for chunks in splits(data + end):
            owner = Owner()
            async with open_stream(owner, limit) as (_, peer):
                try:
                    await send_in_parts(peer, chunks)
                except (BrokenPipeError, ConnectionResetError):
                    assert end  # it has heard enough
                if case["error"] == "incomplete":
                    peer.close()
                error = await owner.end()
            assert isinstance(error, RemoteProtocolError)
            assert error.code == case["error"]
            assert owner.breaks == ([] if case["error"] == "incomplete" else [error])
            assert owner.messages == []
