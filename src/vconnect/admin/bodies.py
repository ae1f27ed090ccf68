"""Bodies of requests: JSON within limits, turned into structs."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from vconnect._framing import parse_message
from vconnect.errors import RemoteProtocolError
from vconnect.validation import place_and_words
from vconnect.wire.messages import why_not_json

# The maximum number of JSON values in a body. Parsing this many holds the event loop for some
# hundredths of a second.
_MAX_VALUES = 524_288

T = TypeVar("T")


class BadRequestError(Exception):
    """The request's body or a field of it is invalid."""


def parse_body(body: bytes, kind: type[T]) -> T:
    """Parse a body.

    Args:
        body: The bytes.
        kind: The struct that it describes.

    Raises:
        BadRequestError: It is no JSON, or a field is wrong; the text names it.
    """
    try:
        message = parse_message(body, _MAX_VALUES, "a body")
        return msgspec.convert(message, kind)
    except RemoteProtocolError as error:
        raise BadRequestError(f"the body cannot be read: {why_not_json(error)}") from None
    except msgspec.ValidationError as error:
        raise BadRequestError(field_first(error)) from None


def field_first(error: msgspec.ValidationError) -> str:
    """Put the field before what was expected of it."""
    place, words = place_and_words(error)
    field = place.removeprefix("$").removeprefix(".")
    return f"{field}: {words}" if field else words
