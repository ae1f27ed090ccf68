"""Which package was meant is written down once, and another one of its version is noticed."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vconnect.errors import ConfigError, VerificationError
from vconnect.store.lock_file import Locked, LockedFile, LockFile

A, B = "a" * 64, "b" * 64
LINUX, MAC = "linux-amd64", "darwin-arm64"
THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def entry(
    name: str = "example", version: str = "1.0", sha256: str = A, platform: str = LINUX
) -> Locked:
    return Locked(
        name=name,
        version=version,
        requested="https://example.com/x.vp",
        tree=f"sha256:{B}",
        permissions=("log",),
        locked=THEN,
        files={platform: LockedFile(sha256=sha256, size=7)},
    )


@pytest.fixture
def file(tmp_path: Path) -> LockFile:
    return LockFile(tmp_path / "vconnect.lock")


def test_what_is_locked_is_read_again(file: LockFile) -> None:
    assert file.entries() == {}
    file.put(entry("b"))
    file.put(entry("a"))
    assert file.entries() == {"a": entry("a"), "b": entry("b")}
    text = file.path.read_text()
    assert text.index('name = "a"') < text.index('name = "b"')
    assert tomllib.loads(text)["plugin"][0]["locked"] == THEN
    file.remove("a")
    assert list(file.entries()) == ["b"]


def test_another_package_of_the_same_version_is_refused(file: LockFile) -> None:
    file.put(entry())
    file.check("example", "1.0", A, LINUX)
    with pytest.raises(VerificationError) as caught:
        file.check("example", "1.0", B, LINUX)
    assert A in str(caught.value)
    assert B in str(caught.value)
    # First use: of another version, of another platform, of another plugin.
    file.check("example", "1.1", B, LINUX)
    file.check("example", "1.0", B, MAC)
    file.check("other", "1.0", B, LINUX)


@pytest.mark.parametrize(
    ("name", "version", "sha256", "platform", "words"),
    [
        ("other", "1.0", A, LINUX, "other 1.0 is not in"),
        ("example", "1.0", A, MAC, "is not in .* for darwin-arm64"),
        ("example", "1.1", A, LINUX, "is locked at 1.0 .* this is 1.1"),
        ("example", "1.0", B, LINUX, "was changed at its source"),
    ],
)
def test_frozen_means_exactly_this(
    file: LockFile, name: str, version: str, sha256: str, platform: str, words: str
) -> None:
    file.put(entry())
    file.check_frozen("example", "1.0", A, LINUX)
    with pytest.raises(VerificationError, match=words):
        file.check_frozen(name, version, sha256, platform)


def test_a_file_for_any_platform_is_one_for_each(file: LockFile) -> None:
    file.put(entry(platform="any"))
    for platform in (LINUX, MAC, "any"):
        file.check("example", "1.0", A, platform)
        file.check_frozen("example", "1.0", A, platform)
        with pytest.raises(VerificationError):
            file.check("example", "1.0", B, platform)


def test_platforms_of_a_version_come_together(file: LockFile) -> None:
    file.put(entry())
    file.put(entry(sha256=B, platform=MAC))
    assert set(file.entries()["example"].files) == {LINUX, MAC}
    file.put(entry(version="2.0", sha256=B))
    assert set(file.entries()["example"].files) == {LINUX}


def test_nothing_is_written_for_nothing(file: LockFile) -> None:
    file.put(entry())
    before = file.path.stat().st_mtime_ns, file.path.stat().st_ino
    file.put(entry())
    file.remove("nobody")
    assert (file.path.stat().st_mtime_ns, file.path.stat().st_ino) == before


def test_what_a_newer_one_has_written_is_kept(file: LockFile) -> None:
    file.path.write_text(
        'format = 1\nnote = "x"\n\n[[plugin]]\nname = "b"\nversion = "1"\nnew = { k = [1, 2] }\n\n'
        f'[plugin.files]\n{LINUX} = {{ sha256 = "{A}", url = "b.vp" }}\n'
    )
    file.put(entry("a"))
    kept = tomllib.loads(file.path.read_text())
    assert kept["note"] == "x"
    assert kept["plugin"][1]["new"] == {"k": [1, 2]}
    assert kept["plugin"][1]["files"][LINUX]["url"] == "b.vp"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("format = 2\n", "format is 2; this vconnect supports at most 1"),
        ("x = 1\n", "format is missing"),
        ("format = 1\n[[plugin]\n", r"not a valid lock file: .*line 2"),
        ("format = 1\n[[plugin]]\nversion = '1'\n", "name"),
        (
            "format = 1\n" + "[[plugin]]\nname = 'a'\nversion = '1'\n" * 2,
            "there are two tables of 'a'",
        ),
        (
            "format = 1\n[[plugin]]\nname = 'a'\nversion = '1'\nfiles = {x = {sha256 = 'ab'}}\n",
            "sha256 is 'ab'; expected 64 hex digits",
        ),
    ],
    ids=["newer", "no-format", "cut", "nameless", "twice", "digest"],
)
def test_what_is_wrong_is_said_and_left_as_it_is(file: LockFile, text: str, words: str) -> None:
    file.path.write_text(text)
    for use in (file.entries, lambda: file.put(entry()), lambda: file.remove("a")):
        with pytest.raises(ConfigError, match=words):
            use()
    assert file.path.read_text() == text


def test_text_is_written_as_toml_reads_it(file: LockFile) -> None:
    odd = 'a"b\\c\x7f\n\u202e漢'
    file.put(entry(version=odd, name="x"))
    assert file.entries()["x"].version == odd


def test_cut_anywhere_it_is_refused_or_whole(file: LockFile) -> None:
    file.put(entry())
    whole = file.path.read_bytes()
    for end in range(len(whole)):
        file.path.write_bytes(whole[:end])
        try:
            entries = file.entries()
        except ConfigError:
            continue
        assert set(entries) <= {"example"}
