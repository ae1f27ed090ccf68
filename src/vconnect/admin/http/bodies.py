"""Bodies and queries of requests: within limits, turned into structs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar, get_origin

import msgspec

from vconnect._framing import parse_message
from vconnect.errors import RemoteProtocolError
from vconnect.validation import place_and_words
from vconnect.wire.messages import why_not_json

from .asked import Asked, TooLargeError
from .problems import Problem, field_problem

# The maximum number of JSON values in a body. Parsing this many holds the event loop for some
# hundredths of a second.
_MAX_VALUES = 524_288

T = TypeVar("T", bound=msgspec.Struct)


async def body_of(asked: Asked, kind: type[T], *, optional: bool = False) -> T:
    """Read and parse a body.

    Args:
        asked: The request.
        kind: The struct that it describes.
        optional: Whether it may be empty, which is the same as an empty object.

    Raises:
        Problem: It is too large or no JSON, or a field is wrong; the text names it.
    """
    body = await whole_body(asked)
    if optional and not body.strip():
        body = b"{}"
    return parse_body(body, kind)


async def whole_body(asked: Asked) -> bytes:
    """Read a body.

    Raises:
        Problem: It is too large, too slow, or ends early.
    """
    try:
        return await asked.read()
    except TooLargeError as error:
        raise Problem("too_large", str(error)) from None


async def stream_body(asked: Asked, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield a body as it comes, for one that is too large for the memory.

    Args:
        asked: The request.
        max_bytes: How large it may be.

    Raises:
        Problem: It is too large, too slow, or ends early.
    """
    announced = asked.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    _check_size(size, max_bytes)
    size = 0
    async for part in asked.stream():
        size += len(part)
        _check_size(size, max_bytes)
        yield part


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise Problem("too_large", f"the body is larger than {max_bytes} bytes")


def parse_body(body: bytes, kind: type[T]) -> T:
    """Parse a body; see `body_of`."""
    try:
        message = parse_message(body, _MAX_VALUES, "a body")
    except RemoteProtocolError as error:
        raise Problem("bad_json", f"the body cannot be read: {why_not_json(error)}") from None
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        raise _wrong("bad_field", error) from None


def query_of(asked: Asked, kind: type[T]) -> T:
    """Turn a query into a struct; a field that is a tuple takes each value of its key.

    Raises:
        Problem: ``bad_query``: a key is unknown or repeated, or its value is wrong.
    """
    several = {one.name: get_origin(one.type) is tuple for one in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in asked.query:
        if several.get(key):
            values.setdefault(key, []).append(value)
        elif key in values:
            raise field_problem("bad_query", key, "it is given twice")
        else:
            values[key] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong("bad_query", error) from None


def _wrong(code: str, error: msgspec.ValidationError) -> Problem:
    """Put the field before what was expected of it."""
    place, words = place_and_words(error)
    return field_problem(code, place.removeprefix("$").removeprefix("."), words)
