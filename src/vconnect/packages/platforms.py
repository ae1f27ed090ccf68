"""The platforms that packages are made for, and which of them a program's header names."""

# A program for another machine fails only when it is started, with an errno that says little. Its
# header tells beforehand.

from __future__ import annotations

import os
import struct
from pathlib import Path

import msgspec

from vconnect.durable import open_regular
from vconnect.errors import InstallError

from .manifest import Manifest
from .source import platform_name

ANY = "any"
_MUSL = "-musl"
PLATFORMS = (
    *("linux-amd64", "linux-arm64", "linux-amd64-musl", "linux-arm64-musl"),
    *("darwin-amd64", "darwin-arm64"),
)
"""What ``vconnect pack --platform`` makes packages for."""

# Enough for both headers, and for the list of a universal program of macOS.
_HEAD_BYTES = 4096
_ELF_SYSTEMS = {2: "netbsd", 9: "freebsd", 12: "openbsd"}
_ELF_MACHINES = {3: "386", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}
_ELF_MACHINES |= {21: "ppc64", 22: "s390x", 258: "loong64"}
_ELF_PROGRAMS = (2, 3)  # ET_EXEC and ET_DYN; others are objects and core dumps
_MACH_MACHINES = {7: "386", 0x01000007: "amd64", 12: "arm", 0x0100000C: "arm64"}
_MACH_ORDERS = {
    b"\xcf\xfa\xed\xfe": "<",
    b"\xce\xfa\xed\xfe": "<",
    b"\xfe\xed\xfa\xcf": ">",
    b"\xfe\xed\xfa\xce": ">",
}
# A universal program: how long each entry of its list is. A class of Java begins with the same
# bytes, followed by a version that is higher than any number of architectures.
_UNIVERSAL = {b"\xca\xfe\xba\xbe": 20, b"\xca\xfe\xba\xbf": 32}
_MAX_ARCHITECTURES = 30


class Program(msgspec.Struct, frozen=True):
    """What the first bytes of a program say.

    Attributes:
        words: What it is, such as ``an ELF program for linux-amd64``.
        platforms: The platforms that it runs on; empty for one that is of none, such as a script.
        is_known: Whether it is of a format that is started here at all.
    """

    words: str
    platforms: tuple[str, ...] = ()
    is_known: bool = True


def check_platform(platform: str) -> None:
    """Refuse a platform that no package can be made for.

    Raises:
        InstallError: It is not one of `PLATFORMS`.
    """
    if platform not in PLATFORMS:
        raise InstallError(f"platform {platform!r}: expected one of {', '.join(PLATFORMS)}")


def fits(platform: str, here: str) -> bool:
    """Return whether what is made for a platform runs on another one.

    Which C library there is counts for whoever chooses a package; it does not show in a header.

    >>> fits("linux-amd64-musl", "linux-amd64"), fits("darwin-arm64", "linux-arm64"), fits("", "x")
    (True, False, True)
    """
    return platform in ("", ANY) or platform.removesuffix(_MUSL) == here.removesuffix(_MUSL)


def problem_of_platform(manifest: Manifest) -> str:
    """Return why a package is not for this machine, or an empty text."""
    if fits(manifest.platform, here := platform_name()):
        return ""
    return f"it is for {manifest.platform!a}, this machine is {here}; get the package for {here}"


def problem_of_program(file: Path, platform: str) -> str:
    """Return why a program is not one for a platform, or an empty text. Blocks.

    Raises:
        OSError: It cannot be read.
    """
    program = read_program(file)
    if program.is_known and (
        not program.platforms or any(fits(platform, one) for one in program.platforms)
    ):
        return ""
    remedy = f"build it for {platform}"
    if len(program.platforms) == 1 and program.platforms[0] in PLATFORMS:
        remedy += f", or pack it for {program.platforms[0]}"
    return f"is {program.words}, but the platform is {platform}; {remedy}"


def problem_of_machine(file: Path) -> str:
    """Return why a program cannot run on this machine, or an empty text. Blocks.

    What cannot be read, or is of no known format, is left to the kernel.
    """
    try:
        platforms = read_program(file).platforms
    except (OSError, InstallError):
        return ""
    here = platform_name()
    if not platforms or any(fits(here, one) for one in platforms):
        return ""
    return f"{file} is for {platforms[0]}, this machine is {here}; install the package for {here}"


def read_program(file: Path) -> Program:
    """Read what a program is from its first bytes. Blocks.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    with open_regular(file) as opened:
        head = os.read(opened.fileno(), _HEAD_BYTES)
    try:
        return _parse(head)
    except struct.error:
        return Program("a program whose header is cut off", is_known=False)


def _parse(head: bytes) -> Program:
    if head.startswith(b"#!"):
        return Program("a script")
    if head.startswith(b"\x7fELF"):
        return _parse_elf(head)
    if order := _MACH_ORDERS.get(head[:4]):
        (machine,) = struct.unpack_from(f"{order}I", head, 4)
        return _of_macos([machine])
    if size := _UNIVERSAL.get(head[:4]):
        (count,) = struct.unpack_from(">I", head, 4)
        if 0 < count <= _MAX_ARCHITECTURES:
            return _of_macos(
                [struct.unpack_from(">I", head, 8 + size * index)[0] for index in range(count)]
            )
    if head.startswith(b"MZ"):
        return Program("a program for Windows", is_known=False)
    return Program("neither an ELF or Mach-O program nor a script", is_known=False)


def _parse_elf(head: bytes) -> Program:
    order = ">" if head[5:6] == b"\2" else "<"
    kind, machine = struct.unpack_from(f"{order}HH", head, 16)
    if kind not in _ELF_PROGRAMS:
        return Program("an ELF file that is no program", is_known=False)
    system = _ELF_SYSTEMS.get(head[7], "linux")
    platform = f"{system}-{_ELF_MACHINES.get(machine, f'machine {machine}')}"
    if machine == 21 and order == "<":
        platform += "le"
    return Program(f"an ELF program for {platform}", (platform,))


def _of_macos(machines: list[int]) -> Program:
    platforms = [f"darwin-{_MACH_MACHINES.get(one, f'machine {one}')}" for one in machines]
    return Program(f"a Mach-O program for {' and '.join(platforms)}", tuple(platforms))
