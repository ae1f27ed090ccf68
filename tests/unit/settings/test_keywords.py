"""The keyword arguments of an application have the keys and types of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from vconnect.settings.events import EventSettings
from vconnect.settings.keywords import SettingsOptions, Texts
from vconnect.settings.load import with_options
from vconnect.settings.model import PluginOptions, Settings, SourceOptions
from vconnect.settings.paths import _PATHS

FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}
HINTS = get_type_hints(SettingsOptions)

#: A table can be given as a struct as well.
TABLES = {
    "config": Mapping[str, Mapping[str, Any]],
    "options": Mapping[str, PluginOptions | Mapping[str, Any]],
    "events": Mapping[str, EventSettings | Mapping[str, Any]],
    "env": Mapping[str, str],
    "sources": Mapping[str, SourceOptions | Mapping[str, Any]],
}


def expected(name: str) -> Any:
    if name in TABLES:
        return TABLES[name] | None
    plain = plainly(FIELDS[name].type)
    return plain | Path | None if name in _PATHS else plain | None


def plainly(kind: Any) -> Any:
    """The type as a caller gives it: without bounds, a list wherever there is a tuple."""
    if get_origin(kind) is Annotated:
        return plainly(get_args(kind)[0])
    if kind == tuple[str, ...]:
        return Texts
    if get_origin(kind) is not Literal and get_args(kind):
        return Union[tuple(plainly(part) for part in get_args(kind))]  # noqa: UP007
    return kind


def test_they_have_the_keys_of_the_settings_in_their_order():
    assert list(HINTS) == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_each_has_the_type_of_its_setting(name):
    assert HINTS[name] == expected(name)


def test_what_the_types_allow_is_accepted():
    options: SettingsOptions = {
        "plugin_dir": Path("plugins"),
        "dev_plugins": ["a:./a"],
        "event_timeout": 5,
        "log_level": None,
        "options": {"a": PluginOptions(required=True), "b": {"window": 3}},
        "events": {"e": EventSettings(timeout=1), "f": {"on_failure": "closed"}},
    }
    settings = with_options(None, options)
    assert settings.options["a"].required
    assert settings.options["b"].window == 3
    assert settings.events["f"].on_failure == "closed"
