"""The questions about a schema that others ask, and who answers them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from vconnect.errors import ManifestError

from .apart import judge_apart
from .keywords import TooLongError
from .rules import Schema, Verdict, is_simple, judge, judge_patiently, problem_of_form

# The keywords that ask for what is not there.
_MISSING = ("required", "minProperties")
# How long a check may take in this process.
_HERE_S = 0.05


def check_schema(schema: Schema, origin: str) -> None:
    """Refuse what is not a JSON schema that can be used here. Blocks like `find_violation`.

    Args:
        schema: The schema; an empty one allows everything.
        origin: The manifest's name, for messages.

    Raises:
        ManifestError: It is too large, no schema, of an unknown dialect, or not self-contained.
    """
    if schema:
        refuse(answer(schema, None), origin)


def find_violation(schema: Schema, config: Schema) -> str:
    """Return where a configuration violates a schema, and what is expected; empty if it fits.

    Blocks for some milliseconds; if the schema is large or the check takes long, for a fifth of a
    second, and at most a few seconds. Other threads can run meanwhile.

    Args:
        schema: A schema that `check_schema` has accepted.
        config: The whole configuration.
    """
    return answer(schema, config).violation if schema else ""


def find_violation_of_defaults(schema: Schema, defaults: Schema) -> str:
    """Return where the defaults of a manifest violate its schema; see `find_violation`.

    What is missing is the operator's to add, so that is no violation.
    """
    return find_violation(_without_required(schema), defaults) if defaults else ""


def _without_required(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_required(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    # A property of such a name has a schema, which is no list and no number.
    return {
        key: _without_required(value)
        for key, value in schema.items()
        if not (key in _MISSING and isinstance(value, list | int) and not isinstance(value, bool))
    }


def refuse(verdict: Verdict, origin: str) -> None:
    """Raise what a verdict says of the schema.

    Raises:
        ManifestError: It cannot be used.
    """
    if verdict.problem:
        raise ManifestError(f"{origin}: config_schema{verdict.problem}")


def answer(schema: Schema, config: Schema | None) -> Verdict:
    """Return what the rules say; ask them in another process if that may take long."""
    found = answer_at_once(schema, config)
    if found is not None:
        return found
    try:
        if config is None:
            return _answer_apart(orjson.dumps(schema))
        return judge_apart(schema, config)
    except OSError:  # no more processes: that others wait is better than no answer
        return judge_patiently(schema, config)


def answer_at_once(schema: Schema, config: Schema | None) -> Verdict | None:
    """Return what the rules say, if that takes a moment only; else ``None``."""
    if problem := problem_of_form(schema):
        return Verdict(problem)
    if not is_simple(schema, config or {}):
        return None
    try:
        return judge(schema, config, _HERE_S)
    except TooLongError:
        return None


@lru_cache(maxsize=256)
def _answer_apart(data: bytes) -> Verdict:
    return judge_apart(orjson.loads(data), None)
