"""Configurations as nested tables, and what an operator has set in them while the host runs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from vconnect.bounds import cut
from vconnect.errors import ConfigError

#: The keys that lead to a value, such as ``("limits", "rate")``; empty for the whole.
Path = tuple[str, ...]


class ConfigOverride(msgspec.Struct, frozen=True, kw_only=True):
    """A value that was set while the host runs, and is in no file.

    Attributes:
        path: Where it is; empty for the whole configuration.
        value: The value.
        base: What the file had there at that time; unset if nothing.
        by: Who has set it.
        at: When, in Unix seconds.
    """

    path: Path
    value: Any
    base: Any = msgspec.UNSET
    by: str
    at: float


def parse_path(key: str) -> Path:
    """Parse a key as TOML writes it: ``a.b``, with quotes around a part that has a dot.

    Raises:
        ConfigError: It is no key.
    """
    try:
        table: Any = tomllib.loads(f"{key} = 0") if "\n" not in key else {}
    except (tomllib.TOMLDecodeError, RecursionError):
        table = {}
    path = []
    while isinstance(table, dict) and len(table) == 1:
        ((name, table),) = table.items()
        path.append(name)
    if table != 0 or not path or "=" in key:
        raise ConfigError(
            f"{cut(key)!r} is no key; expected one such as limits.rate, with quotes around a part "
            "that has other characters than A-Z a-z 0-9 _ -: '\"a.b\".rate'"
        )
    return tuple(path)


def value_at(table: Any, path: Path) -> Any:
    """Return the value at a place; ``msgspec.UNSET`` if there is none."""
    for key in path:
        if not isinstance(table, Mapping) or key not in table:
            return msgspec.UNSET
        table = table[key]
    return table


def with_value(table: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Return a table with another value at a place. What is no table on the way is replaced."""
    if not path:
        return dict(value)
    inner = table.get(path[0])
    below = inner if isinstance(inner, Mapping) else {}
    new = with_value(below, path[1:], value) if path[1:] else value
    return {**table, path[0]: new}


def without_value(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return a table without the value at a place."""
    first, *rest = path
    inner = table.get(first)
    if not rest:
        return {key: value for key, value in table.items() if key != first}
    if not isinstance(inner, Mapping):
        return dict(table)
    return {**table, first: without_value(inner, tuple(rest))}


def with_overrides(table: Mapping[str, Any], overrides: Iterable[ConfigOverride]) -> dict[str, Any]:
    """Return a table with everything that was set since, in this order."""
    result = dict(table)
    for one in overrides:
        result = with_value(result, one.path, one.value)
    return result


def still_valid(
    overrides: Sequence[ConfigOverride], table: Mapping[str, Any]
) -> tuple[tuple[ConfigOverride, ...], tuple[ConfigOverride, ...]]:
    """Divide what was set into what stays, and what the file has another value for by now."""
    stay = tuple(one for one in overrides if value_at(table, one.path) == one.base)
    return stay, tuple(one for one in overrides if one not in stay)


def overlap(one: Path, other: Path) -> bool:
    """Return whether one of two places is the other, or is inside of it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
