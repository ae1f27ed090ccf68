"""Loads the host's settings: command line, then ``VCONNECT_*``, then the file, then defaults."""

# `load_settings` merges the four and validates once. An error names its origin (file and key,
# variable or option) and what was expected, before anything is started.

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from vconnect.errors import ConfigError
from vconnect.ignored import check_patterns
from vconnect.json_rule import find_problem
from vconnect.names import (
    NAME_RULE,
    PATTERN_RULE,
    RESERVED_PREFIX,
    canonical_name,
    capability_matches,
    is_pattern,
    may_be_named,
)
from vconnect.validation import place_and_words, uncapitalized, without_mark

from .events import EventSettings, PluginEventOptions, problem_of_roles
from .limits import ResourceLimits, TreeLimits
from .match import Condition
from .model import SECRET_NAME_RULE, PluginOptions, Settings, SourceOptions
from .paths import absolute_path, absolute_paths
from .variables import TABLES, variable_of

# Keys of the original's table [plugins] that configure what it had built in.
_ORIGINAL_KEYS = ("trace_enabled", "trace_log_payload", "sensitive_words")
_SHOWN_KEYS = 20
# How msgspec says that it is not an entry of a table that is wrong, but its name.
_NAME_IN = " - at `key` in `"
_TOML_PLACE = re.compile(r"(?P<words>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)")

LOCK_FILE = "vconnect.lock"
TRUST_FILE = "vconnect.trust"
DEFAULT_CONFIG_FILE = "vconnect.toml"

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

# Defaults that have to be made absolute, unlike others.
_DEFAULT_PATHS = {key: getattr(Settings(), key) for key in ("plugin_dir", "socket_path")}


class _Name(str):
    """The name of an entry in a table, which the operator has chosen."""

    __slots__ = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plugins: Settings = Settings()
    events: dict[str, EventSettings] = {}


def load_settings(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge command line, environment, file and defaults, in this order of precedence.

    Args:
        file: A TOML file, or ``None``. Relative paths in it are relative to its directory, all
            others to the working directory.
        environ: The environment; only ``VCONNECT_<KEY>`` for known scalar keys is read.
        overrides: Values from the command line by key; ``None`` means not given.

    Returns:
        The settings, with all paths absolute.

    Raises:
        ConfigError: The file cannot be read or parsed, or a value is invalid.
    """
    values: dict[str, Any] = dict(_DEFAULT_PATHS)
    if file is not None:
        beside = {"lock_file": LOCK_FILE, "trust_file": TRUST_FILE}
        values |= {key: str(file.resolve().with_name(name)) for key, name in beside.items()}
        values |= _read_file(file)
    values |= _read_environment(environ or {})
    # The command line last, so that it wins over everything else.
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    settings = _convert(absolute_paths(values), "settings")
    origin = str(file) if file is not None else "settings"
    _check_names(settings, origin)
    _check_events(settings.events, origin)
    _check_roles(settings, origin)
    return settings


def with_options(settings: Settings | None, options: Mapping[str, Any]) -> Settings:
    """Return ``settings``, or the defaults, with some keys replaced by those of an application.

    Args:
        settings: The settings to start from.
        options: Values by key; a `Path` counts as its text, and ``None`` as not given.

    Raises:
        ConfigError: A key is unknown, or a value is not what its key expects.
    """
    plain = {
        key: str(value) if isinstance(value, Path) else value for key, value in options.items()
    }
    base = {} if settings is None else msgspec.structs.asdict(settings)
    return load_settings(overrides=base | plain)


class DevPlugin(msgspec.Struct, frozen=True):
    """A plugin that runs from source.

    Attributes:
        name: Its canonical name.
        path: The absolute path of its source directory.
    """

    name: str
    path: Path


def parse_dev_plugin(text: str) -> DevPlugin:
    """Parse ``"name:path"``, split at the first colon.

    Raises:
        ConfigError: There is no colon or no path, or the name is invalid.
    """
    name, _, path = text.partition(":")
    if not path:
        raise ConfigError(f"dev plugin {text!r}: expected NAME:PATH, such as example:./example")
    return dev_plugin(name, path)


def dev_plugin(name: str, path: str | Path) -> DevPlugin:
    """Build a `DevPlugin` from a name and a source directory.

    Raises:
        ConfigError: The name is invalid, or there is no home directory for a ``~``.
    """
    plugin = canonical_name(name)
    if not may_be_named(plugin):
        raise ConfigError(f"dev plugin '{name}:{path}': the name is {name!r}; expected {NAME_RULE}")
    return DevPlugin(plugin, absolute_path(path))


def _read_file(file: Path) -> dict[str, Any]:
    """Read and validate the file on its own, so that errors name it."""
    try:
        text = without_mark(file.read_bytes(), str(file)).decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}{_explain_toml(error)}") from None
    except RecursionError:
        raise ConfigError(f"{file}: is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    plugins = document.get("plugins")
    _check_tables({"events": document.get("events")}, "", str(file))
    _check_tables(plugins if isinstance(plugins, dict) else {}, "plugins.", str(file))
    try:
        parsed = msgspec.convert(document, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {_explain(error, _File, document)}") from None
    _check_names(parsed.plugins, str(file))
    _check_events(parsed.events, str(file))
    table: dict[str, Any] = absolute_paths(document.get("plugins", {}), file.resolve().parent)
    if "events" in document:
        if "events" in table:
            raise ConfigError(
                f"{file}: both [events] and [plugins.events] are present; keep [events]"
            )
        table["events"] = document["events"]
    return table


def _explain_toml(error: tomllib.TOMLDecodeError) -> str:
    """Return the place and the words of a mistake in a TOML text, to follow the file's name."""
    found = _TOML_PLACE.fullmatch(str(error))
    if found is None:
        return f": not valid TOML: {uncapitalized(str(error))}"
    return f":{found['line']}:{found['column']}: not valid TOML: {uncapitalized(found['words'])}"


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read ``VCONNECT_<KEY>`` for all keys that are not tables."""
    values: dict[str, Any] = {}
    # Only known keys: the environment also has variables that the host sets for plugins.
    for field in msgspec.structs.fields(Settings):
        variable = variable_of(field.name)
        if variable not in environ or field.name in TABLES:
            continue
        text = environ[variable]
        many = field.type == tuple[str, ...]
        value: Any = [item for item in text.split(",") if item] if many else text
        # Not strict: a variable is always text, also for numbers and booleans.
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            expected = _explain(error, Settings, value, field=field.name)
            if field.type in (bool, bool | None):
                expected = "expected 1, 0, true or false"  # msgspec names a type that no text has
            raise ConfigError(f"{variable}={text!r}: {expected}") from None
    return values


def _convert(values: dict[str, Any], origin: str) -> Settings:
    _check_tables(values, "", origin)
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error, Settings, values)}") from None


def _check_tables(values: Mapping[str, Any], place: str, origin: str) -> None:
    """Convert the tables of events and plugins one by one, so that an error names its table."""
    kinds: dict[str, type[msgspec.Struct]] = {
        "events": EventSettings,
        "options": PluginOptions,
        "sources": SourceOptions,
    }
    for key, kind in kinds.items():
        tables = values.get(key)
        for name, table in tables.items() if isinstance(tables, dict) else ():
            try:
                msgspec.convert(table, kind)
            except msgspec.ValidationError as error:
                explained = _explain(error, kind, table, f"{place}{key}.{name!r}")
                raise ConfigError(f"{origin}: {explained}") from None


def _check_names(settings: Settings, origin: str) -> None:
    try:
        for text in settings.dev_plugins:
            parse_dev_plugin(text)
    except ConfigError as error:
        raise ConfigError(f"{origin}: plugins.dev_plugins: {error}") from None
    # TOML has more than JSON, and a plugin would get something else, or nothing at all.
    if problem := find_problem(settings.config, "plugins.config"):
        raise ConfigError(f"{origin}: {problem}")
    for key, table in (("config", settings.config), ("options", settings.options)):
        _check_twins(f"plugins.{key}", table, origin)
    for name, options in settings.options.items():
        for pattern in options.events:
            if not is_pattern(pattern):
                raise ConfigError(
                    f"{origin}: plugins.options.{name!r}.events: got {pattern!r}; expected "
                    f"{PATTERN_RULE}"
                )
        for key in ("watch_ignore", "watch_also"):
            if problem := check_patterns(getattr(options, key)):
                raise ConfigError(f"{origin}: plugins.options.{name!r}.{key}: {problem}")


def _check_roles(settings: Settings, origin: str) -> None:
    """Check what plugins may do with events against the events' own tables."""
    for name, options in settings.options.items():
        for pattern, table in options.events.items():
            _check_default(name, pattern, table, settings, origin)
        if problem := problem_of_roles(settings.events, canonical_name(name), options.events):
            raise ConfigError(f"{origin}: plugins.options.{name!r}.{problem}")


def _check_default(
    name: str, pattern: str, table: PluginEventOptions, settings: Settings, origin: str
) -> None:
    covering = [one for at, one in settings.events.items() if capability_matches(at, pattern)]
    has_default = any(one.default is not msgspec.UNSET for one in covering)
    if table.on_failure == "default" and not has_default:
        raise ConfigError(
            f"{origin}: plugins.options.{name!r}.events.{pattern!r}: on_failure is 'default', but "
            f"the event has none; add one to [events.{pattern!r}], such as "
            'default = { status = "ok" }'
        )


def _check_twins(key: str, table: Mapping[str, Any], origin: str) -> None:
    # Two spellings of one name would make it depend on the order which table is used.
    seen: dict[str, str] = {}
    for name in table:
        first = seen.setdefault(canonical_name(name), name)
        if first != name:
            raise ConfigError(
                f"{origin}: {key} has {first!r} and {name!r}, "
                f"which are the same plugin ({canonical_name(name)}); keep one of them"
            )


def _check_events(events: Mapping[str, EventSettings], origin: str) -> None:
    for pattern, table in events.items():
        if table.may_change is not msgspec.UNSET:
            _check_twins(f"events.{pattern!r}.may_change", table.may_change, origin)
        if not is_pattern(pattern):
            raise ConfigError(f"{origin}: events: got {pattern!r}; expected {PATTERN_RULE}")
        if pattern.startswith(RESERVED_PREFIX):
            raise ConfigError(f"{origin}: events.{pattern!r}: these events are the host's own")
        if table.default and (problem := find_problem(table.default, "default")):
            raise ConfigError(f"{origin}: events.{pattern!r}.{problem}")
        # A wider table may have the default: each key comes from the narrowest table that has it.
        wider = [known for name, known in events.items() if capability_matches(name, pattern)]
        has_default = any(known.default is not msgspec.UNSET for known in (table, *wider))
        if table.on_failure == "default" and not has_default:
            raise ConfigError(
                f"{origin}: events.{pattern!r}: on_failure is 'default', but there is no default; "
                'add one, such as default = { status = "ok" }'
            )


def _explain(
    error: msgspec.ValidationError,
    root: type[msgspec.Struct],
    value: Any,
    place: str = "",
    field: str = "",
) -> str:
    """Return an error text: the key first, then what was expected or similar known keys.

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
    return f"{full}: {text}" if full else text


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


def _explain_unknown(name: str, table: str, allowed: type[msgspec.Struct]) -> str:
    full = f"{table}.{name}" if table else name
    known = msgspec.structs.fields(allowed)
    # A key that exists elsewhere was put into the wrong table; most others are typos.
    if homes := [home for home, kind in _HOMES.items() if name in kind.__struct_fields__]:
        return f"{full}: unknown key here; it is a key of {' or '.join(homes)}"
    # As they are written in the file: `in` is no name of a field.
    names = [field.encode_name for field in known]
    if near := difflib.get_close_matches(name, names, n=1):
        return f"{full}: unknown key; did you mean {near[0]!r}?"
    if table == "plugins" and name in _ORIGINAL_KEYS:
        return (
            f"{full}: a key of v-connect-im for plugins inside the server, which vconnect does not "
            "have; remove it"
        )
    if allowed is _File:
        return (
            f"{full}: unknown table; expected [plugins] or [events]; of a configuration of "
            "v-connect-im, keep only [plugins]"
        )
    if len(known) > _SHOWN_KEYS:
        return f"{full}: unknown key; the documentation of the configuration lists the known ones"
    return f"{full}: unknown key (known: {', '.join(names)})"
