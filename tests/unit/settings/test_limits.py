"""The table ``limits``: what is wrong with it is said with its key."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from vconnect.errors import ConfigError
from vconnect.settings.limits import ResourceLimits
from vconnect.settings.load import load_settings
from vconnect.settings.model import Settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("limits = { nofil = 3 }", "limits.nofil: unknown key; did you mean 'nofile'?"),
        ("limits = { nofile = -1 }", "limits.nofile: expected `int` >= 0"),
        ('limits = { nofile = "3" }', "limits.nofile: expected `int"),
        ("memory_limit = 3", "memory_limit: unknown key; did you mean 'memory_limit_bytes'?"),
        ("memory_limit_bytes = -3", "memory_limit_bytes: expected `int` >= 0"),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "vconnect.toml"
    file.write_text(f"[plugins.options.example]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{file}: plugins.options.'example'.")


def test_the_plugins_own_memory_limit_wins_also_if_it_is_none() -> None:
    settings = load_settings(
        overrides={
            "memory_limit_bytes": 7,
            "options": {
                "free": {"memory_limit_bytes": 0},
                "v.plugin.own": {"memory_limit_bytes": 9},
            },
        }
    )
    assert settings.plugin_policy("any").memory_limit_bytes == 7
    assert settings.plugin_policy("free").memory_limit_bytes == 0
    assert settings.plugin_policy("own").memory_limit_bytes == 9
    assert Settings().plugin_policy("any").memory_limit_bytes == 0


def test_they_are_put_as_options_of_prlimit() -> None:
    limits = ResourceLimits(nofile=64, core_bytes=0, as_bytes=5)
    assert limits.arguments() == ["--nofile=64:64", "--core=0:0", "--as=5:5"]
    assert ResourceLimits().arguments() == []


def test_no_limits_are_no_problem() -> None:
    assert ResourceLimits().problem() == ""


def test_what_is_above_the_hard_limit_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 100))
    assert ResourceLimits(nofile=100).problem() == ""
    assert ResourceLimits(nofile=101).problem().startswith("limits.nofile: 101 is above")


def test_other_systems_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert ResourceLimits(nofile=1).problem().startswith("limits.nofile: requires Linux")
