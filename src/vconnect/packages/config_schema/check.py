"""The questions about a schema that others ask, and who answers them."""

from __future__ import annotations

from functools import lru_cache

import orjson

from vconnect.errors import ManifestError

from .apart import judge_apart
from .keywords import TooLongError
from .rules import Schema, Verdict, is_simple, judge, judge_patiently, problem_of_form

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
