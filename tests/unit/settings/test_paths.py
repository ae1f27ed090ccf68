"""Paths of the settings: absolute once, relative to whoever wrote them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from vconnect.errors import ConfigError
from vconnect.settings.load import load_settings
from vconnect.settings.model import Settings
from vconnect.settings.paths import absolute_path, absolute_paths

BASE = Path("/etc/vconnect")


@pytest.fixture(autouse=True)
def _home_and_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")


def made(key: str, value: Any) -> Any:
    """The value of one key in a file in `BASE`."""
    return absolute_paths({key: value}, BASE)[key]


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        ("a", "/etc/vconnect/a"),
        ("./a/../b", "/etc/vconnect/b"),
        ("../../..", "/"),
        ("/a//b/.", "/a/b"),
        ("~", "/home/ada"),
        ("~/a", "/home/ada/a"),
        ("a/~", "/etc/vconnect/a/~"),
        ("ünï code", "/etc/vconnect/ünï code"),
    ],
)
def test_a_path_is_relative_to_its_file(path: str, absolute: str) -> None:
    assert absolute_path(path, BASE) == Path(absolute)
    assert absolute_path(absolute_path(path, BASE), Path("/other")) == Path(absolute)


def test_without_a_file_it_is_relative_to_here(tmp_path: Path) -> None:
    assert absolute_path("a") == tmp_path / "a"
    assert absolute_path(Path("a")) == tmp_path / "a"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    assert absolute_path("link/bin") == tmp_path / "link" / "bin"


def test_a_home_that_is_not_known_is_an_error_in_words() -> None:
    words = r"^no home directory for user 'nobody-of-this-name': use an absolute path"
    with pytest.raises(ConfigError, match=words):
        absolute_path("~nobody-of-this-name/a")


def test_a_user_without_a_name_and_without_home_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    words = rf"^no home directory for user {os.getuid()}: set HOME, or use an absolute path"
    with pytest.raises(ConfigError, match=words):
        absolute_path("~/a")


def test_a_working_directory_that_is_gone_is_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match=r"^a/b is a relative path, but the working directory"):
        absolute_path("a/b")
    assert absolute_path("/a/b") == Path("/a/b")


@pytest.mark.parametrize(
    "key", ["plugin_dir", "socket_path", "admin_path", "log_dir", "state_dir", "cgroup_dir"]
)
def test_each_path_of_the_settings_is_made_absolute(key: str, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    file = tmp_path / "conf" / "vconnect.toml"
    file.write_text(f"[plugins]\n{key} = 'x'\n")
    assert getattr(load_settings(file), key) == str(tmp_path / "conf" / "x")
    environ = {f"VCONNECT_{key.upper()}": "y"}
    assert getattr(load_settings(file, environ), key) == str(tmp_path / "y")
    assert getattr(load_settings(file, environ, {key: "~/z"}), key) == "/home/ada/z"


def test_no_other_setting_is_taken_for_a_path() -> None:
    table = {"log_level": "warn", "config": {"a": {"plugin_dir": "x"}}, "env": {"log_dir": "x"}}
    assert absolute_paths(table, BASE) == table


def test_all_that_names_a_directory_or_a_file_is_in_the_list() -> None:
    """A new key of the settings that ends like a path is one."""
    for key in Settings.__struct_fields__:
        if key.endswith(("_dir", "_path")):
            assert made(key, "x") == "/etc/vconnect/x"


@pytest.mark.parametrize(
    ("source", "absolute"),
    [
        ("a.vp", "/etc/vconnect/a.vp"),
        ("~/a.vp", "/home/ada/a.vp"),
        ("file://a.vp", "file:///etc/vconnect/a.vp"),
        ("file://localhost/a%20b.vp", "file://localhost/a%20b.vp"),
        ("file:/a.vp", "file:/a.vp"),
        ("https:/h/a.vp", "https:/h/a.vp"),
        ("file:///a.vp", "file:///a.vp"),
        ("file://~/a.vp", "file:///home/ada/a.vp"),
        ("https://h/~/../a.vp?x=./y", "https://h/~/../a.vp?x=./y"),
        ("a-${os}.vp", "/etc/vconnect/a-${os}.vp"),
    ],
)
def test_packages(source: str, absolute: str) -> None:
    assert made("install", [source]) == [absolute]


@pytest.mark.parametrize(
    ("text", "absolute"),
    [
        ("a:x", "a:/etc/vconnect/x"),
        ("a:~/x", "a:/home/ada/x"),
        ("a:x:y", "a:/etc/vconnect/x:y"),
        ("a:", "a:"),
        ("a", "a"),
        (":x", ":/etc/vconnect/x"),
    ],
)
def test_plugins_from_source(text: str, absolute: str) -> None:
    assert made("dev_plugins", [text]) == [absolute]


def test_paths_of_one_plugin_are_relative_to_the_file_too() -> None:
    options = {"example": {"sandbox_read": ["data"], "secrets": {"KEY": "key"}, "timeout": 5}}
    assert made("options", options) == {
        "example": {
            "sandbox_read": ["/etc/vconnect/data"],
            "secrets": {"KEY": "/etc/vconnect/key"},
            "timeout": 5,
        }
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("plugin_dir", 5),
        ("plugin_dir", ["a"]),
        ("sandbox_read", "a"),
        ("sandbox_read", ["a", 5]),
        ("install", [None]),
        ("dev_plugins", {"a": "b"}),
        ("options", "a"),
        ("options", {"a": "b"}),
        ("options", {"a": {"secrets": "x"}}),
        ("options", {"a": {"secrets": {"KEY": 5}}}),
    ],
)
def test_a_wrong_type_is_left_to_the_check_that_names_it(key: str, value: Any) -> None:
    assert made(key, value) == value


def test_what_is_handed_in_stays_as_it_was() -> None:
    table = {"options": {"a": {"secrets": {"KEY": "x"}}}, "install": ["a"], "plugin_dir": "p"}
    absolute_paths(table, BASE)
    assert table == {
        "options": {"a": {"secrets": {"KEY": "x"}}},
        "install": ["a"],
        "plugin_dir": "p",
    }


def test_places_of_packages_are_absolute_and_addresses_stay(tmp_path: Path) -> None:
    tables: dict[str, dict[str, Any]] = {"./pkgs/": {}, "file:///srv": {}, "https://a.example/": {}}
    made = absolute_paths({"sources": tables}, tmp_path)["sources"]
    assert list(made) == [str(tmp_path / "pkgs"), "/srv", "https://a.example/"]
