"""A source as an operator writes it: what it becomes, and what of it may be shown."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from vconnect.errors import InstallError
from vconnect.packages.source import FetchLimits, Source, parse_source, platform_name


@pytest.fixture(autouse=True)
def _a_machine_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("HOME", "/home/ada")


def refusal(text: str, *, insecure: bool = False) -> str:
    with pytest.raises(InstallError) as caught:
        parse_source(text, allow_insecure_http=insecure)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.vp", "a.vp"),
        ("/abs/a.vp", "/abs/a.vp"),
        ("~/a.vp", "/home/ada/a.vp"),
        ("file://a.vp", "a.vp"),
        ("file:///abs/a.vp", "/abs/a.vp"),
        ("FILE://a.vp", "a.vp"),
        ("file://~/a.vp", "/home/ada/a.vp"),
        ("a:b.vp", "a:b.vp"),
        ("a%20b?c#d.vp", "a%20b?c#d.vp"),
        ("plugin-${os}-${arch}.vp", "plugin-linux-amd64.vp"),
    ],
)
def test_a_local_source_is_a_path(text: str, path: str) -> None:
    source = parse_source(text)
    assert source.path == Path(path)
    assert not source.is_remote
    assert source.suffix == ".vp"


@pytest.mark.parametrize(
    "text",
    [
        "https://h/a.vp",
        "HTTPS://h/a.vp",
        "https://h:8443/a.vp?token=1#x",
        "https://h/dir%2Fa%2Evp",
        "http://localhost/a.vp",
        "http://127.0.0.1:80/a.vp",
        "http://[::1]/a.vp",
    ],
)
def test_a_remote_source_is_an_address(text: str) -> None:
    source = parse_source(text)
    assert (source.text, source.path, source.suffix) == (text, None, ".vp")
    assert source.is_remote


@pytest.mark.parametrize("text", ["a.VP", "https://h/a.Vp", "a.wkp", "b.tar.vp"])
def test_extensions_in_any_case(text: str) -> None:
    assert parse_source(text).suffix in (".vp", ".wkp")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "./plugin",
        ".vp",
        "./a.vp.zip",
        "dir.vp/plugin",
        "https://h/",
        "https://h/get?file=a.vp",
        "https://h/a.zip#a.vp",
        "https://a.vp",
        "file://",
    ],
)
def test_what_has_no_packages_extension(text: str) -> None:
    assert "is not a package's extension" in refusal(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://h/a.vp", "ftp:// is not supported"),
        ("data://h/a.vp", "data:// is not supported"),
        ("://h/a.vp", "is not supported"),
        ("https:///a.vp", "no host"),
        ("https://:443/a.vp", "no host"),
        ("https://h:port/a.vp", "not a valid address"),
        ("https://h:65536/a.vp", "not a valid address"),
        ("https://[::1/a.vp", "not a valid address"),
        ("http://example.com/a.vp", "allow_insecure_http"),
        ("http://localhost.example.com/a.vp", "allow_insecure_http"),
        ("http://127.0.0.1.nip.io/a.vp", "allow_insecure_http"),
        ("http://2130706433/a.vp", "allow_insecure_http"),
        ("http://localhost@example.com/a.vp", "allow_insecure_http"),
    ],
)
def test_addresses_that_are_refused(text: str, words: str) -> None:
    assert words in refusal(text)


def test_plain_http_may_be_allowed() -> None:
    assert parse_source("http://example.com/a.vp", allow_insecure_http=True).is_remote
    assert "ftp://" in refusal("ftp://example.com/a.vp", insecure=True)


@pytest.mark.parametrize(
    "text", ["https://me:hunter2@h/a.vp?token=hunter2#hunter2", "https://hunter2@h/a.vp"]
)
def test_what_is_shown_has_no_credentials(text: str) -> None:
    source = parse_source(text)
    assert source.shown == "https://h/a.vp"
    assert source.text == text


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@h/a.zip?token=hunter2",
        "http://me:hunter2@example.com/a.vp?token=hunter2",
        "ftp://me:hunter2@h/a.vp",
        "https://me:hunter2@/a.vp",
        "https://me:hunter2@h/${x}.vp?token=hunter2",
        "https://me:hunter2@h:99999/a.vp",
        "https://me:hunter2@[::1/a.vp",
        "https://me:hunter2@h\u2100/a.vp",
    ],
)
def test_a_refusal_shows_no_credentials(text: str) -> None:
    assert "hunter2" not in refusal(text)


def test_a_home_that_is_not_known_is_an_error_in_words() -> None:
    assert "use an absolute path" in refusal("~nobody-of-this-name/a.vp")


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("linux", "AARCH64", "linux-arm64"),
        ("darwin", "arm64", "darwin-arm64"),
        ("win32", "AMD64", "windows-amd64"),
    ],
)
def test_placeholders_name_the_machine_in_every_kind_of_source(
    system: str, machine: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for prefix in ("", "file://", "https://h/"):
        text = prefix + "p-${os}-${arch}.vp"
        assert parse_source(text).text == f"{prefix}p-{name}.vp"


@pytest.mark.parametrize("text", ["${user}.vp", "${OS}.vp", "a${os", "${}.vp", "https://${host}/a"])
def test_unknown_placeholders(text: str) -> None:
    assert "known: ${os}, ${arch}" in refusal(text)


@pytest.mark.parametrize("text", ["$os.vp", "{os}.vp", "$$.vp", "os}.vp"])
def test_what_only_looks_like_a_placeholder(text: str) -> None:
    assert parse_source(text).text == text


def test_a_machine_without_a_name_is_told_where_it_matters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert parse_source("a.vp").text == "a.vp"
    assert "for 'riscv64' (known: amd64, arm64)" in refusal("a-${arch}.vp")


def test_a_source_may_be_a_key() -> None:
    assert len({parse_source("a.vp"), parse_source("a.vp"), parse_source("b.vp")}) == 2
    with pytest.raises(AttributeError):
        parse_source("a.vp").text = "b.vp"
    assert isinstance(parse_source("a.vp"), Source)


def test_a_download_is_bounded_by_default() -> None:
    limits = FetchLimits()
    assert 0 < limits.connect_timeout <= limits.idle_timeout <= limits.total_timeout
    assert limits.retries * limits.retry_delay < limits.total_timeout


def test_a_digest_at_the_end_is_not_a_part_of_the_source():
    pinned = parse_source(f"https://example.com/x.vp?a=b#sha256={'AB' * 32}")
    assert (pinned.text, pinned.sha256) == ("https://example.com/x.vp?a=b", "ab" * 32)
    assert pinned.entry == f"{pinned.text}#sha256={'ab' * 32}"
    plain = parse_source("./x.vp")
    assert (plain.sha256, plain.entry) == ("", "./x.vp")


@pytest.mark.parametrize("digest", ["", "12", "g" * 64, "a" * 65])
def test_what_is_no_digest_is_refused(digest):
    with pytest.raises(InstallError, match="expected 64 hex digits"):
        parse_source(f"/x.vp#sha256={digest}")


def test_a_platform_has_the_name_that_packages_use():
    assert platform_name().count("-") == 1


DIGEST = "0123456789abcdef" * 4


def test_a_package_that_was_sent_is_named_by_its_digest() -> None:
    sent = Path("/plugins/.vconnect/blobs")
    for text in (f"sha256:{DIGEST.upper()}", f"sha256:{DIGEST}#sha256={DIGEST}"):
        source = parse_source(text, sent=sent)
        assert source.path == sent / DIGEST
        assert source.sha256 == DIGEST
        # Nothing of the host's directories is told or decides about signatures.
        assert source.shown == source.origin == source.place == f"sha256:{DIGEST}"
        assert source.is_sent
        assert not source.is_remote


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sha256:../x", "expected 64 hex digits behind sha256:"),
        (f"sha256:{DIGEST}0", "expected 64 hex digits"),
        (f"sha256:{DIGEST}#sha256={'0' * 64}", "has another digest than #sha256=000"),
    ],
)
def test_what_is_no_digest_of_a_sent_package_is_refused(text: str, words: str) -> None:
    with pytest.raises(InstallError, match=words):
        parse_source(text, sent=Path("/plugins"))


def test_without_a_host_nothing_was_sent() -> None:
    assert "only packages that were sent to a host" in refusal(f"sha256:{DIGEST}")
