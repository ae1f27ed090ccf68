"""What holds for one plugin: its options over the host's settings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from vconnect.errors import ConfigError
from vconnect.settings.load import load_settings
from vconnect.settings.model import PluginOptions, PluginPolicy, Settings


def loaded(**values: Any) -> Settings:
    return load_settings(overrides=values)


def policy(options: dict[str, Any], plugin: str = "example", **host: Any) -> PluginPolicy:
    return loaded(options={"wk.plugin.example": options}, **host).plugin_policy(plugin)


def test_without_options_the_hosts_settings_hold() -> None:
    found = loaded(window=7, sandbox="nnp", breaker_failures=3).plugin_policy("example")
    assert (found.window, found.sandbox, found.breaker_failures) == (7, "nnp", 3)
    assert (found.timeout, found.required, found.exclusive) == (None, False, False)
    assert (found.withdraw, found.secrets) == ((), {})


@pytest.mark.parametrize(
    ("key", "hosts", "own"),
    [
        ("window", 7, 9),
        ("breaker_failures", 7, 0),
        ("breaker_cooldown", 7.0, 0.5),
        ("memory_limit_bytes", 7, 0),
        ("sandbox", "bwrap", "off"),
        ("sandbox_network", True, False),
    ],
)
def test_an_option_wins_also_where_it_is_nothing(key: str, hosts: Any, own: Any) -> None:
    assert getattr(policy({}, **{key: hosts}), key) == hosts
    assert getattr(policy({key: own}, **{key: hosts}), key) == own
    assert getattr(policy({key: own}, "other", **{key: hosts}), key) == hosts


@pytest.mark.parametrize("spelling", ["example", "wk.plugin.example", "v.plugin.example"])
def test_any_spelling_of_a_name_is_the_plugins(spelling: str) -> None:
    settings = loaded(options={spelling: {"window": 9}}, config={spelling: {"a": 1}})
    assert settings.plugin_policy("example").window == 9
    assert settings.plugin_config("example") == {"a": 1}
    assert settings.plugin_config("other") == {}


def test_two_spellings_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "vconnect.toml"
    file.write_text("[plugins.options.example]\n[plugins.options.'wk.plugin.example']\n")
    with pytest.raises(ConfigError, match="example"):
        load_settings(file)


def test_paths_to_read_are_added_and_the_hosts_come_first() -> None:
    assert policy({"sandbox_read": ["/own"]}, sandbox_read=["/hosts"]).sandbox_read == (
        "/hosts",
        "/own",
    )
    assert policy({}, sandbox_read=["/hosts"]).sandbox_read == ("/hosts",)


def test_a_plugin_has_its_own_way_to_be_restarted_and_the_hosts_times() -> None:
    own = {"restart": "never", "after_crash_loop": "give_up"}
    restart = policy(own, restart_delay=0.25, crash_limit=3, crash_hold=9.0).restart
    assert (restart.mode, restart.after_crash_loop) == ("never", "give_up")
    assert (restart.delay, restart.crash_limit, restart.hold) == (0.25, 3, 9.0)
    assert policy({}, restart="on-failure").restart.mode == "on-failure"


def test_the_administration_socket_is_beside_the_plugins() -> None:
    assert loaded(socket_path="/run/vp/r.sock").admin_socket == "/run/vp/admin.sock"
    assert loaded(socket_path="/run/vp/r.sock", admin_path="/a.sock").admin_socket == "/a.sock"


def test_the_state_is_inside_the_plugins_directory() -> None:
    own = loaded(plugin_dir="/p", socket_path="/r.sock").state_directory
    digest = hashlib.sha256(b"/r.sock").hexdigest()[:16]
    assert own == Path("/p/.vconnect/hosts") / digest
    assert own != loaded(plugin_dir="/p", socket_path="/other.sock").state_directory
    assert loaded(plugin_dir="/p", state_dir="/s").state_directory == Path("/s")


def test_an_events_policy_begins_with_the_hosts_times() -> None:
    settings = loaded(event_timeout=3.0, chain_timeout=4.0, events={"a.*": {"timeout": 1.0}})
    assert (settings.event_policy("b").timeout, settings.event_policy("b").chain_timeout) == (3, 4)
    assert (settings.event_policy("a.x").timeout, settings.event_policy("a.x").chain_timeout) == (
        1,
        4,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("window", 0),
        ("window", 65537),
        ("max_frame_bytes", 1023),
        ("max_frame_bytes", (1 << 30) + 1),
        ("handshake_timeout", 0),
        ("handshake_timeout", -1),
        ("crash_limit", 0),
        ("breaker_failures", -1),
        ("log_files", 0),
        ("log_level", "loud"),
        ("guardian", "maybe"),
        ("restart", "sometimes"),
        ("no_such_key", 1),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key):
        loaded(**{key: value})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "window"),
        ({"breaker_cooldown": 0}, "breaker_cooldown"),
        ({"secrets": {"lower": "/x"}}, "secrets"),
        ({"limit": {}}, "limit"),
    ],
)
def test_an_option_out_of_bounds_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        policy(options)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        loaded().window = 5


def test_every_setting_is_described() -> None:
    text = Settings.__doc__ or ""
    assert [key for key in Settings.__struct_fields__ if f"{key}:" not in text] == []
    text = PluginOptions.__doc__ or ""
    assert [key for key in PluginOptions.__struct_fields__ if f"{key}:" not in text] == []
