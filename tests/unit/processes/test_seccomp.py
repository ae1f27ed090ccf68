"""The filter is run here by an interpreter of its own, for both architectures."""

from __future__ import annotations

import errno
import os
import re
import struct
from pathlib import Path

import pytest

from vconnect.processes import seccomp

ALLOWED, X86, ARM = 0x7FFF0000, 0xC000003E, 0xC00000B7
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
CLONE_NEWUSER, CLONE_NEWNET, CLONE_THREAD = 0x10000000, 0x40000000, 0x00010000


def run(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Return what a filter says of a call: 0 for yes, else the error."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", program))
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, operand)
            case 0x06:
                return 0 if operand == ALLOWED else operand & 0xFFFF
            case 0x15:
                at += if_true if value == operand else if_false
            case 0x35:
                at += if_true if value >= operand else if_false
            case 0x45:
                at += if_true if value & operand else if_false
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: request.param)
    return request.param


@pytest.fixture
def call(machine):
    program = seccomp.make_filter()
    column, architecture = (0, X86) if machine == "x86_64" else (1, ARM)
    numbers = {
        "clone": seccomp._CLONE,
        "clone3": seccomp._CLONE3,
        "ioctl": seccomp._IOCTL,
        "personality": seccomp._PERSONALITY,
        "socket": seccomp._SOCKET,
        "read": (0, 63),
        "execve": (59, 221),
        "futex": (202, 98),
        "seccomp": (277, 277),
        **seccomp._DENIED,
    }

    def call(name: str, *arguments: int) -> int:
        return run(program, architecture, numbers[name][column], *arguments)

    return call


def test_what_programs_need_is_allowed(call):
    assert [call(name) for name in ("read", "execve", "futex", "seccomp")] == [0] * 4


def test_each_on_the_list_is_denied(machine, call):
    column = 0 if machine == "x86_64" else 1
    names = [name for name, numbers in seccomp._DENIED.items() if numbers[column] is not None]
    assert len(names) > 50
    assert {call(name) for name in names} == {errno.EPERM}


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("clone", (CLONE_THREAD,), 0),
        ("clone", (CLONE_NEWUSER | 17,), errno.EPERM),
        ("clone", (CLONE_NEWNET,), errno.EPERM),
        ("clone3", (), errno.ENOSYS),
        ("ioctl", (0, 0x5413), 0),
        ("ioctl", (0, 0x5412), errno.EPERM),
        ("ioctl", (0, 0xFFFFFFFF00005412), errno.EPERM),  # the kernel looks at the lower half
        ("ioctl", (0, 0x541C), errno.EPERM),
        ("personality", (0xFFFFFFFF,), 0),
        ("personality", (0x40000,), errno.EPERM),
        ("socket", (1, 1), 0),
        ("socket", (10, 2), 0),
        ("socket", (38, 5), errno.EAFNOSUPPORT),
        ("socket", (40, 1), errno.EAFNOSUPPORT),
    ],
)
def test_some_uses_are_denied(call, name, arguments, error):
    assert call(name, *arguments) == error


def test_other_architectures_have_other_numbers(machine):
    program = seccomp.make_filter()
    assert run(program, 0x40000003, 3) == errno.ENOSYS  # read(2) of i386
    if machine == "x86_64":
        assert run(program, X86, 0x40000000) == errno.ENOSYS  # read(2) of x32


@pytest.mark.parametrize("machine", HEADERS, indirect=True)
def test_the_numbers_are_those_of_the_headers(machine):
    if not HEADERS[machine].exists():
        pytest.skip(f"{HEADERS[machine]} is not installed")
    text = HEADERS[machine].read_text()
    known = dict(re.findall(r"^#define __NR(?:3264)?_(\w+) (\d+)$", text, re.MULTILINE))
    column = 0 if machine == "x86_64" else 1
    numbers = {
        **seccomp._DENIED,
        "clone": seccomp._CLONE,
        "clone3": seccomp._CLONE3,
        "ioctl": seccomp._IOCTL,
        "personality": seccomp._PERSONALITY,
        "socket": seccomp._SOCKET,
    }
    # Newer headers lack calls that newer kernels lack.
    both = numbers.keys() & known.keys()
    assert len(both) > 50
    assert {name: numbers[name][column] for name in both} == {
        name: int(known[name]) for name in both
    }


def test_a_machine_without_a_list(monkeypatch):
    assert seccomp.obstacle_to_filter() == "" or "this machine is" in seccomp.obstacle_to_filter()
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert seccomp.obstacle_to_filter() == (
        "this machine is riscv64; the filter has the calls of x86_64 and aarch64"
    )


def test_it_can_be_read_from_a_descriptor(machine):
    with os.fdopen(seccomp.open_filter(), "rb") as file:
        assert file.read() == seccomp.make_filter()
