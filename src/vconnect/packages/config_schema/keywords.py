"""The keywords of JSON Schema, with a limit on the time and the depth of a check."""

# Every keyword looks at the limits: schemas that refer to themselves can take exponential time, or
# never end. Patterns are matched by `regex`, which can stop, unlike `re`, and lets other threads
# run. `jsonschema` interprets; `fastjsonschema` would compile the schema to Python code and run
# that in the host.

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TypeVar

DEFAULT_DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# Far from the interpreter's limit on recursion, which the registry of `jsonschema` (in Rust) does
# not survive: a keyword takes about four frames.
_MAX_DEPTH = 100
# How many items of a list are compared between two looks at the clock.
_ITEMS_AT_ONCE = 256

T = TypeVar("T")


class TooLongError(Exception):
    """The check has not ended by its deadline."""


class TooDeepError(Exception):
    """The check goes deeper than any honest one."""


class _Check:
    """A check in progress.

    Args:
        seconds: How long it may take.

    Attributes:
        until: When it has to end, in seconds of `time.monotonic()`.
        depth: The number of keywords that it is inside of.
    """

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.depth = 0

    def time_left(self) -> float:
        """Return the seconds until it has to end.

        Raises:
            TooLongError: There are none.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TooLongError
        return left


_check: ContextVar[_Check] = ContextVar("_check")


@lru_cache
def dialects() -> dict[str, Any]:
    """Return the validator classes of the known dialects, by their addresses."""
    import jsonschema

    drafts = (
        jsonschema.Draft4Validator,
        jsonschema.Draft6Validator,
        jsonschema.Draft7Validator,
        jsonschema.Draft201909Validator,
        jsonschema.Draft202012Validator,
    )
    known = {draft.ID_OF(draft.META_SCHEMA): draft for draft in drafts}
    # Both spellings of an address without a fragment are in use.
    return {spelling: draft for uri, draft in known.items() for spelling in _spellings(uri)}


def _spellings(uri: str) -> tuple[str, str]:
    plain = uri.removesuffix("#")
    return plain, f"{plain}#"


@lru_cache
def limited(dialect: str) -> Any:
    """Return the validator class of a dialect, with the limits in each keyword."""
    from jsonschema.validators import extend

    base = dialects()[dialect]
    keywords = {key: _with_limits(function) for key, function in base.VALIDATORS.items()}
    keywords |= {key: _with_limits(own) for key, own in _OWN_KEYWORDS.items()}
    for key in keywords.keys() & set(REFERENCES):
        keywords[key] = _with_text(keywords[key])
    return extend(base, keywords)


def _with_limits(function: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def limited(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        check = _check.get()
        check.time_left()
        if check.depth >= _MAX_DEPTH:
            raise TooDeepError
        check.depth += 1
        try:
            yield from function(validator, value, instance, schema) or ()
        finally:
            check.depth -= 1

    return limited


def _with_text(function: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    """Refuse a reference that is no text, which the oldest dialects do not."""
    from referencing.exceptions import Unresolvable

    def limited(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not isinstance(value, str):
            raise Unresolvable(ref=value)
        yield from function(validator, value, instance, schema)

    return limited


def in_time(seconds: float, check: Callable[[], T]) -> T:
    """Return what a check by the keywords returns.

    Raises:
        TooLongError: It has not ended within so many seconds.
        TooDeepError: It goes too deep.
    """
    token = _check.set(_Check(seconds))
    try:
        return check()
    finally:
        _check.reset(token)


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """Compile a pattern.

    Raises:
        regex.error: It is none.
    """
    import regex

    return regex.compile(pattern)


def _matches(pattern: str, text: object) -> bool:
    # A program may give a table that is no JSON, which is refused where it would be sent.
    if not isinstance(text, str):
        return False
    try:
        return compiled(pattern).search(text, timeout=_check.get().time_left()) is not None
    except TimeoutError:
        raise TooLongError from None


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError("")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        for name, entry in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(entry, schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, entry in instance.items():
        if name in known or any(_matches(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(str(name))
        else:
            yield from validator.descend(entry, allowed, path=name)


def _unique_items(_: Any, wanted: Any, instance: Any, __: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not wanted or not isinstance(instance, list):
        return
    # By their text, because comparing each with each takes too long. So 1 and 1.0 are two.
    texts: set[str] = set()
    for begin in range(0, len(instance), _ITEMS_AT_ONCE):
        _check.get().time_left()
        texts.update(map(_text_of, instance[begin : begin + _ITEMS_AT_ONCE]))
    if len(texts) < len(instance):
        yield ValidationError("")


def _text_of(item: Any) -> str:
    try:
        return json.dumps(item, sort_keys=True, default=repr)
    except TypeError:  # keys of several types: no JSON
        return repr(item)


# Those that match patterns or compare items: the ones of the library can take any time.
_OWN_KEYWORDS: dict[str, Callable[..., Any]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
