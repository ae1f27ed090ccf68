"""All that is wrong with the values of a configuration, at once."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from vconnect.settings.explain import explain, sift
from vconnect.settings.model import ConfigurationFile, PluginOptions
from vconnect.validation import Fault


def sifted(text: str) -> tuple[dict, list[str]]:
    faults: list[Fault] = []
    sound = sift(tomllib.loads(text), ConfigurationFile, "", faults)
    msgspec.convert(sound, ConfigurationFile)
    return sound, [str(fault) for fault in faults]


def test_what_is_right_stays() -> None:
    text = "[plugins]\nwindow = 3\n[events.a]\ntimeout = 1\n[plugins.config.x]\na = {b = 1}"
    assert sifted(text) == (tomllib.loads(text), [])


def test_every_fault_is_found_and_the_rest_is_kept() -> None:
    sound, faults = sifted(
        """
        colour = 1
        [plugins]
        windw = 3
        window = 0
        debug = true
        env = {A = "x", B = 1}
        config = {x = {}, y = 1}
        [plugins.options.x]
        timeout = -1
        window = 5
        limits = {nofile = "many", nproc = 3}
        secrets = {TOKEN = "t", lower = "t"}
        [plugins.options.x.events.a]
        role = "judge"
        match = {a = "x", b = {}, c = {in = [1], of = 2}}
        [events.a]
        timeout = 0
        on_failure = "open"
        """
    )
    assert faults == [
        "colour: unknown table; expected [plugins] or [events]; of a configuration of "
        "v-connect-im, keep only [plugins]",
        "plugins.windw: unknown key; did you mean 'window'?",
        "plugins.window: expected `int` >= 1",
        "plugins.env.'B': expected `str`, got `int`",
        "plugins.config.'y': expected `object`, got `int`",
        "plugins.options.'x'.timeout: expected `float` > 0.0",
        "plugins.options.'x'.limits.nofile: expected `int | null`, got `str`",
        "plugins.options.'x'.secrets.'lower': the name is 'lower'; expected characters A-Z 0-9 _, "
        "beginning with a letter, such as API_TOKEN",
        "plugins.options.'x'.events.'a'.role: invalid enum value 'judge'; expected one of "
        "'filter', 'transform', 'observer'",
        "plugins.options.'x'.events.'a'.match.'b': expected prefix, in or present",
        "plugins.options.'x'.events.'a'.match.'c'.of: unknown key (known: prefix, in, present)",
        "events.'a'.timeout: expected `float` > 0.0",
    ]
    assert sound["plugins"]["debug"] is True
    assert sound["plugins"]["env"] == {"A": "x"}
    assert sound["plugins"]["options"]["x"]["limits"] == {"nproc": 3}
    assert sound["events"]["a"] == {"on_failure": "open"}


@pytest.mark.parametrize("value", [1, "x", [], None])
def test_a_table_that_is_none(value: object) -> None:
    faults: list[Fault] = []
    assert sift(value, PluginOptions, "options", faults) == {}
    assert [fault.place for fault in faults] == ["options"]


def test_a_place_without_a_key_is_the_tables() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"window": "x"}, PluginOptions)
    assert explain(caught.value, PluginOptions, {"window": "x"}, "here").place == "here.window"
