"""Tokens and logins: for which server, from where, and in no message."""

from __future__ import annotations

import base64
import logging
import os
from pathlib import Path

import pytest
from yarl import URL

from vconnect.errors import ConfigError
from vconnect.packages.fetching import credentials
from vconnect.packages.fetching.credentials import find_credentials, variable_of

SOURCE = URL("https://plugins.my-site.example/a.vp")
VARIABLE = "VCONNECT_TOKEN_PLUGINS_MY_SITE_EXAMPLE"
SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_told", set())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write_netrc(home: Path, text: str, mode: int = 0o600, name: str = ".netrc") -> Path:
    path = home / name
    path.write_text(text)
    path.chmod(mode)
    return path


def basic(login: str, password: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{login}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/a.vp", "EXAMPLE_COM"),
        ("https://EXAMPLE.com.:443/a.vp", "EXAMPLE_COM"),
        ("http://example.com:80/a.vp", "EXAMPLE_COM"),
        ("https://example.com:80/a.vp", "EXAMPLE_COM_80"),
        ("https://my-host.example.com:8443/a.vp", "MY_HOST_EXAMPLE_COM_8443"),
        ("http://127.0.0.1:8080/a.vp", "127_0_0_1_8080"),
        ("http://[::1]:8080/a.vp", "__1_8080"),
        ("https://größe.example/a.vp", "XN__GRE_6KA8I_EXAMPLE"),
    ],
)
def test_the_variable_of_a_server(url: str, name: str) -> None:
    assert variable_of(URL(url)) == f"VCONNECT_TOKEN_{name}"


def test_a_token_is_a_bearer(home: Path) -> None:
    write_netrc(home, "machine plugins.my-site.example login me password other")
    found = find_credentials(SOURCE, {VARIABLE: f" {SECRET}\n"})
    assert found.headers == {"Authorization": f"Bearer {SECRET}"}
    assert found.advice == f"check the token in {VARIABLE}, which it was sent"
    assert SECRET not in repr(found)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "größe", "nul\0", "bell\a"])
def test_a_token_that_is_none_is_refused_and_not_shown(home: Path, token: str) -> None:
    with pytest.raises(ValueError, match=VARIABLE) as caught:
        find_credentials(SOURCE, {VARIABLE: token})
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_sent"),
    [
        ("http://plugins.example/a.vp", False),
        ("http://10.0.0.1/a.vp", False),
        ("http://localhost.evil.example/a.vp", False),
        ("https://plugins.example/a.vp", True),
        ("http://localhost/a.vp", True),
        ("http://127.0.0.1/a.vp", True),
        ("http://[::1]/a.vp", True),
    ],
)
def test_only_where_nobody_can_read_it(home: Path, url: str, is_sent: bool) -> None:
    found = find_credentials(URL(url), {variable_of(URL(url)): SECRET})
    assert bool(found.headers) is is_sent
    assert ("without https" in found.advice) is not is_sent


def test_an_address_with_a_password_needs_no_other(home: Path) -> None:
    found = find_credentials(URL(f"https://me:{SECRET}@plugins.my-site.example/"), {VARIABLE: "x"})
    assert found.headers == {}  # aiohttp makes it from the address
    assert SECRET in found.secrets
    assert SECRET not in found.advice


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"machine plugins.my-site.example login me password {SECRET}", ("me", SECRET)),
        (f"machine PLUGINS.my-site.example\nlogin me\npassword {SECRET}\n", ("me", SECRET)),
        (f"machine x login a password b\nmachine {SOURCE.host} login me password {SECRET}",
         ("me", SECRET)),
        (f"machine {SOURCE.host} password {SECRET}", ("", SECRET)),
        (f"default login me password {SECRET}", None),
        (f"machine my-site.example login me password {SECRET}", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_login_of_the_netrc_file(home: Path, text: str, expected: tuple[str, str] | None) -> None:
    write_netrc(home, text)
    found = find_credentials(SOURCE, {})
    assert found.headers == (basic(*expected) if expected else {})
    if expected:
        assert (
            found.advice
            == f"check the login of {expected[0]!r} in {home}/.netrc, which it was sent"
        )
        assert set(found.secrets) >= {SECRET, found.headers["Authorization"].split()[1]}
    else:
        assert f"{VARIABLE} is not set, and {home}/.netrc has no login for" in found.advice


def test_another_file_by_a_variable(home: Path) -> None:
    write_netrc(home, "machine plugins.my-site.example login me password wrong")
    other = write_netrc(home, f"machine {SOURCE.host} login me password {SECRET}", name="other")
    assert find_credentials(SOURCE, {"NETRC": "~/other"}).headers == basic("me", SECRET)
    other.unlink()
    found = find_credentials(SOURCE, {"NETRC": "~/other"})
    assert found.headers == {}
    assert f"{home}/other does not exist" in found.advice


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_file_that_others_can_read_is_told_once_and_not_used(
    home: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path = write_netrc(home, f"machine {SOURCE.host} login me password {SECRET}", mode)
    with caplog.at_level(logging.WARNING):
        found = [find_credentials(SOURCE, {}) for _ in range(3)]
    assert [one.headers for one in found] == [{}] * 3
    words = f"others may read or change it (mode {mode:04o}); use: chmod 600 {path}"
    assert words in found[0].advice
    assert [record.getMessage() for record in caplog.records] == [
        f"~/.netrc is not used for downloads: {words}"
    ]
    assert SECRET not in caplog.text + found[0].advice
    path.chmod(0o600)
    assert find_credentials(SOURCE, {}).headers == basic("me", SECRET)


def test_a_file_of_another_user_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_netrc(home, f"machine {SOURCE.host} login me password {SECRET}")
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    found = find_credentials(SOURCE, {})
    assert found.headers == {}
    assert f"it belongs to user {me}, and this is user {me + 1}" in found.advice


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f"machine {SOURCE.host} login me password {SECRET} {SECRET}",
            "line 1 cannot be understood",
        ),
        (f"\n{SECRET}\n", "cannot be understood"),
        ("macdef x\n", "cannot be understood"),
        ("#" * (1 << 20) + "x", "and 1048576 are allowed"),
    ],
)
def test_what_cannot_be_read_is_not_repeated(home: Path, text: str, words: str) -> None:
    write_netrc(home, text)
    advice = find_credentials(SOURCE, {}).advice
    assert words in advice
    assert SECRET not in advice


def test_a_pipe_or_a_directory_is_no_such_file(home: Path) -> None:
    (home / ".netrc").mkdir()
    assert "not a regular file" in find_credentials(SOURCE, {}).advice
    (home / ".netrc").rmdir()
    os.mkfifo(home / ".netrc", 0o600)
    assert "not a regular file" in find_credentials(SOURCE, {}).advice


def test_without_a_file_or_a_home_there_is_advice(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    advice = find_credentials(SOURCE, {}).advice
    assert advice == (
        f"it was sent no credentials: {VARIABLE} is not set, and {home}/.netrc does not exist; "
        f"to give a token, set {VARIABLE} in the environment of the host"
    )

    def homeless(_: str) -> Path:
        raise ConfigError("no home")

    monkeypatch.setattr(credentials, "expand_home", homeless)
    assert "there is no home directory" in find_credentials(SOURCE, {}).advice
    assert caplog.records == []


def test_a_server_that_is_called_default_does_not_get_the_default_entry(home: Path) -> None:
    write_netrc(home, f"default login me password {SECRET}")
    assert find_credentials(URL("https://default/a.vp"), {}).headers == {}
