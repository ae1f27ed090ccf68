"""What vconnect takes for JSON, and where a value breaks the rule."""

# The rule is the same for every way in: the library, the command line, HTTP, the configuration, the
# wire and the SDK. A value that another program would read as something else is refused: integers
# beyond 64 bits, NaN and infinities, half surrogate pairs, keys that are not strings, and more
# levels than can be written again.

from __future__ import annotations

import dataclasses
import math
from typing import Any

import orjson

MAX_LEVELS = 254
"""The maximum nesting of a value."""

_MIN_INTEGER, _MAX_INTEGER = -(1 << 63), (1 << 64) - 1
# Only what can be told at a glance: a key of the place may be as long as a frame.
_SHOWN_CHARS = 40


def find_problem(value: Any, place: str = "$") -> str:
    """Return where a value breaks the rule, and how; empty if it does not.

    It looks at all of the value, so call it only to explain a refusal.

    >>> find_problem({"prices": [1.5, float("nan")]})
    '$.prices[1]: nan is not a JSON number'
    """
    return _find(value, place, 0)


def _find(value: Any, place: str, level: int) -> str:
    if isinstance(value, str):
        return "" if _is_text(value) else f"{place}: the text has half a surrogate pair"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{place}: {value} is not a JSON number"
    if isinstance(value, int):
        if isinstance(value, bool) or _MIN_INTEGER <= value <= _MAX_INTEGER:
            return ""
        return f"{place}: the integer has more than 64 bits; send it as a string"
    is_object = dataclasses.is_dataclass(value) and not isinstance(value, type)
    is_named_tuple = isinstance(value, tuple) and type(value) is not tuple
    if is_named_tuple or not (is_object or isinstance(value, dict | list | tuple)):
        return "" if _is_known(value) else f"{place}: JSON has no {type(value).__name__}"
    if level == MAX_LEVELS:
        return f"{place[:_SHOWN_CHARS]}…: nested too deeply; the limit is {MAX_LEVELS} levels"
    if isinstance(value, dict):
        return _find_in_object(value, place, level)
    if isinstance(value, list | tuple):
        items = enumerate(value)
        found = (_find(item, f"{place}[{index}]", level + 1) for index, item in items)
        return next(filter(None, found), "")
    fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    return _find_in_object(fields, place, level)


def _find_in_object(value: dict[Any, Any], place: str, level: int) -> str:
    for key, item in value.items():
        if not isinstance(key, str):
            return f"{place}: the key {key!r} is not a string"
        if type(key) is not str:  # the encoder refuses an enumeration, for example
            return f"{place}: the key {key!r} is a {type(key).__name__}; use a plain string"
        if not _is_text(key):
            return f"{place}: a key has half a surrogate pair"
        if problem := _find(item, f"{place}.{key[:_SHOWN_CHARS]}", level + 1):
            return problem
    return ""


def _is_known(value: Any) -> bool:
    """Return whether the encoder knows a value of another type, such as a date."""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
