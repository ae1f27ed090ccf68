"""Which platform a program is for, as its header says."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from vconnect.errors import InstallError
from vconnect.packages.manifest import Manifest
from vconnect.packages.platforms import (
    PLATFORMS,
    check_platform,
    fits,
    problem_of_platform,
    problem_of_program,
    read_program,
)
from vconnect.packages.source import platform_name


def elf(machine: int = 62, kind: int = 3, system: int = 0, order: str = "<") -> bytes:
    head = b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + b"\x01" + bytes([system])
    return head + bytes(8) + struct.pack(f"{order}HH", kind, machine) + bytes(44)


def mach(machine: int = 0x0100000C) -> bytes:
    return b"\xcf\xfa\xed\xfe" + struct.pack("<I", machine) + bytes(24)


def universal(*machines: int) -> bytes:
    entries = b"".join(struct.pack(">5I", one, 0, 0, 0, 0) for one in machines)
    return b"\xca\xfe\xba\xbe" + struct.pack(">I", len(machines)) + entries


@pytest.mark.parametrize(
    ("data", "words", "platforms"),
    [
        (elf(), "an ELF program for linux-amd64", ("linux-amd64",)),
        (elf(183, kind=2, system=3), "an ELF program for linux-arm64", ("linux-arm64",)),
        (elf(62, system=9), "an ELF program for freebsd-amd64", ("freebsd-amd64",)),
        (elf(22, order=">"), "an ELF program for linux-s390x", ("linux-s390x",)),
        (elf(21), "an ELF program for linux-ppc64le", ("linux-ppc64le",)),
        (elf(4711), "an ELF program for linux-machine 4711", ("linux-machine 4711",)),
        (mach(), "a Mach-O program for darwin-arm64", ("darwin-arm64",)),
        (
            universal(0x01000007, 0x0100000C),
            "a Mach-O program for darwin-amd64 and darwin-arm64",
            ("darwin-amd64", "darwin-arm64"),
        ),
        (b"#!/bin/sh\n", "a script", ()),
    ],
)
def test_programs(tmp_path: Path, data: bytes, words: str, platforms: tuple[str, ...]) -> None:
    (tmp_path / "program").write_bytes(data)
    program = read_program(tmp_path / "program")
    assert (program.words, program.platforms, program.is_known) == (words, platforms, True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        elf()[:18],
        elf(kind=1),
        mach()[:5],
        b"\xca\xfe\xba\xbe\0\0\0\x3d",  # a class of Java
        universal(7)[:10],
        b"MZ\x90",
        b"\0asm",
        b"print()",
    ],
)
def test_what_is_no_program(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "program").write_bytes(data)
    assert not read_program(tmp_path / "program").is_known
    assert "the platform is linux-amd64" in problem_of_program(tmp_path / "program", "linux-amd64")


@pytest.mark.parametrize(
    ("data", "platform", "words"),
    [
        (elf(), "linux-amd64", ""),
        (elf(), "linux-amd64-musl", ""),
        (b"#!/bin/sh\n", "linux-amd64", ""),
        (universal(7, 0x0100000C), "darwin-arm64", ""),
        (
            elf(183),
            "linux-amd64",
            "is an ELF program for linux-arm64, but the platform is linux-amd64; build it for "
            "linux-amd64, or pack it for linux-arm64",
        ),
        (
            mach(7),
            "darwin-arm64",
            "is a Mach-O program for darwin-386, but the platform is darwin-arm64; build it for "
            "darwin-arm64",
        ),
    ],
)
def test_a_program_and_a_platform(tmp_path: Path, data: bytes, platform: str, words: str) -> None:
    (tmp_path / "program").write_bytes(data)
    assert problem_of_program(tmp_path / "program", platform) == words


@pytest.mark.skipif(sys.platform != "linux", reason="Python may be universal elsewhere")
def test_this_python_is_for_this_machine() -> None:
    assert read_program(Path(sys.executable)).platforms == (platform_name(),)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_program(tmp_path / "pipe")


def test_known_platforms() -> None:
    for platform in PLATFORMS:
        check_platform(platform)
    for wrong in ("", "linux", "linux-x86_64", "windows-amd64", "linux-amd64/../x"):
        with pytest.raises(InstallError, match="expected one of linux-amd64, "):
            check_platform(wrong)


def test_the_c_library_does_not_count_here() -> None:
    assert fits("linux-amd64-musl", "linux-amd64")
    assert fits("linux-amd64", "linux-amd64-musl")
    assert fits("any", "x")
    assert not fits("linux-amd64", "linux-arm64")


def test_a_package_for_another_machine() -> None:
    here = platform_name()
    assert problem_of_platform(Manifest(name="x")) == ""
    assert problem_of_platform(Manifest(name="x", platform=here)) == ""
    assert problem_of_platform(Manifest(name="x", platform="plan9-vax")) == (
        f"it is for 'plan9-vax', this machine is {here}; get the package for {here}"
    )
