"""Sources: placeholders, schemes, extensions, and the checks of every hop."""

import platform
import sys
from pathlib import Path

import pytest

from vconnect.errors import InstallError
from vconnect.packages.fetch import fetch
from vconnect.packages.fetching.addresses import Reach, reach_of
from vconnect.packages.fetching.hops import check_redirect
from vconnect.packages.source import (
    Fetched,
    check_scheme,
    expand_source,
    parse_source,
    shown_source,
)


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("linux", "x86_64", "linux-amd64"),
        ("linux", "aarch64", "linux-arm64"),
        ("darwin", "arm64", "darwin-arm64"),
        ("win32", "AMD64", "windows-amd64"),
    ],
)
def test_placeholders(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for prefix in ("", "file://", "https://h/"):
        assert expand_source(prefix + "p-${os}-${arch}.vp") == f"{prefix}p-{expected}.vp"


@pytest.mark.parametrize("source", ["${user}.vp", "${OS}.vp", "${}.vp", "a${os", "${os${arch}}"])
def test_unknown_placeholders(source: str) -> None:
    with pytest.raises(InstallError, match="unknown placeholder"):
        expand_source(source)


def test_a_machine_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert expand_source("$x-{y}.vp") == "$x-{y}.vp"
    with pytest.raises(InstallError, match=r"riscv64.*amd64, arm64"):
        expand_source("${arch}.vp")


@pytest.mark.parametrize(
    ("url", "allowed", "words"),
    [
        ("http://example.com/a.vp", False, "allow_insecure_http"),
        ("http://localhost.example.com/a.vp", False, "allow_insecure_http"),
        ("http://169.254.169.254/a.vp", False, "allow_insecure_http"),
        ("ftp://example.com/a.vp", True, "ftp:// is not supported"),
        ("https:///a.vp", True, "no host"),
        ("http://[::1/a.vp", True, "not a valid address"),
        ("https://h:99999/a.vp", True, "not a valid address"),
    ],
)
def test_refused_schemes(url: str, allowed: bool, words: str) -> None:
    with pytest.raises(InstallError, match=words):
        check_scheme(url, allowed)


def test_accepted_schemes() -> None:
    check_scheme("https://example.com/a.vp", False)
    check_scheme("http://example.com/a.vp", True)
    for host in ("localhost", "127.0.0.1", "127.9.9.9", "[::1]"):
        check_scheme(f"http://{host}:80/a.vp", False)


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("127.0.0.1", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("169.254.169.254", Reach.FORBIDDEN),
        ("::ffff:169.254.169.254", Reach.FORBIDDEN),
        ("fe80::1%eth0", Reach.FORBIDDEN),
        ("0.0.0.0", Reach.FORBIDDEN),
        ("::", Reach.FORBIDDEN),
        ("224.0.0.1", Reach.FORBIDDEN),
        ("10.1.2.3", Reach.PRIVATE),
        ("192.168.0.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("93.184.216.34", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
    ],
)
def test_reach(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


@pytest.mark.parametrize(
    ("scheme", "target", "words"),
    [
        ("https", "http://example.com/a", "from https to http"),
        ("https", "http://127.0.0.1/a", "from https to http"),
        ("https", "file:///etc/passwd", "file: address"),
        ("http", "ftp://h/a", "ftp: address"),
        ("http", "http://example.com/a", "allow_insecure_http"),
    ],
)
def test_refused_redirects(scheme: str, target: str, words: str) -> None:
    with pytest.raises(InstallError, match=words):
        check_redirect("https://first/a.vp", scheme, target, False)


def test_credentials_are_not_shown() -> None:
    assert shown_source("https://me:secret@h:1/a.vp?token=secret#x") == "https://h:1/a.vp"
    for mark in "/?#":
        text = f"http://me:sec{mark}ret@h:1/a.vp?token=secret"
        assert shown_source(text) == "http://***@h:1/a.vp"
        with pytest.raises(InstallError, match=r"^http://\*\*\*@h:1/a.vp: not a valid address$"):
            check_scheme(text, True)
    assert shown_source("https://me:12/secret@h/a.vp") == "https://***@h/a.vp"
    assert shown_source("https://h/pkg@1.2/a.vp") == "https://h/pkg@1.2/a.vp"
    assert shown_source("https:/me:secret@h/a.vp") == "https:/h/a.vp"
    assert shown_source("file://a.vp") == "file://a.vp"
    with pytest.raises(InstallError, match=r"^https:/h/a.vp: expected two slashes, https://$"):
        parse_source("https:/me:secret@h/a.vp")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("./plugin.zip", "'.zip' is not a package's extension"),
        ("file://plugin", "'no extension'"),
        ("https://h/download?file=a.vp", "extension"),
        ("none.vp", "no such file"),
        ("file://none.vp", "no such file"),
        ("file:///no%20ne.vp", "no such file .looked for /no ne.vp"),
        ("file:///a%00.vp", "NUL"),
        ("file:///a%2Evp%2Fx", "extension"),
    ],
)
async def test_refused_sources(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(InstallError, match=words):
        await fetch(parse_source(source), tmp_path, max_bytes=1)


async def test_local_packages_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    package = tmp_path / "A.VP"
    package.touch()
    for source in (
        "A.VP",
        "file://A.VP",
        "File://A.VP",
        f"file://{package}",
        str(package),
        "~/A.VP",
    ):
        found = await fetch(parse_source(source), tmp_path, max_bytes=1)
        assert found.path.samefile(package)
    spaced = tmp_path / "my größe 1.vp"
    spaced.touch()
    for source in (
        spaced.as_uri(),
        f"file:{spaced}",
        f"file://localhost{spaced}",
        f"file://{spaced}",
    ):
        assert await fetch(parse_source(source), tmp_path, max_bytes=1) == Fetched(spaced)
    # The literal name comes first, and outside of URIs nothing is decoded.
    literal = tmp_path / "my%20gr%C3%B6%C3%9Fe%201.vp"
    with pytest.raises(InstallError, match="no such file"):
        await fetch(parse_source(str(literal)), tmp_path, max_bytes=1)
    literal.touch()
    found = await fetch(parse_source(spaced.as_uri()), tmp_path, max_bytes=1)
    assert found == Fetched(literal)
    (tmp_path / "dir.vp").mkdir()
    with pytest.raises(InstallError, match="not a regular file"):
        await fetch(parse_source("dir.vp"), tmp_path, max_bytes=1)
