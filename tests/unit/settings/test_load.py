"""Settings: four sources, one validation, errors that name their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vconnect.errors import ConfigError
from vconnect.settings.load import load_settings
from vconnect.settings.model import Settings

# What the defaults that are no absolute paths become.
DEFAULT_PATHS: dict[str, Any] = {
    "plugin_dir": str(Path.cwd() / "plugins"),
    "socket_path": str(Path("~/vp/sockets/runtime.sock").expanduser()),
}


@pytest.fixture
def write(tmp_path):
    def put(text: str | bytes) -> Path:
        file = tmp_path / "vconnect.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return put


def test_defaults():
    assert load_settings() == Settings(**DEFAULT_PATHS)
    assert (Settings().plugin_dir, Settings().socket_path) == (
        "./plugins",
        "~/vp/sockets/runtime.sock",
    )
    assert Settings().admin_socket == "~/vp/sockets/admin.sock"
    assert Settings(socket_path="/a/b.sock").admin_socket == "/a/admin.sock"
    assert Settings(admin_path="/c.sock").admin_socket == "/c.sock"


def test_the_order_of_precedence(write):
    file = write("[plugins]\nwindow = 2\nmax_queued = 3\nevent_timeout = 4")
    environ = {"VCONNECT_WINDOW": "20", "VCONNECT_MAX_QUEUED": "30", "OTHER_WINDOW": "1"}
    settings = load_settings(file, environ, {"window": 200, "max_queued": None})
    assert (settings.window, settings.max_queued, settings.event_timeout) == (200, 30, 4.0)
    assert settings.stop_timeout == Settings().stop_timeout


def test_relative_paths_of_a_file_are_its_own(write, tmp_path):
    settings = load_settings(
        write(
            """[plugins]
            plugin_dir = "p"
            socket_path = "~/s.sock"
            admin_path = "/a.sock"
            dev_plugins = ["wk.plugin.x:../x", "y:/y"]
            install = ["a.vp", "https://h/b.vp", "file://c.vp", "file:///d.vp"]
            """
        )
    )
    assert settings.plugin_dir == str(tmp_path / "p")
    assert settings.socket_path == str(Path("~/s.sock").expanduser())
    assert settings.admin_path == "/a.sock"
    assert settings.dev_plugins == (f"wk.plugin.x:{tmp_path.parent}/x", "y:/y")
    first, *rest = settings.install
    assert first == str(tmp_path / "a.vp")
    assert rest == ["https://h/b.vp", f"file://{tmp_path}/c.vp", "file:///d.vp"]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("debug", "true", True),
        ("debug", "0", False),
        ("uvloop", "false", False),
        ("event_timeout", "0.5", 0.5),
        ("max_abandoned", "7", 7),
        ("install", "./a,./b,,./c", tuple(str(Path.cwd() / name) for name in "abc")),
        ("inherit_env", "", ()),
        ("log_level", "warn", "warn"),
        ("plugin_dir", "7", str(Path.cwd() / "7")),
    ],
)
def test_the_environment(key, text, value):
    assert getattr(load_settings(environ={f"VCONNECT_{key.upper()}": text}), key) == value


def test_tables_are_not_read_from_the_environment():
    environ = {"VCONNECT_CONFIG": "{}", "VCONNECT_ENV": "x", "VCONNECT_UNKNOWN": "x"}
    assert load_settings(environ=environ) == Settings(**DEFAULT_PATHS)


@pytest.mark.parametrize("seconds", ["0", "-1", "-inf", "nan", "soon"])
def test_a_duration_is_a_positive_number(write, seconds):
    with pytest.raises(ConfigError, match=r"VCONNECT_STOP_TIMEOUT='.*': expected `float`"):
        load_settings(environ={"VCONNECT_STOP_TIMEOUT": seconds})
    if seconds != "soon":
        with pytest.raises(ConfigError, match=r"vconnect.toml: plugins.stop_timeout: expected"):
            load_settings(write(f"[plugins]\nstop_timeout = {seconds}"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[plugin]", "plugin: unknown key; did you mean 'plugins'"),
        ("[plugins]\nwindows = 1", "plugins.windows: unknown key; did you mean 'window'"),
        ("[plugins]\ntrace_enabled = true", "plugins.trace_enabled: a key of v-connect-im"),
        ("[plugins]\nsensitive_words = []", "plugins.sensitive_words: a key of v-connect-im"),
        ("[plugins]\nxyz = 1", "plugins.xyz: unknown key; the documentation"),
        ("[server]\nport = 1", "server: unknown table; expected [plugins] or [events]; of a"),
        ("[plugins]\nwindow = 0", "plugins.window: expected `int` >= 1"),
        ("[plugins]\nwindow = 65537", "plugins.window: expected `int` <= 65536"),
        ("[plugins]\nmax_frame_bytes = 1023", "plugins.max_frame_bytes: expected `int` >= 1024"),
        ("[plugins]\nmax_frame_bytes = 4294967296", "plugins.max_frame_bytes: expected"),
        ("[plugins]\ndebug = 1", "plugins.debug: expected `bool`, got `int`"),
        (
            "[plugins]\nlog_level = 'loud'",
            "plugins.log_level: invalid enum value 'loud'; expected one of 'trace', 'debug', ",
        ),
        ("[plugins]\ninstall = 'a'", "plugins.install: expected `array`"),
        ("[plugins]\ndev_plugins = ['x']", "plugins.dev_plugins: dev plugin 'x': expected NAME"),
        ("[plugins]\ndev_plugins = ['../x:y']", "the name is '../x'"),
        ("[plugins.config.x]\n[plugins.config.'wk.plugin.x']", "which are the same plugin (x)"),
        ("[plugins]\nenv = {A = 'x', B = 1}", "plugins.env.'B': expected `str`, got `int`"),
        (
            "[plugins]\nenv = {A = 'x', B = 1}\nwindow = 'x'",
            "plugins.env.'B': expected `str`",
        ),
        ("[plugins.config]\na = {}\n'b.c' = 1", "plugins.config.'b.c': expected `object`"),
        ("[plugins.config]\ngreeter = 1", "plugins.config.'greeter': expected `object`"),
        ("plugin_dir = 'x'", "plugin_dir: unknown key here; it is a key of [plugins]"),
        ("[options.x]", "options: unknown key here; it is a key of [plugins]"),
    ],
)
def test_mistakes_name_their_place(write, text, words):
    check_mistake(write(text), words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[plugins", ": not valid TOML: expected ']' at the end of a table declaration (at end"),
        ("[plugins]\nwindow = 3\n = 4", ":3:2: not valid TOML: invalid statement"),
        (b"[plugins]\n\xff", ":2:1: byte 0xff is not UTF-8; save it as UTF-8"),
        ("[plugins]".encode("utf-16"), ": is UTF-16; save it as UTF-8"),
        ("a = " + "[" * 5000 + "]" * 5000, ": is nested too deeply"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_text_that_is_no_toml_has_its_line_and_column(write, text, words):
    file = write(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert f"{file}{words}" in str(caught.value)


def check_mistake(file, words):
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_settings(tmp_path / "none.toml")


def test_a_plugins_configuration_by_any_of_its_names():
    settings = Settings(config={"wk.plugin.a": {"n": 1}, "b": {"n": 2}})
    assert settings.plugin_config("a") == {"n": 1}
    assert settings.plugin_config("b") == {"n": 2}
    assert settings.plugin_config("c") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[events.'a b']", "events: got 'a b'; expected an event"),
        ("[events.'']", "events: got ''; expected an event"),
        ("[events.'*.x']", "events: got '*.x'; expected"),
        ("[events.x]\ntimeout = 0", "events.'x'.timeout: expected `float` > 0"),
        ("[events.'x.*']\ntimeout = 'soon'", "events.'x.*'.timeout: expected `float`, got `str`"),
        ("[events.x]\ntimeuot = 1", "events.'x'.timeuot: unknown key; did you mean 'timeout'?"),
        ("[events.x]\nzzz = 1", "events.'x'.zzz: unknown key (known: timeout, chain_timeout, on_f"),
        (
            "[events.x]\non_failure = 'retry'",
            "events.'x'.on_failure: invalid enum value 'retry'; expected one of 'open', ",
        ),
        ("[events.x]\noverflow = 'wait'", "events.'x'.overflow: invalid enum value 'wait'"),
        ("[events.x]\nprotected = 'a'", "events.'x'.protected: expected `array`"),
        ("[events.x]\nmay_change = ['a']", "events.'x'.may_change: expected `object`"),
        ("[events.x]\non_failure = 'default'", "events.'x': on_failure is 'default', but there is"),
        ("[events]\nx = 1", "events.'x': expected `object`, got `int`"),
        ("events = 1", "events: expected `object`, got `int`"),
        ("[events.x]\n[plugins.events.y]", "both [events] and [plugins.events]"),
        ("[plugins.events.x]\ntimeout = 0", "plugins.events.'x'.timeout: expected `float` > 0"),
        ("[plugins.options.x]\nwindow = 0", "plugins.options.'x'.window: expected `int` >= 1"),
        (
            "[plugins.options.x]\nwindwo = 1",
            "plugins.options.'x'.windwo: unknown key; did you mean",
        ),
        (
            "[plugins.options.x]\nbreaker_failures = -1",
            "options.'x'.breaker_failures: expected `int`",
        ),
        ("[plugins.options.x]\nwithdraw = 'log'", "plugins.options.'x'.withdraw: expected `array`"),
        ("[plugins.options]\nx = 1", "plugins.options.'x': expected `object`, got `int`"),
        (
            "[plugins.options.x]\n[plugins.options.'v.plugin.x']",
            "plugins.options has 'x' and 'v.plu",
        ),
        (
            "[events.x]\nmay_change = { a = [], 'wk.plugin.a' = [] }",
            "events.'x'.may_change has 'a' and 'wk.plugin.a', which are the same plugin (a)",
        ),
        (
            "[events.x]\nmay_change = { a = [], b = 'c' }",
            "events.'x'.may_change.'b': expected `arr",
        ),
        ("[events.x]\nmay_change = { b = [1] }", "events.'x'.may_change.'b'[0]: expected `str`"),
        (
            "[plugins.options.x.secrets]\nA = 'f'\ndb-pass = 'f'",
            "plugins.options.'x'.secrets.'db-pass': the name is 'db-pass'; expected characters A-Z",
        ),
        ("[plugins.options.x.secrets]\nA = 1", "plugins.options.'x'.secrets.'A': expected `str`"),
    ],
)
def test_mistakes_in_the_tables_of_events_and_plugins(write, text, words):
    check_mistake(write(text), words)


@pytest.mark.parametrize(
    ("text", "place", "homes"),
    [
        ("[plugins]\nrequired = true", "plugins.required", "[plugins.options.NAME]"),
        ("[plugins]\non_failure = 'open'", "plugins.on_failure", '[events."NAME"]'),
        ("[plugins]\ntimeout = 1", "plugins.timeout", '[plugins.options.NAME] or [events."NAME"]'),
        ("[plugins.options.x]\nwatch = true", "plugins.options.'x'.watch", "[plugins]"),
        (
            "[plugins.options.x]\nnofile = 9",
            "plugins.options.'x'.nofile",
            "[plugins.options.NAME.limits]",
        ),
        (
            "[plugins.options.x.limits]\nprocesses = 9",
            "plugins.options.'x'.limits.processes",
            "[plugins.options.NAME.tree_limits]",
        ),
        ("[events.x]\nevent_timeout = 1", "events.'x'.event_timeout", "[plugins]"),
        ("[events.x]\nrequired = true", "events.'x'.required", "[plugins.options.NAME]"),
    ],
)
def test_a_key_in_the_wrong_table_is_told_where_it_belongs(write, text, place, homes):
    check_mistake(write(text), f"{place}: unknown key here; it is a key of {homes}")


def test_tables_of_events_and_plugins(write):
    settings = load_settings(
        write(
            """
            [plugins]
            window = 9
            breaker_cooldown = 7
            [plugins.options."wk.plugin.x"]
            timeout = 0.5
            breaker_failures = 0
            withdraw = ["log"]
            [events."user.*"]
            on_failure = "default"
            default = { status = "ok" }
            may_change = { bridge = ["from_uid"] }
            """
        )
    )
    limits = settings.plugin_policy("x")
    assert (limits.timeout, limits.window, limits.withdraw) == (0.5, 9, ("log",))
    assert (limits.breaker_failures, limits.breaker_cooldown) == (0, 7.0)
    assert settings.plugin_policy("y").breaker_failures == 10
    assert settings.events["user.*"].may_change == {"bridge": ("from_uid",)}
    assert load_settings(overrides={"events": {"e": {"timeout": 1}}}).events["e"].timeout == 1.0


def test_options_of_a_program_that_are_wrong_are_named_as_well():
    for key, words in (("events", "events.'x'.timeout"), ("options", "options.'x'.timeout")):
        with pytest.raises(ConfigError, match=words):
            load_settings(overrides={key: {"x": {"timeout": -1}}})


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "vconnect.toml"
    file.write_bytes(b"\xef\xbb\xbf[plugins]\nwindow = 3\n")
    assert load_settings(file).window == 3


@pytest.mark.parametrize("variable", ["VCONNECT_DEBUG", "VCONNECT_UVLOOP"])
def test_a_word_that_is_no_boolean_is_told_which_are(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable}='yes': expected 1, 0, true or false"):
        load_settings(environ={variable: "yes"})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("inf", "plugins.config.k.limit: inf is not a JSON number"),
        ("nan", "plugins.config.k.limit: nan is not a JSON number"),
        ("-inf", "plugins.config.k.limit: -inf is not a JSON number"),
        ("[1, 18446744073709551616]", "plugins.config.k.limit[1]: the integer has more than 64"),
        ("{ deep = [nan] }", "plugins.config.k.limit.deep[0]: nan is not"),
    ],
)
def test_a_configuration_that_json_does_not_have(tmp_path, value, words):
    file = tmp_path / "vconnect.toml"
    file.write_text(f"[plugins.config.k]\nlimit = {value}\n")
    with pytest.raises(ConfigError) as refused:
        load_settings(file)
    assert words in str(refused.value)
    assert str(file) in str(refused.value)


REQUIRED = '[events.e]\nrequires = ["wk.plugin.f"]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (REQUIRED + '[plugins.options.f.events.e]\nrole = "observer"', "the event requires this"),
        (
            REQUIRED + "[plugins.options.f.events.'*']\nmatch = { a = 1 }",
            "the event requires this",
        ),
        ("[plugins.options.f.events.e]\nmatch = { a = { inn = [1] } }", "did you mean 'in'?"),
        ("[plugins.options.f.events.e]\nmatch = { a = { x = 1 } }", "known: prefix, in, present"),
        ("[events.e]\ndefault = { data = nan }", "events.'e'.default.data: nan is not a JSON"),
        ("[events.'vconnect.ping']\ntimeout = 1.0", "these events are the host's own"),
        ('[plugins.options.f.events.e]\nrole = "watcher"', "'filter', 'transform', 'observer'"),
        ('[plugins.options.f.events.e]\nrolle = "filter"', "did you mean 'role'?"),
        ("[plugins.options.f.events.e]\nmatch = { a = {} }", "expected prefix, in or present"),
        (
            "[plugins.options.f.events.e]\nmatch = { a = { prefix = 1 } }",
            "match.'a'.prefix: expected",
        ),
        ('[plugins.options.f.events.e]\non_failure = "default"', "but the event has none"),
        ('[plugins.options.f]\nrole = "filter"', "[plugins.options.NAME.events."),
    ],
)
def test_roles_and_conditions_that_cannot_hold(tmp_path, text, words):
    file = tmp_path / "vconnect.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_settings(file)
    assert words in str(refused.value)


def test_a_default_may_stand_in_a_wider_table(tmp_path):
    file = tmp_path / "vconnect.toml"
    file.write_text(
        '[events."user.*"]\ndefault = { status = "ok" }\n'
        '[events."user.find"]\non_failure = "default"\n'
        '[plugins.options.f.events."user.find"]\non_failure = "default"\n'
    )
    assert load_settings(file).event_policy("user.find").default == {"status": "ok"}
