"""All that is wrong with a package, and nothing of it is left."""

from __future__ import annotations

import gzip
import shutil
import struct
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from tests.support.package_kit import (
    SCRIPT,
    file,
    good_members,
    manifest_bytes,
    package_bytes,
    write_package,
)

from vconnect.checks.package import check_package, problem_of_interpreter
from vconnect.checks.report import Subject


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield
    assert list(scratch.iterdir()) == []


def faults(package: Path) -> list[str]:
    report = check_package(package)
    assert (report.subject, report.is_unusable) == (Subject.PACKAGE, False)
    found = [one for one in report.findings if one.is_fault]
    assert report.faults == len(found)
    shown = [f"{one.place}: {one.message}" for one in found]
    return [one.removeprefix(f"{package}: ") for one in shown]


def made(tmp_path: Path, members: list[tuple]) -> Path:
    return write_package(tmp_path / "a.vp", members)


def test_a_good_one_says_what_it_asks_for(tmp_path: Path) -> None:
    package = write_package(tmp_path / "a.vp", permissions=["log"])
    report = check_package(package)
    assert report.faults == 0
    assert [one.message for one in report.findings] == [
        "example 0.1.0, for any platform",
        "permissions that it asks for: 'log'",
    ]


def test_another_name_is_worth_a_word(tmp_path: Path) -> None:
    package = write_package(tmp_path / "a.tar.gz")
    assert "must end in .vp or .wkp" in check_package(package).findings[0].message
    assert faults(package) == []


def test_all_that_is_wrong_with_it_at_once(tmp_path: Path) -> None:
    members = [
        file("plugin.json", manifest_bytes(capabilities=["a b"], platform="plan9-vax")),
        file("example", b"#!/bin/sh\r\n", 0o755),
        file("../up", b"x"),
        file("/etc/passwd", b"x"),
        file("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        file("Example", b"x"),
        file("pyproject.toml", b"[project]\nversion = '2'\n"),
    ]
    found = [one.partition(";")[0] for one in faults(made(tmp_path, members))]
    assert found == [
        "'../up': leads upward ('..')",
        "'/etc/passwd': is an absolute path",
        "'link': is a symbolic link",
        "'Example': differs from an earlier member only by case or Unicode form",
        "plugin.json: capabilities: got 'a b'",
        next(one for one in found if "it is for 'plan9-vax'" in one),
        "could not be started: the first line of example ends with a carriage return (CRLF), which "
        "would become part of the interpreter's name",
        "pyproject.toml: project.version: version is '2', and plugin.json has '0.1.0'",
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"PK\3\4", "is not gzip"),
        (gzip.compress(b"x" * 2000), "is not a tar archive, or is damaged"),
        (package_bytes(good_members())[:-30], "is truncated: "),
        (package_bytes([]), "no plugin.json; it must be at the root"),
        (package_bytes([file("plugin.json", b"{")]), "plugin.json:1:2: the JSON ends too early"),
        (package_bytes([file("plugin.json", manifest_bytes())]), "could not be started: "),
        (package_bytes(good_members(entry="bin/x")[:1]), "could not be started: bin/x does not"),
        (package_bytes(good_members(config_schema={"type": 5})), "plugin.json: config_schema.type"),
        (package_bytes(good_members(min_host_version="999")), "plugin.json: requires vconnect 999"),
        (
            package_bytes([*good_members()[:1], file("example", b"#!python\n", 0o755)]),
            "example: its first line names 'python'; expected an absolute path",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",  # bytes have the time in them
)
def test_one_fault(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.vp").write_bytes(data)
    found = faults(tmp_path / "a.vp")
    assert any(one.startswith(words) or words in one for one in found), found


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    program = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 22) + bytes(44)
    members = [*good_members()[:1], file("example", program, 0o755)]
    (found,) = faults(made(tmp_path, members))
    assert found.startswith("could not be started: example is for linux-s390x, this machine is ")


def test_a_package_in_a_directory(tmp_path: Path) -> None:
    assert faults(made(tmp_path, good_members("example-main/"))) == []


def test_no_more_than_a_hundred_members_are_named(tmp_path: Path) -> None:
    bad = [file(f"../{number}", b"x") for number in range(500)]
    found = faults(made(tmp_path, [*good_members(), *bad]))
    assert len(found) == 101
    assert "has more faults" in found[100]


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("huge")
    huge.size = 1 << 40
    (tmp_path / "a.vp").write_bytes(gzip.compress(huge.tobuf() + bytes(10_000)))
    assert "which is the limit" in faults(tmp_path / "a.vp")[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (sys.executable, ""),
        (" /bin/sh -e", ""),
        ("/usr/bin/env sh", ""),
        ("/usr/bin/env -S A=1 sh -e", ""),
        ("", "expected an absolute path"),
        ("python3", "expected an absolute path"),
        ("/opt/none/python3", "which this machine does not have"),
        ("/usr/bin/env none-such", "'none-such', which is not on the PATH"),
    ],
)
def test_interpreters(line: str, words: str) -> None:
    if line.startswith("/usr/bin/env") and shutil.which("/usr/bin/env") is None:
        pytest.skip("needs env")
    problem = problem_of_interpreter(line)
    assert words in problem
    assert bool(problem) == bool(words)


def test_nothing_is_run(tmp_path: Path) -> None:
    script = SCRIPT.replace(b"exit 0", b"touch " + bytes(tmp_path / "ran"))
    members = [*good_members()[:1], file("example", script, 0o755)]
    assert faults(made(tmp_path, members)) == []
    assert not (tmp_path / "ran").exists()
