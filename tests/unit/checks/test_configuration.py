"""All that is wrong with a configuration, and with what it names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from tests.support.package_kit import manifest_bytes

from vconnect.checks.configuration import check_configuration
from vconnect.checks.report import Subject
from vconnect.errors import ConfigError
from vconnect.settings.load import load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vconnect.toml"


def faults(file: Path, text: str) -> list[str]:
    file.write_text(text)
    report = check_configuration(file)
    assert report.subject is Subject.CONFIGURATION
    assert report.is_unusable == bool(report.faults)
    shown = [f"{one.place}: {one.message}" for one in report.findings]
    return [one.replace(f"{file}: ", "").replace(str(file.parent), "DIR") for one in shown]


def test_a_good_one(file: Path, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "plugin.py").touch()
    (tmp_path / "a b.vp").touch()
    (tmp_path / "token").touch(mode=0o600)
    assert (
        faults(
            file,
            """
            [plugins]
            dev_plugins = ["x:dev"]
            install = ["a b.vp", "file://a%20b.vp", "https://example.com/b.vp"]
            [plugins.options.x.secrets]
            TOKEN = "token"
            """,
        )
        == []
    )


def test_all_that_is_wrong_at_once(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "open").touch(mode=0o600)
    (tmp_path / "open").chmod(0o644)
    os.mkfifo(tmp_path / "pipe")
    found = faults(
        file,
        """
        [plugins]
        windw = 1
        window = 0
        dev_plugins = ["x", "y:none", "z:a"]
        install = ["none.vp", "a.zip", "http://example.com/b.vp"]
        [plugins.options.x]
        timeout = 0
        secrets = {A = "none", B = "open", C = "pipe"}
        [plugins.options."wk.plugin.x"]
        [events."a b"]
        on_failure = "default"
        """,
    )
    assert [one.partition(";")[0] for one in found] == [
        "plugins.windw: unknown key",
        "plugins.window: expected `int` >= 1",
        "plugins.options.'x'.timeout: expected `float` > 0.0",
        "plugins.dev_plugins: dev plugin 'x': expected NAME:PATH, such as example:./example",
        "plugins.options has 'x' and 'wk.plugin.x', which are the same plugin (x)",
        "events: got 'a b'",
        "events.'a b': on_failure is 'default', but there is no default",
        "plugins.dev_plugins: DIR/none does not exist",
        "plugins.dev_plugins: DIR/a is not a directory",
        "plugins.install: DIR/none.vp does not exist",
        next(one.partition(";")[0] for one in found if "a.zip" in one),
        next(one.partition(";")[0] for one in found if "http://" in one),
        "plugins.options.'x'.secrets.A: DIR/none: No such file or directory",
        "plugins.options.'x'.secrets.B: DIR/open: others can read it (mode 0644)",
        "plugins.options.'x'.secrets.C: DIR/pipe: is not a regular file",
    ]


def test_files_that_it_names(file: Path, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "vconnect.lock").write_text("format = 1\n[[plugin")
    (tmp_path / "vconnect.trust").write_text("format = 9")
    package = tmp_path / "a.vp"
    package.write_bytes(b"a")
    good, bad = hashlib.sha256(b"a").hexdigest(), "0" * 64
    found = faults(
        file,
        f"""
        [plugins]
        socket_path = "{"s" * 120}"
        dev_plugins = ["x:dev"]
        install = ["a.vp#sha256={good}", "a.vp#sha256={bad}"]
        """,
    )
    assert [one.partition(";")[0].partition(" has ")[0] for one in found] == [
        f"plugins.socket_path: socket path DIR/{'s' * 120}",
        next(one.partition(";")[0] for one in found if "plugins.lock_file: DIR" in one),
        "plugins.trust_file: DIR/vconnect.trust: format is 9",
        "plugins.dev_plugins: DIR/dev contains nothing that can be started",
        "plugins.install: DIR/a.vp",
    ]


def test_what_environments_need(file: Path) -> None:
    found = faults(
        file,
        """
        [plugins]
        python = "/nonexistent/python"
        python_sdk_wheels = "none"
        python_index = "not an address"
        options.x.python = "no-such-python"
        """,
    )
    assert [one.partition(":")[0] for one in found] == [
        "plugins.python",
        "plugins.options.'x'.python",
        "plugins.python_sdk_wheels",
        "plugins.python_index",
    ]


def test_keys_that_nobody_trusts(file: Path) -> None:
    (found,) = faults(file, '[plugins.sources."https://a/"]\nkeys = ["87D14D9104688B17"]')
    assert "plugins.sources.'https://a/'.keys: 87D14D9104688B17 is not trusted" in found


def test_a_configuration_that_does_not_fit_its_plugin(file: Path, tmp_path: Path) -> None:
    schema = {"properties": {"n": {"type": "integer"}}}
    for name in ("dev", "plugins/two"):
        directory = tmp_path / name
        directory.mkdir(parents=True)
        (directory / "plugin.py").touch()
        (directory / "plugin.json").write_bytes(
            manifest_bytes(name="two", config={"n": 1}, config_schema=schema)
        )
    found = faults(
        file,
        """
        [plugins]
        plugin_dir = "plugins"
        dev_plugins = ["one:dev"]
        config."wk.plugin.one" = { n = "x" }
        config.two = { n = 2.5 }
        config.three = { n = "y" }
        """,
    )
    assert [one.partition(":")[0] for one in found] == [
        "plugins.config.'two'",
        "plugins.config.'one'",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[plugins", "not valid TOML: expected ']'"),
        ("[plugins]\nwindow = 3\n = 4", "vconnect.toml:3:2: not valid TOML: "),
        ("a = " + "[" * 5000, "is nested too deeply"),
        ("plugins = 1", "plugins: expected `object`, got `int`"),
        ("[events.a]\n[plugins.events.b]", "both [events] and [plugins.events] are present"),
        ("[plugins]\nplugin_dir = '~nobody-such/x'", "no home directory"),
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_used_is_refused_by_a_host_too(file: Path, text: str, words: str) -> None:
    (found,) = faults(file, text)
    assert words in found
    with pytest.raises(ConfigError):
        load_settings(file)


def test_a_file_that_others_can_change(file: Path) -> None:
    file.touch()
    file.chmod(0o666)
    (found,) = faults(file, "")
    assert "can be changed by everybody" in found
    assert faults(file, "[plugins]\ninsecure_paths = true") == []
