"""The mistakes in what people write: their place, and words for them."""

# msgspec finds the mistakes. Its errors are made readable here: the place first, as `line:column`
# where the text is wrong, or as a key where a value is.

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

import msgspec

_BYTE = re.compile(r" \(byte (\d+)\)$")
# Every escape of a JSON string, so that the second half of `\\u` is not taken for one.
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_TRUNCATED = "Input data was truncated"


class Fault(NamedTuple):
    """Something that is wrong.

    Attributes:
        place: Where: a file, a key, or both; empty for the whole.
        words: What was got, what is allowed, and what to do.
    """

    place: str
    words: str

    def __str__(self) -> str:
        return f"{self.place}: {self.words}" if self.place else self.words


def place_and_words(error: msgspec.DecodeError) -> tuple[str, str]:
    """Split the message of an error.

    Returns:
        The place, such as ``$.limits.nofile`` (``$`` is the whole value, or an unknown place); and
        the description, which begins in lower case so that it can follow a colon.

    >>> place_and_words(msgspec.ValidationError("Expected `int`, got `str` - at `$.window`"))
    ('$.window', 'expected `int`, got `str`')
    """
    words, _, place = str(error).partition(" - at `")
    # For an error about a key of a table, msgspec puts this before the place of the table.
    place = place.removeprefix("key` in `").rstrip("`")
    return place or "$", uncapitalized(words)


def uncapitalized(words: str) -> str:
    """Begin in lower case, unless the first word is an acronym.

    >>> uncapitalized("JSON is malformed"), uncapitalized("Expected a value")
    ('JSON is malformed', 'expected a value')
    """
    return words if words[1:2].isupper() else words[:1].lower() + words[1:]


def without_mark(data: bytes, origin: str) -> bytes:
    """Remove one byte order mark, which some editors write before UTF-8.

    Args:
        data: The contents of a file.
        origin: Its name, for messages.

    Raises:
        ValueError: It is UTF-16 or not UTF-8; the text says so, and where.
    """
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    # Text of the formats that are read here begins with two ASCII characters.
    if data.startswith(marks) or b"\0" in data[:2]:
        raise ValueError(f"{origin}: is UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        place = line_and_column(data, error.start)
        raise ValueError(
            f"{origin}:{place}: byte {data[error.start]:#x} is not UTF-8; save it as UTF-8"
        ) from None
    return data


def line_and_column(data: bytes, offset: int) -> str:
    r"""Return the place of a byte as editors show it, both counted from 1.

    >>> line_and_column(b"{\n  x", 4)
    '2:3'
    """
    begin = data.rfind(b"\n", 0, offset) + 1
    column = len(data[begin:offset].decode(errors="replace")) + 1
    line = data.count(b"\n", 0, offset) + 1
    return f"{line}:{column}"


def explain_json(data: bytes, error: msgspec.DecodeError, origin: str) -> str:
    """Return the place and the words of a mistake in a JSON text.

    Args:
        data: The text, without its byte order mark.
        error: What msgspec says.
        origin: The file's name. The place follows as in the output of a compiler.
    """
    words = str(error)
    if found := _BYTE.search(words):
        offset = int(found[1])
        words = words[: found.start()]
    else:
        offset = len(data.rstrip())
    surrogates = words == _TRUNCATED or "surrogate" in words
    if surrogates and (at := _lone_surrogate(data)) is not None:
        offset = at
        escape = data[at : at + 6].decode()
        words = f"{escape} is half of a surrogate pair; write the whole pair, or the character"
    elif words == _TRUNCATED:
        words = "the JSON ends too early" if data.strip() else "expected JSON, got nothing"
    return f"{origin}:{line_and_column(data, offset)}: {uncapitalized(words)}"


def _lone_surrogate(data: bytes) -> int | None:
    """Return the offset of the first escape of a surrogate that has no other half."""
    high_at: int | None = None
    for escape in _ESCAPE.finditer(data):
        code = int(escape[1], 16) if escape[1] else 0
        is_low = 0xDC00 <= code <= 0xDFFF
        if high_at is not None and not (is_low and escape.start() == high_at + 6):
            return high_at
        if high_at is None and is_low:
            return escape.start()
        high_at = escape.start() if 0xD800 <= code <= 0xDBFF else None
    return high_at
