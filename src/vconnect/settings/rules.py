"""The rules that hold between the keys of a configuration, beyond the type of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from vconnect.errors import ConfigError
from vconnect.ignored import check_patterns
from vconnect.json_rule import find_problem
from vconnect.names import (
    INTERFACE_RULE,
    PATTERN_RULE,
    RESERVED_PREFIX,
    canonical_name,
    capability_matches,
    is_interface,
    is_pattern,
)
from vconnect.validation import Fault

from .dev_plugins import parse_dev_plugin
from .events import EventSettings, PluginEventOptions, problem_of_roles
from .model import Settings

_KEY_NUMBER = re.compile("[0-9A-F]{16}")


def faults_of_names(settings: Settings) -> Iterator[Fault]:
    """Yield what is wrong with names and patterns, and with values that a plugin gets."""
    yield from _faults_of_dev_plugins(settings.dev_plugins)
    for place, source in settings.sources.items():
        for key in source.keys:
            if not _KEY_NUMBER.fullmatch(key):
                yield Fault(
                    f"plugins.sources.{place!r}.keys",
                    f"got {key!r}; expected the number of a key, 16 hex digits in upper case, as "
                    "vconnect trusted shows it",
                )
    for text in settings.interfaces:
        if not is_interface(text):
            yield Fault("plugins.interfaces", f"got {text!r}; expected {INTERFACE_RULE}")
    # TOML has more than JSON, and a plugin would get something else, or nothing at all.
    if problem := find_problem(settings.config, "plugins.config"):
        yield _split(problem)
    for key, table in (("config", settings.config), ("options", settings.options)):
        yield from _faults_of_twins(f"plugins.{key}", table)
    for name, options in settings.options.items():
        place = f"plugins.options.{name!r}"
        for pattern in options.events:
            if not is_pattern(pattern):
                yield Fault(f"{place}.events", f"got {pattern!r}; expected {PATTERN_RULE}")
        for key in ("watch_ignore", "watch_also"):
            if problem := check_patterns(getattr(options, key)):
                yield Fault(f"{place}.{key}", problem)


def _faults_of_dev_plugins(entries: Iterable[str]) -> Iterator[Fault]:
    paths: dict[str, Path] = {}
    for text in entries:
        try:
            dev = parse_dev_plugin(text)
        except ConfigError as error:
            yield Fault("plugins.dev_plugins", str(error))
            continue
        first = paths.setdefault(dev.name, dev.path)
        if first != dev.path:
            yield Fault(
                "plugins.dev_plugins",
                f"{dev.name} is there twice, from {first} and from {dev.path}; keep one of them",
            )


def faults_of_sources(settings: Settings) -> Iterator[Fault]:
    """Yield which addresses of indexes have credentials, which whoever asks would be shown."""
    for place, options in settings.sources.items():
        scheme, separator, rest = place.partition("://")
        if not (options.index and separator):
            continue
        host = rest.partition("/")[0].partition("?")[0]
        if "@" in host or "?" in rest or "#" in rest:
            yield Fault(
                f"plugins.sources.'{scheme}://{host.rpartition('@')[2]}/…'",
                "the address of an index has no user, password, query or fragment, since it is "
                "shown and logged; use the variable VCONNECT_TOKEN_<HOST>, or a netrc file",
            )


def faults_of_events(events: Mapping[str, EventSettings]) -> Iterator[Fault]:
    """Yield what is wrong with the tables of events."""
    for pattern, table in events.items():
        place = f"events.{pattern!r}"
        if table.may_change is not msgspec.UNSET:
            yield from _faults_of_twins(f"{place}.may_change", table.may_change)
        if not is_pattern(pattern):
            yield Fault("events", f"got {pattern!r}; expected {PATTERN_RULE}")
        if pattern.startswith(RESERVED_PREFIX):
            yield Fault(place, "these events are the host's own")
        if table.default and (problem := find_problem(table.default, f"{place}.default")):
            yield _split(problem)
        # A wider table may have the default: each key comes from the narrowest table that has it.
        wider = [known for name, known in events.items() if capability_matches(name, pattern)]
        has_default = any(known.default is not msgspec.UNSET for known in (table, *wider))
        if table.on_failure == "default" and not has_default:
            yield Fault(
                place,
                "on_failure is 'default', but there is no default; add one, such as "
                'default = { status = "ok" }',
            )


def faults_of_roles(settings: Settings) -> Iterator[Fault]:
    """Yield where what plugins may do with events contradicts the events' own tables."""
    for name, options in settings.options.items():
        for pattern, table in options.events.items():
            yield from _faults_of_default(name, pattern, table, settings)
        if problem := problem_of_roles(settings.events, canonical_name(name), options.events):
            yield _split(f"plugins.options.{name!r}.{problem}")


def _faults_of_default(
    name: str, pattern: str, table: PluginEventOptions, settings: Settings
) -> Iterator[Fault]:
    covering = [one for at, one in settings.events.items() if capability_matches(at, pattern)]
    has_default = any(one.default is not msgspec.UNSET for one in covering)
    if table.on_failure == "default" and not has_default:
        yield Fault(
            f"plugins.options.{name!r}.events.{pattern!r}",
            "on_failure is 'default', but the event has none; add one to "
            f'[events.{pattern!r}], such as default = {{ status = "ok" }}',
        )


def _faults_of_twins(key: str, table: Mapping[str, Any]) -> Iterator[Fault]:
    # Two spellings of one name would make it depend on the order which table is used.
    seen: dict[str, str] = {}
    for name in table:
        first = seen.setdefault(canonical_name(name), name)
        if first != name:
            yield Fault(
                "",
                f"{key} has {first!r} and {name!r}, which are the same plugin "
                f"({canonical_name(name)}); keep one of them",
            )


def _split(problem: str) -> Fault:
    """Make a fault of a text that begins with its place."""
    place, _, words = problem.partition(": ")
    return Fault(place, words)
