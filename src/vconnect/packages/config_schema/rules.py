"""What is wrong with a schema, and where a configuration violates it."""

# Nothing is fetched. The size of a schema is limited in bytes, levels and parts; the time of a
# check is limited by the keywords. What this does for a schema before that is linear, but slow, so
# the loop and its threads only do it for one that `is_simple`.
#
# The library's own messages contain the values, which may be secrets, so the words are ours.

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import orjson

from vconnect.bounds import cut

from .keywords import (
    DEFAULT_DIALECT,
    REFERENCES,
    TooDeepError,
    TooLongError,
    compiled,
    dialects,
    in_time,
    limited,
)

MAX_SCHEMA_BYTES = 64 * 1024
# A thousand times what an honest configuration takes.
_LONGEST_S = 1.0
# What these contain is data, whatever it looks like.
_DATA = ("const", "default", "enum", "examples")
_SHOWN_CHARS = 200
# A level of a schema that is checked takes eight frames; see `keywords`.
_MAX_LEVELS = 40
# Each object and list of a schema takes a third of a millisecond.
_MAX_PARTS = 2000
# What is simple: some tens of milliseconds at most. In objects and lists, bytes and characters.
_SIMPLE_PARTS = 100
_SIMPLE_BYTES = 16 * 1024
_SIMPLE_PATTERNS = 1000
_SIMPLE_CONFIG_BYTES = 64 * 1024
# Keys that a mistyped one is compared with, and their length.
_MAX_COMPARED = 200
_MAX_COMPARED_CHARS = 64


Schema: TypeAlias = Mapping[str, Any]


class Verdict(NamedTuple):
    """What the rules say.

    Attributes:
        problem: Why the schema cannot be used, beginning with the place in it; or empty.
        violation: Where the configuration violates it, and what is expected; or empty.
    """

    problem: str = ""
    violation: str = ""


def judge(schema: Schema, config: Schema | None, seconds: float) -> Verdict:
    """Look for what is wrong.

    Args:
        schema: The schema.
        config: The whole configuration, if it is to be checked.
        seconds: How long checking it may take.

    Raises:
        TooLongError: It takes longer.
    """
    if problem := problem_with(orjson.dumps(schema)):
        return Verdict(problem)
    return Verdict("", "" if config is None else _violation_of(schema, config, seconds))


def judge_patiently(schema: Schema, config: Schema | None) -> Verdict:
    """Look for what is wrong, for as long as any honest schema could need."""
    try:
        return judge(schema, config, _LONGEST_S)
    except TooLongError:
        words = f"$: checking it against config_schema takes longer than {_LONGEST_S:g} s"
        return Verdict(violation=words)


def problem_of_form(schema: Schema) -> str:
    """Return why it need not be looked at: it is no JSON, or too large; empty if it must be."""
    try:
        data = orjson.dumps(schema)
    except (TypeError, ValueError) as error:
        return f": {error}"
    if len(data) > MAX_SCHEMA_BYTES:
        return f" has {len(data)} bytes; the limit is {MAX_SCHEMA_BYTES}"
    return ""


def is_simple(schema: Schema, config: Schema) -> bool:
    """Return whether all that has no limit on its time is short for this schema.

    Args:
        schema: The schema.
        config: The whole configuration.
    """
    if len(orjson.dumps(schema)) > _SIMPLE_BYTES or _parts_of(schema) > _SIMPLE_PARTS:
        return False
    patterns = sum(len(value) for _, key, value in _keywords(schema, "") if key == "pattern")
    return patterns <= _SIMPLE_PATTERNS and _size_of(config) <= _SIMPLE_CONFIG_BYTES


def _size_of(config: Schema) -> int:
    try:
        return len(orjson.dumps(config))
    except TypeError:  # a program's own value, which is refused where it would be sent
        return 0


def _violation_of(schema: Schema, config: Schema, seconds: float) -> str:
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    validator = _validator_of(orjson.dumps(schema))
    try:
        error = in_time(seconds, lambda: best_match(validator.iter_errors(config)))
    except TooDeepError:
        return "$: config_schema refers to itself without end, or is nested too deeply"
    except Unresolvable as error:  # relative to an `$id` inside of it
        return f"$: config_schema refers to {_shown(error.ref)}, which is not in it"
    return "" if error is None else f"{_place('$', error.absolute_path)}: {_words(error)}"


@lru_cache(maxsize=256)
def problem_with(data: bytes) -> str:
    """Return what is wrong with a schema, beginning with its place; empty if nothing is.

    Args:
        data: The schema, as JSON.
    """
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable
    from regex import error as PatternError  # noqa: N812 - it is a class

    schema = orjson.loads(data)
    dialect = schema.get("$schema", DEFAULT_DIALECT)
    if not isinstance(dialect, str) or dialect not in dialects():
        known = ", ".join(sorted({uri.removesuffix("#") for uri in dialects()}))
        return f".$schema: unknown dialect {_shown(dialect)} (known: {known})"
    if _levels_of(schema) > _MAX_LEVELS:
        return f" is nested too deeply; the limit is {_MAX_LEVELS} levels"
    if (parts := _parts_of(schema)) > _MAX_PARTS:
        return f" has {parts} objects and lists; the limit is {_MAX_PARTS}"
    # What the library does for these is not made of keywords, so that nothing could stop it.
    if b'"unevaluated' in data:
        return ": unevaluatedProperties and unevaluatedItems are not supported; use others"
    try:
        dialects()[dialect].check_schema(schema)
        for place, key, value in _keywords(schema, ""):
            if key == "$schema" and place:
                return f"{place}.$schema: is allowed only at the top"
            if key in REFERENCES:
                if not value.startswith("#"):
                    return (
                        f"{place}.{key}: {_shown(value)} is outside the schema, and nothing is "
                        "fetched; use a reference that begins with #"
                    )
                _validator_of(data)._resolver.lookup(value)
            if key == "pattern":
                compiled(value)
    except SchemaError as error:
        return f"{_place('', error.absolute_path)}: {_words(error)}"
    except Unresolvable:
        return f"{place}.{key}: there is no {_shown(value)} in the schema"
    except PatternError as error:
        return f"{place}.{key}: {_shown(value)} is no regular expression: {error}"
    except RecursionError:
        return " has a pattern that is nested too deeply"
    return ""


def _levels_of(value: Any) -> int:
    """Count the levels of objects and lists in each other."""
    return 1 + max(map(_levels_of, _items_of(value)), default=0)


def _parts_of(value: Any) -> int:
    """Count the objects and lists."""
    return isinstance(value, dict | list) + sum(map(_parts_of, _items_of(value)))


def _items_of(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _keywords(schema: Any, place: str) -> Iterator[tuple[str, str, str]]:
    """Yield the place, key and value of everything in a schema that may matter for its safety."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _keywords(item, f"{place}[{index}]")
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if isinstance(value, str):
                yield place, key, value
            elif key == "patternProperties" and isinstance(value, dict):
                for pattern in value:
                    yield f"{place}.{key}", "pattern", pattern
            if key not in _DATA:
                yield from _keywords(value, f"{place}.{key}")


@lru_cache(maxsize=256)
def _validator_of(data: bytes) -> Any:
    from referencing import Registry

    schema = orjson.loads(data)
    # Without the key, because a reference to the whole schema would choose its class again.
    dialect = schema.pop("$schema", DEFAULT_DIALECT)
    registry: Any = Registry()  # an own one, because the default one fetches
    return limited(dialect)(schema, registry=registry)


def _place(root: str, path: Any) -> str:
    for part in path:
        root += f"[{part}]" if isinstance(part, int) else f".{part}"
    return root


def _words(error: Any) -> str:
    """Say what was expected. The value stays out of it: it may be a secret."""
    keyword, wanted, got = error.validator, error.validator_value, error.instance
    if keyword == "type":
        kinds = " or ".join([wanted] if isinstance(wanted, str) else wanted)
        return f"expected {kinds}, got {_kind(got)}"
    if keyword == "required":
        missing = [repr(key) for key in wanted if key not in got]
        return f"missing key {cut(', '.join(missing), _SHOWN_CHARS)}"
    if keyword == "additionalProperties" and wanted is False:
        return f"unknown key {cut(repr(error.message), _SHOWN_CHARS)}{_hint(error)}"
    if keyword == "enum":
        return f"expected one of {_shown(wanted)}"
    if keyword == "const":
        return f"expected {_shown(wanted)}"
    if keyword is None:  # a schema that is `false`
        return "nothing is allowed here"
    return f"expected {keyword} {_shown(wanted)}"


def _hint(error: Any) -> str:
    """Name the key that an unknown one resembles. Comparing long ones takes quadratic time."""
    if len(error.message) > _MAX_COMPARED_CHARS:
        return ""
    known = (key for key in error.schema.get("properties", ()) if len(key) <= _MAX_COMPARED_CHARS)
    near = difflib.get_close_matches(error.message, list(islice(known, _MAX_COMPARED)), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", float: "number"}
    return {**kinds, int: "integer"}.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
