"""The text of msgspec's errors, split into what is wrong and where it is."""

from __future__ import annotations

import msgspec


def place_and_words(error: msgspec.DecodeError) -> tuple[str, str]:
    """Split the message of an error.

    Returns:
        The place, such as ``$.limits.nofile``, or ``$`` for the whole value or where msgspec names
        none; and the words, which begin in lower case so that they can follow a colon.

    >>> place_and_words(msgspec.ValidationError("Expected `int`, got `str` - at `$.window`"))
    ('$.window', 'expected `int`, got `str`')
    """
    words, _, place = str(error).partition(" - at `")
    # An error about a key of a table says so before the place of the table.
    place = place.removeprefix("key` in `").rstrip("`")
    return place or "$", words[:1].lower() + words[1:]
