"""``config_schema`` of a manifest: whether it can be used, and whether a configuration fits it."""

# A schema comes from a package, so it must not be able to do harm. Nothing is fetched: references
# stay inside it. Its size is limited, and so are the time and the depth of a check, which every
# keyword looks at: schemas that refer to themselves can take exponential time, or never end.
# Patterns are matched by `regex`, which can stop, unlike `re`, and lets other threads run.
#
# `jsonschema` interprets; `fastjsonschema` would compile the schema to Python code and run that in
# the host. Its own messages contain the values, which may be secrets, so the words are ours.

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import orjson

from vconnect.errors import ManifestError

MAX_SCHEMA_BYTES = 64 * 1024
# A thousand times what an honest schema takes.
_TIMEOUT_S = 1.0
_DEFAULT_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What these contain is data, whatever it looks like.
_DATA = ("const", "default", "enum", "examples")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_SHOWN_CHARS = 200
# Far from the interpreter's limit on recursion, which the registry of `jsonschema` (in Rust) does
# not survive: a keyword takes about four frames, and a level of a schema that is checked eight.
_MAX_DEPTH = 100
_MAX_LEVELS = 40
# Each object and list of a schema takes a third of a millisecond.
_MAX_PARTS = 2000


class _TooLongError(Exception):
    """The check has not ended by its deadline."""


class _TooDeepError(Exception):
    """The check goes deeper than any honest one."""


class _Check:
    """A check in progress.

    Attributes:
        until: When it has to end, in seconds of `time.monotonic()`.
        depth: The number of keywords that it is inside of.
    """

    def __init__(self) -> None:
        self.until = time.monotonic() + _TIMEOUT_S
        self.depth = 0

    def time_left(self) -> float:
        """Return the seconds until it has to end.

        Raises:
            _TooLongError: There are none.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise _TooLongError
        return left


_check: ContextVar[_Check] = ContextVar("_check")


def check_schema(schema: Mapping[str, Any], origin: str) -> None:
    """Refuse what is not a JSON schema that can be used here. May take a tenth of a second.

    Args:
        schema: The schema; an empty one allows everything.
        origin: The manifest's name, for messages.

    Raises:
        ManifestError: It is too large, no schema, of an unknown dialect, or not self-contained.
    """
    if not schema:
        return
    try:
        data = orjson.dumps(schema)
    except (TypeError, ValueError) as error:
        raise ManifestError(f"{origin}: config_schema: {error}") from None
    if len(data) > MAX_SCHEMA_BYTES:
        raise ManifestError(
            f"{origin}: config_schema has {len(data)} bytes; the limit is {MAX_SCHEMA_BYTES}"
        )
    if problem := _problem_with(data):
        raise ManifestError(f"{origin}: config_schema{problem}")


def find_violation(schema: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return where a configuration violates a schema, and what is expected; empty if it fits.

    Takes a millisecond, and at most a second.

    Args:
        schema: A schema that `check_schema` has accepted.
        config: The whole configuration.
    """
    if not schema:
        return ""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    validator = _validator_of(orjson.dumps(schema))
    try:
        error = _in_time(lambda: best_match(validator.iter_errors(config)))
    except _TooLongError:
        return f"$: checking it against config_schema takes longer than {_TIMEOUT_S:g} s"
    except _TooDeepError:
        return "$: config_schema refers to itself without end, or is nested too deeply"
    except Unresolvable as error:  # relative to an `$id` inside of it
        return f"$: config_schema refers to {_shown(error.ref)}, which is not in it"
    return "" if error is None else f"{_place('$', error.absolute_path)}: {_words(error)}"


@lru_cache(maxsize=256)
def _problem_with(data: bytes) -> str:
    """Return what is wrong with a schema, beginning with its place; empty if nothing is."""
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable
    from regex import error as PatternError  # noqa: N812 - it is a class

    schema = orjson.loads(data)
    dialect = schema.get("$schema", _DEFAULT_DIALECT)
    if not isinstance(dialect, str) or dialect not in _dialects():
        known = ", ".join(sorted({uri.removesuffix("#") for uri in _dialects()}))
        return f".$schema: unknown dialect {_shown(dialect)} (known: {known})"
    if _levels_of(schema) > _MAX_LEVELS:
        return f" is nested too deeply; the limit is {_MAX_LEVELS} levels"
    if (parts := _parts_of(schema)) > _MAX_PARTS:
        return f" has {parts} objects and lists; the limit is {_MAX_PARTS}"
    # What the library does for these is not made of keywords, so that nothing could stop it.
    if b'"unevaluated' in data:
        return ": unevaluatedProperties and unevaluatedItems are not supported; use others"
    try:
        _dialects()[dialect].check_schema(schema)
        for place, key, value in _keywords(schema, ""):
            if key == "$schema" and place:
                return f"{place}.$schema: is allowed only at the top"
            if key in _REFERENCES:
                if not value.startswith("#"):
                    return (
                        f"{place}.{key}: {_shown(value)} is outside the schema, and nothing is "
                        "fetched; use a reference that begins with #"
                    )
                _validator_of(data)._resolver.lookup(value)
            if key == "pattern":
                _compiled(value)
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
    dialect = schema.pop("$schema", _DEFAULT_DIALECT)
    registry: Any = Registry()  # an own one, because the default one fetches
    return _limited(dialect)(schema, registry=registry)


@lru_cache
def _dialects() -> dict[str, Any]:
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
def _limited(dialect: str) -> Any:
    """Return the validator class of a dialect, with the limits in each keyword."""
    from jsonschema.validators import extend

    base = _dialects()[dialect]
    keywords = {key: _with_limits(function) for key, function in base.VALIDATORS.items()}
    keywords |= {key: _with_limits(own) for key, own in _OWN_KEYWORDS.items()}
    for key in keywords.keys() & set(_REFERENCES):
        keywords[key] = _with_text(keywords[key])
    return extend(base, keywords)


def _with_limits(function: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def limited(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        check = _check.get()
        check.time_left()
        if check.depth >= _MAX_DEPTH:
            raise _TooDeepError
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


def _in_time(check: Callable[[], Any]) -> Any:
    token = _check.set(_Check())
    try:
        return check()
    finally:
        _check.reset(token)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern)


def _matches(pattern: str, text: object) -> bool:
    # A program may give a table that is no JSON, which is refused where it would be sent.
    if not isinstance(text, str):
        return False
    try:
        return _compiled(pattern).search(text, timeout=_check.get().time_left()) is not None
    except TimeoutError:
        raise _TooLongError from None


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
    texts = set(map(_text_of, instance))
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
        return f"missing key {', '.join(missing)}"
    if keyword == "additionalProperties" and wanted is False:
        known = error.schema.get("properties", {})
        near = difflib.get_close_matches(error.message, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown key {error.message!r}{hint}"
    if keyword == "enum":
        return f"expected one of {_shown(wanted)}"
    if keyword == "const":
        return f"expected {_shown(wanted)}"
    if keyword is None:  # a schema that is `false`
        return "nothing is allowed here"
    return f"expected {keyword} {_shown(wanted)}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", float: "number"}
    return {**kinds, int: "integer"}.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
