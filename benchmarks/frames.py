"""Rows for frames: bytes to payloads and objects to bytes, without a socket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

import orjson

from vconnect._framing import Event, EventName, FrameDecoder, encode_frame
from vconnect.wire.messages import EVENT_NAMES

from . import rival
from .measure import Burst, Row, Way
from .peers import Peers
from .placement import Placement

SIZES = {"64 B": 64, "1 KiB": 1024, "16 KiB": 16 * 1024, "1 MiB": 1024 * 1024}
#: Decoders are fed as many frames as one read of this many bytes brings, one at least.
READ_BYTES = 256 * 1024
EVENT = "message.incoming"


def rows() -> list[Row]:
    return [
        *(_decode(label, size) for label, size in SIZES.items()),
        *(_encode(label, size) for label, size in SIZES.items()),
    ]


def _decode(label: str, size: int) -> Row:
    # A JSON string of exactly `size` bytes with its quotes.
    frames = max(1, READ_BYTES // (size + 4))
    data = encode_frame("x" * (size - 2)) * frames
    return Row(
        "decode",
        f"decode {label}",
        Placement.ONE_CORE,
        (
            Way("bytes copy", repeat(_copy, memoryview(data), operations=frames), "floor"),
            Way(
                "struct loop", repeat(rival.StructDecoder().feed, data, operations=frames), "rival"
            ),
            Way("vconnect", repeat(FrameDecoder().feed, data, operations=frames)),
        ),
        step=frames,
    )


def _encode(label: str, size: int) -> Row:
    payload = {"content": "x" * (size - len('{"content":""}'))}
    json = memoryview(orjson.dumps(payload))
    name = EVENT_NAMES[EVENT]
    return Row(
        "encode",
        f"encode {label}",
        Placement.ONE_CORE,
        (
            Way("bytes copy", repeat(_copy, json), "floor"),
            Way("orjson alone", repeat(orjson.dumps, payload)),
            Way("struct, orjson", repeat(rival.encode_event, EVENT, payload), "rival"),
            Way("vconnect", repeat(_encode_event, name, payload)),
        ),
    )


_copy = bytes


def _encode_event(name: EventName, payload: Any) -> bytes:
    return Event(name, payload).classic_frame


def repeat(
    function: Callable[..., Any], *args: Any, operations: int = 1
) -> Callable[[Peers], AbstractContextManager[Burst]]:
    """Make a way that calls a function, which does so many operations at a time."""

    def burst(count: int) -> float:
        times = range(count // operations)
        began = perf_counter()
        for _ in times:
            function(*args)
        return perf_counter() - began

    return lambda _: nullcontext(burst)
