"""Finds what is wrong with the values of a configuration, and says it: the key first."""

# msgspec stops at the first mistake of a value. So each key is converted on its own, and what is
# wrong is left out of what is looked at next.

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import msgspec

from vconnect.validation import Fault, place_and_words

from .events import EventSettings, PluginEventOptions
from .limits import ResourceLimits, TreeLimits
from .match import Condition
from .model import (
    SECRET_NAME_RULE,
    ConfigurationFile,
    PluginOptions,
    Settings,
    SourceOptions,
)

# Keys of the original's table [plugins] that configure what it had built in.
_ORIGINAL_KEYS = ("trace_enabled", "trace_log_payload", "sensitive_words")
_SHOWN_KEYS = 20
# How msgspec says that it is not an entry of a table that is wrong, but its name.
_NAME_IN = " - at `key` in `"

# The tables in which a key may be at home that was put into another one.
_HOMES: dict[str, type[msgspec.Struct]] = {
    "[plugins]": Settings,
    "[plugins.options.NAME]": PluginOptions,
    '[plugins.sources."SOURCE"]': SourceOptions,
    '[events."NAME"]': EventSettings,
    '[plugins.options.NAME.events."EVENT"]': PluginEventOptions,
    "[plugins.options.NAME.limits]": ResourceLimits,
    "[plugins.options.NAME.tree_limits]": TreeLimits,
}

# The parts of a place as msgspec writes it, such as `events[...].match[2]`.
_PARTS = re.compile(r"\[\.\.\.\]|\[\d+\]|[^.\[]+")


class _Name(str):
    """The name of an entry in a table, which the operator has chosen."""

    __slots__ = ()


def sift(value: Any, kind: type[msgspec.Struct], place: str, faults: list[Fault]) -> dict[str, Any]:
    """Return a table without what is wrong in it.

    Args:
        value: The table.
        kind: Its expected type, all of whose fields have defaults.
        place: Its key; empty for the whole file.
        faults: What is wrong is appended to it.
    """
    try:
        msgspec.convert(value, kind)
        return dict(value)
    except msgspec.ValidationError as error:
        if not isinstance(value, dict):
            faults.append(explain(error, kind, value, place))
            return {}
        begun = len(faults)
        sound = dict(_sound_entries(value, kind, place, faults))
        if len(faults) == begun:  # it is the table as a whole, such as an empty condition
            faults.append(explain(error, kind, value, place))
            return {}
        return sound


def _sound_entries(
    table: Mapping[str, Any], kind: type[msgspec.Struct], place: str, faults: list[Fault]
) -> Iterator[tuple[str, Any]]:
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in table.items():
        below = f"{place}.{key}" if place else key
        inner = _parts_of(types.get(key))
        if isinstance(value, dict) and inner.struct is not None:
            sound = sift(value, inner.struct, below, faults)
            if _is_valid(sound, inner.struct):
                yield key, sound
        elif isinstance(value, dict) and inner.is_table:
            yield key, dict(_sound_named(key, value, kind, place, inner.entry, faults))
        elif _is_sound({key: value}, kind, place, faults):
            yield key, value


def _sound_named(
    key: str,
    table: Mapping[str, Any],
    kind: type[msgspec.Struct],
    place: str,
    entry: type[msgspec.Struct] | None,
    faults: list[Fault],
) -> Iterator[tuple[str, Any]]:
    """Yield the sound entries of a table whose names the operator chooses, such as ``options``."""
    below = f"{place}.{key}" if place else key
    for name, value in table.items():
        if isinstance(value, dict) and entry is not None:
            sound = sift(value, entry, f"{below}.{name!r}", faults)
            if _is_valid(sound, entry):
                yield name, sound
        elif _is_sound({key: {name: value}}, kind, place, faults):
            yield name, value


def _is_sound(
    value: dict[str, Any], kind: type[msgspec.Struct], place: str, faults: list[Fault]
) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        faults.append(explain(error, kind, value, place))
        return False
    return True


def _is_valid(table: dict[str, Any], kind: type[msgspec.Struct]) -> bool:
    """Return whether what is left of a table is one: nothing is left of a wrong condition."""
    try:
        msgspec.convert(table, kind)
    except msgspec.ValidationError:
        return False
    return True


class _Parts(msgspec.Struct, frozen=True):
    """What a type consists of that is looked into.

    Attributes:
        struct: The struct, if it is one.
        is_table: Whether it is a table with names of the operator's choice.
        entry: The struct that each entry of such a table is.
    """

    struct: type[msgspec.Struct] | None = None
    is_table: bool = False
    entry: type[msgspec.Struct] | None = None


def _parts_of(kind: Any) -> _Parts:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _Parts(struct=kind)
    if get_origin(kind) is dict:
        return _Parts(is_table=True, entry=_parts_of(get_args(kind)[1]).struct)
    inner = [part for part in map(_parts_of, get_args(kind)) if part != _Parts()]
    is_union = get_origin(kind) not in (tuple, list, Literal)
    return inner[0] if inner and is_union else _Parts()


def explain(
    error: msgspec.ValidationError,
    root: type[msgspec.Struct],
    value: Any,
    place: str = "",
    field: str = "",
) -> Fault:
    """Return the key, and what was expected or similar known keys.

    Args:
        error: The exception from `msgspec`.
        root: The expected type of the whole value.
        value: The whole value.
        place: The key of the whole value.
        field: The field of ``root`` that the value is for, if ``error`` cannot know it.
    """
    where, text = place_and_words(error)
    key = where.removeprefix("$").lstrip(".")
    if "unknown field" in text:
        shown = _shown_path(_path_of(key, value, root, error))
        full = ".".join(filter(None, (place, shown)))
        return _explain_unknown(text.split("`")[1], full, _table_at(key, root))
    if "enum value" in text:
        above, _, name = (key or field).rpartition(".")
        text += f"; expected one of {_words_of(name, _table_at(above, root))}"
    if _NAME_IN in str(error):
        rule = SECRET_NAME_RULE if key.endswith("secrets") else "text"
        key += "[...]"
        text = f"the name is {str(_path_of(key, value, root, error)[-1])!r}; expected {rule}"
    if "[...]" in key:
        key = _shown_path(_path_of(key, value, root, error))
    full = ".".join(filter(None, (place, key)))
    return Fault(full, text)


def _path_of(
    place: str, value: Any, root: type[msgspec.Struct], error: msgspec.ValidationError
) -> list[str | int]:
    """Split msgspec's place of an error, with the names of entries that it does not give.

    Args:
        place: The place; ``[...]`` stands for the name of an entry in a table.
        value: The whole value.
        root: Its expected type.
        error: What is wrong with it.
    """
    path: list[str | int] = []
    for part in _PARTS.findall(place):
        if part == "[...]":
            names = list(_at(value, path))
            # Each entry is tried on its own, in place of its table.
            wrong = (name for name in names if _is_wrong(value, [*path, name], root, error))
            path.append(_Name(next(wrong, names[0])))
        else:
            path.append(int(part[1:-1]) if part[0] == "[" else part)
    return path


def _is_wrong(
    value: Any,
    path: Sequence[str | int],
    root: type[msgspec.Struct],
    error: msgspec.ValidationError,
) -> bool:
    """Return whether there is the same error if a table has only one of its entries."""
    *above, name = path
    reduced: Any = {name: _at(value, path)}
    for depth in range(len(above) - 1, -1, -1):
        outer = _at(value, above[:depth])
        # Of lists, only this item counts; of tables, whatever else they need.
        reduced = [reduced] if isinstance(outer, list) else {**outer, above[depth]: reduced}
    try:
        msgspec.convert(reduced, root)
    except msgspec.ValidationError as same:
        return str(same) == str(error)
    return False


def _at(value: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        value = value[part]
    return value


def _shown_path(path: Sequence[str | int]) -> str:
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += f".{str(part)!r}" if isinstance(part, _Name) else f".{part}"
    return shown.removeprefix(".")


def _words_of(name: str, table: type[msgspec.Struct]) -> str:
    """List the allowed values of a key."""
    kinds = [field.type for field in msgspec.structs.fields(table) if field.name == name]
    words = []
    while kinds:
        kind = kinds.pop()
        if get_origin(kind) is Literal:
            words += [repr(word) for word in get_args(kind)]
        else:
            kinds += get_args(kind)  # a union or an annotated type
    return ", ".join(words)


def _table_at(key: str, root: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the type of the table at a place below ``root``."""
    within: dict[str, type[msgspec.Struct]] = {"limits": ResourceLimits, "tree_limits": TreeLimits}
    if key in within and root is PluginOptions:
        return within[key]
    # events, then the event's name, then perhaps the field of a condition.
    if key.startswith("events") and root is PluginOptions:
        return Condition if ".match" in key else PluginEventOptions
    return Settings if key else root


def _explain_unknown(name: str, table: str, allowed: type[msgspec.Struct]) -> Fault:
    full = f"{table}.{name}" if table else name
    return Fault(full, _words_for_unknown(name, table, allowed))


def _words_for_unknown(name: str, table: str, allowed: type[msgspec.Struct]) -> str:
    known = msgspec.structs.fields(allowed)
    # A key that exists elsewhere was put into the wrong table; most others are typos.
    if homes := [home for home, kind in _HOMES.items() if name in kind.__struct_fields__]:
        return f"unknown key here; it is a key of {' or '.join(homes)}"
    # As they are written in the file: `in` is no name of a field.
    names = [field.encode_name for field in known]
    if near := difflib.get_close_matches(name, names, n=1):
        return f"unknown key; did you mean {near[0]!r}?"
    if table == "plugins" and name in _ORIGINAL_KEYS:
        return (
            "a key of v-connect-im for plugins inside the server, which vconnect does not "
            "have; remove it"
        )
    if allowed is ConfigurationFile:
        return (
            "unknown table; expected [plugins] or [events]; of a configuration of "
            "v-connect-im, keep only [plugins]"
        )
    if len(known) > _SHOWN_KEYS:
        return "unknown key; the documentation of the configuration lists the known ones"
    return f"unknown key (known: {', '.join(names)})"
