"""Packages made to do harm: each is refused by name, leaves nothing, and costs little memory.

One child process unpacks them all, so that its highest memory mark is theirs alone.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.package_kit import (
    SCRIPT,
    directory,
    file,
    good_members,
    manifest_bytes,
    package_bytes,
    tar_bytes,
)

from vconnect.errors import InstallError
from vconnect.packages.archive import unpack

MAX_GROWTH_KIB = 16 * 1024

CHILD = r"""
import json, os, resource, sys
from pathlib import Path
from vconnect.errors import InstallError
from vconnect.packages.archive import unpack

def peak_kib():
    # Linux hands the parent's peak down in getrusage; this one is the process's own.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak

root = Path(sys.argv[1])
unpack(root / "good" / "good.vp", root / "warm")
seen = {}
for archive in sorted((root / "bad").iterdir()):
    before = peak_kib()
    try:
        unpack(archive, root / "out")
        message = ""
    except InstallError as error:
        message = str(error)
    entries = sorted(path.name for path in root.iterdir())
    seen[archive.stem] = [message, peak_kib() - before, entries]
json.dump(seen, sys.stdout)
"""


def raw_header(name: str, kind: bytes, size: int, mode: int = 0o644) -> bytes:
    """A ustar header that may lie."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    head = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    field = b"\x80" + size.to_bytes(11, "big") if size >= 8**11 else b"%011o\0" % size
    head[124:136] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def deflated(parts: Iterator[bytes] | list[bytes]) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(packer.compress(part) for part in parts) + packer.flush()


def zeros(size: int) -> Iterator[bytes]:
    chunk = bytes(1 << 20)
    for _ in range(size >> 20):
        yield chunk


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return raw_header("pax", kind, len(records)) + padded(records)


def with_extra(*members: tuple) -> bytes:
    return package_bytes([*good_members(), *members])


def raw(*parts: bytes) -> bytes:
    """Good members, then raw blocks, then the end mark."""
    good = tar_bytes(good_members()).rstrip(b"\0")
    return gzip.compress(padded(good) + b"".join(parts) + bytes(1024), 1)


def many_files(count: int, name: str) -> Iterator[bytes]:
    for number in range(count):
        yield raw_header(name % number, b"0", 0)


GOOD = package_bytes(good_members())
NOISE = random.Random(1).randbytes(100_000)
LARGE = package_bytes([*good_members(), file("noise", NOISE)])
GIB = 1 << 30

BAD: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    # name: (bytes or a function that makes them, words of the refusal)
    "upward": (with_extra(file("../evil")), "leads upward"),
    "upward_inside": (with_extra(file("a/../../evil")), "leads upward"),
    "upward_pax": (raw(pax(b"16 path=../evil\n"), raw_header("fine", b"0", 0)), "leads upward"),
    "absolute": (with_extra(file("/tmp/evil")), "absolute"),
    "symlink": (with_extra(file("l", type=tarfile.SYMTYPE, linkname="/etc")), "symbolic link"),
    "symlink_then_file": (
        with_extra(file("l", type=tarfile.SYMTYPE, linkname=".."), file("l/evil")),
        "symbolic link",
    ),
    "hard_link": (
        with_extra(file("h", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
        "hard link",
    ),
    "character_device": (with_extra(file("c", type=tarfile.CHRTYPE)), "character device"),
    "block_device": (with_extra(file("b", type=tarfile.BLKTYPE)), "block device"),
    "fifo": (with_extra(file("f", type=tarfile.FIFOTYPE)), "fifo"),
    "sparse_gnu": (with_extra(file("s", type=tarfile.GNUTYPE_SPARSE)), "sparse"),
    "sparse_pax": (
        raw(pax(b"22 GNU.sparse.major=1\n"), raw_header("s", b"0", 0)),
        "sparse",
    ),
    "duplicate": (with_extra(file("a", b"1"), file("a", b"2")), "twice"),
    "duplicate_manifest": (with_extra(file("plugin.json", manifest_bytes(name="x"))), "twice"),
    "duplicate_case": (with_extra(file("Example", SCRIPT, 0o755)), "case or Unicode"),
    "duplicate_unicode": (with_extra(file("\u00e9"), file("e\u0301")), "case or Unicode"),
    "duplicate_directory": (with_extra(directory("d/"), directory("D/")), "case or Unicode"),
    "file_as_directory": (with_extra(file("example/x")), "twice"),
    "size_bomb_announced": (
        lambda: deflated([raw_header("bomb", b"0", GIB), *zeros(16 << 20)]),
        "more than 536870912 bytes",
    ),
    "size_bomb_huge_number": (raw(raw_header("bomb", b"0", 8**12)), "more than 536870912 bytes"),
    "size_bomb_negative": (
        raw(raw_header("bomb", b"0", 0).replace(b"00000000000\0", b"-0000000001\0", 1)),
        "checksum",
    ),
    "size_bomb_pax": (
        raw(pax(b"20 size=9999999999\n"), raw_header("bomb", b"0", 1)),
        "pax header is damaged",
    ),
    "size_bomb_pax_true": (
        raw(pax(b"19 size=9999999999\n"), raw_header("bomb", b"0", 1)),
        "more than 536870912 bytes",
    ),
    "zeros_after_the_end": (
        lambda: deflated([tar_bytes(good_members()), *zeros(576 << 20)]),
        "more than 536870912 bytes",
    ),
    "count_bomb_of_long_names": (
        lambda: deflated(many_files(33_000, "d/%06d" + "n" * 90)),
        "one member too many",
    ),
    "pax_header_of_a_gib": (
        lambda: deflated([raw_header("pax", b"x", GIB), b"1073741824 path=", *zeros(200 << 20)]),
        "bytes",
    ),
    "pax_header_too_large": (
        lambda: deflated([raw_header("pax", b"x", 65 * 1024), bytes(65 * 1024)]),
        "the limit is 65536",
    ),
    "global_header_too_large": (
        lambda: deflated([raw_header("pax", b"g", 100 << 20), *zeros(100 << 20)]),
        "the limit is 65536",
    ),
    "long_name_of_100_mib": (
        lambda: deflated([raw_header("././@LongLink", b"L", 100 << 20), *zeros(100 << 20)]),
        "the limit is 65536",
    ),
    "long_link_of_100_mib": (
        lambda: deflated([raw_header("././@LongLink", b"K", 100 << 20), *zeros(100 << 20)]),
        "the limit is 65536",
    ),
    "long_name_of_60_kib": (
        raw(raw_header("l", b"L", 60_000), padded(b"n" * 60_000), raw_header("x", b"0", 0)),
        "more than 512 bytes",
    ),
    "many_pax_records": (
        raw(pax(b"5 a=\n" * 13_000), raw_header("x", b"0", 0)),
        "256 records",
    ),
    "many_extended_headers": (
        raw(pax(b"5 a=\n") * 5_000, raw_header("x", b"0", 0)),
        "8 extended headers in a row",
    ),
    "global_path": (raw(pax(b"12 path=abc\n", b"g"), raw_header("x", b"0", 0)), "every member"),
    "damaged_pax": (raw(pax(b"99 path=abc\n"), raw_header("x", b"0", 0)), "pax header is damaged"),
    "empty_pax_record": (raw(pax(b"0 path=abc\n"), raw_header("x", b"0", 0)), "is damaged"),
    "name_not_utf8": (
        raw(pax(b"11 path=\xff\xfe\n"), raw_header("x", b"0", 0)),
        "not UTF-8",
    ),
    "unknown_kind": (raw(raw_header("x", b"Q", 0)), "unknown type"),
    "directory_with_contents": (raw(raw_header("x/", b"5", 9), bytes(512)), "contents"),
    "bad_checksum": (raw(b"x" * 512), "checksum"),
    "truncated_by_a_byte": (GOOD[:-1], "is truncated"),
    "truncated_in_the_middle": (LARGE[: len(LARGE) // 2], "is truncated"),
    "truncated_after_the_magic": (GOOD[:2], "is truncated"),
    "truncated_tar": (gzip.compress(tar_bytes(good_members())[:1700]), "is truncated"),
    "truncated_tar_at_a_block": (gzip.compress(tar_bytes(good_members())[:1024]), "is truncated"),
    "bad_crc": (GOOD[:-8] + struct.pack("<I", 1) + GOOD[-4:], "CRC"),
    "bad_length": (GOOD[:-4] + struct.pack("<I", 1), "incorrect length check"),
    "flipped_bits": (LARGE[:50_000] + b"\0" * 64 + LARGE[50_064:], ""),
    "trailing_bytes": (GOOD + b"extra", "after the end of the compressed stream"),
    "two_streams": (GOOD + GOOD, "after the end of the compressed stream"),
    "two_archives": (
        gzip.compress(tar_bytes(good_members()) + tar_bytes([file("x")])),
        "after the end of the archive",
    ),
    "not_gzip": (b"PK\x03\x04" + bytes(100), "is not gzip"),
    "tar_not_compressed": (tar_bytes(good_members()), "is not gzip"),
    "not_tar": (gzip.compress(b"x" * 5000), "not a tar archive"),
    "empty": (b"", "is empty"),
    "empty_stream": (gzip.compress(b""), "is truncated"),
    "empty_archive": (gzip.compress(bytes(10240)), "no plugin.json"),
    "manifest_missing": (package_bytes([file("example", SCRIPT, 0o755)]), "no plugin.json"),
    "manifest_is_a_directory": (package_bytes([directory("plugin.json/")]), "no plugin.json"),
    "manifest_named_upward": (package_bytes(good_members(name="../x")), "'../x'"),
    "manifest_named_upward_prefixed": (
        package_bytes(good_members(name="wk.plugin.../x")),
        "'wk.plugin.../x'",
    ),
    "manifest_too_large": (
        package_bytes([file("plugin.json", b'{"a":"' + b"x" * (2 << 20) + b'"}')]),
        "the limit is",
    ),
    "manifest_too_deep": (package_bytes([file("plugin.json", b"[" * 100_000)]), "plugin.json"),
    "entry_upward": (package_bytes(good_members(entry="../../bin/sh")), "inside the package"),
    "entry_absolute": (package_bytes(good_members(entry="/bin/sh")), "inside the package"),
    "entry_missing": (package_bytes(good_members(entry="bin/none")), "no such file"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    root = tmp_path_factory.mktemp("archives")
    (root / "good").mkdir()
    (root / "good" / "good.vp").write_bytes(GOOD)
    (root / "bad").mkdir()
    for name, (data, _) in BAD.items():
        (root / "bad" / f"{name}.vp").write_bytes(data() if callable(data) else data)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(root)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=50,
    )
    assert done.returncode == 0
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_refused_by_name(outcomes: dict[str, list], name: str) -> None:
    message, growth, entries = outcomes[name]
    assert f"{name}.vp: " in message
    assert BAD[name][1] in message
    assert "\n" not in message
    assert growth < MAX_GROWTH_KIB
    assert entries == ["bad", "good", "warm"]


def test_all_together_cost_little_memory(outcomes: dict[str, list]) -> None:
    assert sum(growth for _, growth, _ in outcomes.values()) < MAX_GROWTH_KIB


def test_the_packages_that_carry_the_bombs_are_small() -> None:
    make = BAD["pax_header_of_a_gib"][0]
    assert callable(make)
    assert len(make()) < 1 << 20


@pytest.mark.parametrize("cut", range(0, len(GOOD), 7))
def test_every_cut_is_refused(tmp_path: Path, cut: int) -> None:
    (tmp_path / "cut.vp").write_bytes(GOOD[:cut])
    with pytest.raises(InstallError):
        unpack(tmp_path / "cut.vp", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    luck = random.Random(7)
    data = tar_bytes([*good_members(), file("lib/a", b"x" * 700), directory("d/")])
    descriptors = len(list(Path("/dev/fd").iterdir()))
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(luck.randint(1, 4)):
            damaged[luck.randrange(3500)] = luck.randrange(256)
        (tmp_path / "a.vp").write_bytes(gzip.compress(damaged, 0))
        try:
            unpack(tmp_path / "a.vp", tmp_path / "out")
        except InstallError:
            assert not (tmp_path / "out").exists()
        else:
            shutil.rmtree(tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["a.vp"]
    assert len(list(Path("/dev/fd").iterdir())) == descriptors
