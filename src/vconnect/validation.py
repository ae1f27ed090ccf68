"""Splits msgspec's error texts into the place of the error and its description."""

from __future__ import annotations

import msgspec


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
    return place or "$", words[:1].lower() + words[1:]
