"""The schema of the configuration file and the loader say the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

import jsonschema
import pytest

from vconnect.errors import ConfigError
from vconnect.settings.load import load_settings
from vconnect.settings.model import PluginOptions, Settings
from vconnect.settings.schema import configuration_schema

VALIDATOR = jsonschema.Draft202012Validator(configuration_schema())


def is_loaded(text: str, directory: Path) -> bool:
    file = directory / "vconnect.toml"
    file.write_text(text)
    try:
        load_settings(file)
    except ConfigError:
        return False
    return True


def test_it_is_a_schema_of_every_key() -> None:
    made = configuration_schema()
    jsonschema.Draft202012Validator.check_schema(made)
    for kind in (Settings, PluginOptions):
        properties = made["$defs"][kind.__name__]["properties"]
        assert set(properties) == set(kind.__struct_fields__)
        assert all(one["description"] for one in properties.values())


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        ("", True),
        ("[plugins]\nwindow = 3\nevent_timeout = 5\nlog_level = 'warn'", True),
        ("[plugins.env]\nTZ = 'UTC'", True),
        ("[plugins.config.x]\nanything = [1, {a = 2}]", True),
        ("[plugins.options.x]\nsecrets = {TOKEN = 'x'}\nlimits = {nofile = 5}", True),
        ("[plugins.options.x.events.a]\nmatch = {a = 'x', b = {in = [1, 'y']}}", True),
        ("[events.'a.*']\non_failure = 'closed'\nmay_change = {x = ['y']}", True),
        ("windows = 1", False),
        ("[plugins]\nwindow = 0", False),
        ("[plugins]\nwindow = 65537", False),
        ("[plugins]\nwindow = 'x'", False),
        ("[plugins]\nwindows = 1", False),
        ("[plugins]\nevent_timeout = 0", False),
        ("[plugins]\nlog_level = 'loud'", False),
        ("[plugins]\ndebug = 1", False),
        ("[plugins]\ninstall = 'a'", False),
        ("[plugins]\nenv = {A = 1}", False),
        ("[plugins.config]\nx = 1", False),
        ("[plugins.options.x]\nnofile = 5", False),
        ("[plugins.options.x]\nsecrets = {token = 'x'}", False),
        ("[plugins.options.x]\nlimits = {nofile = -1}", False),
        ("[plugins.options.x.events.a]\nrole = 'judge'", False),
        ("[plugins.options.x.events.a]\nmatch = {b = {}}", False),
        ("[plugins.options.x.events.a]\nmatch = {b = {of = 1}}", False),
        ("[events.a]\ntimeout = 0", False),
        ("[events.a]\nretries = 1", False),
    ],
)
def test_a_file_is_good_for_both_or_for_none(text: str, is_good: bool, tmp_path: Path) -> None:
    assert is_loaded(text, tmp_path) is is_good
    assert VALIDATOR.is_valid(tomllib.loads(text)) is is_good
