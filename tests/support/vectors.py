"""Frames of the wire's vectors: decoded whole, byte by byte, cut everywhere, and followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from tests.support.wire_kit import frame

from vconnect._framing import FrameDecoder, parse_message
from vconnect.errors import HandshakeError
from vconnect.wire.messages import parse_handshake

DEFAULT_LIMIT = 1 << 24


BEHIND = frame({"status": "ok", "data": "behind"})


def splits(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def decode(chunks: list[bytes], limit: int = DEFAULT_LIMIT) -> list[Any]:
    decoder = FrameDecoder(limit)
    payloads = [payload for chunk in chunks for payload in decoder.feed(chunk)]
    decoder.finish()
    return [parse_message(payload) for payload in payloads]


def check_in_every_split(
    case: dict[str, Any], check: Callable[[dict[str, Any], Any], None]
) -> None:
    """Check the case's one frame, cut everywhere, alone and with another behind it."""
    data = bytes.fromhex(case["hex"])
    for chunks in splits(data):
        [message] = decode(chunks)
        check(case, message)
    for chunks in splits(data + BEHIND):
        message, behind = decode(chunks)
        check(case, message)
        assert behind["data"] == "behind"


def check_handshake(case: dict[str, Any], message: Any) -> None:
    if "error" in case:
        with pytest.raises(HandshakeError) as refused:
            parse_handshake(message)
        assert refused.value.code == case["error"]
        return
    read = msgspec.structs.asdict(parse_handshake(message))
    expect = {key: tuple(v) if isinstance(v, list) else v for key, v in case["expect"].items()}
    assert {key: read[key] for key in expect} == expect


async def send_in_parts(peer: Any, chunks: list[bytes]) -> None:
    for chunk in chunks:
        await peer.write(chunk)
        for _ in range(2):  # the loop looks, then it reads: each part comes by itself
            await asyncio.sleep(0)
