"""The archive reader: members as they stand, and each way in which a stream can be wrong."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable

import pytest
from tests.support.package_kit import directory, file, tar_bytes

from vconnect.errors import InstallError
from vconnect.packages.tar import MAX_EXTENDED_BYTES, SPARSE, Member, TarReader

ROOM = 1 << 20
END = bytes(1024)
Change = Callable[[bytearray], None]


def reader(stream: bytes, max_bytes: int = ROOM) -> TarReader:
    return TarReader(io.BytesIO(stream), "a.vp", max_bytes)


def members(stream: bytes, max_bytes: int = ROOM) -> list[Member]:
    return list(reader(stream, max_bytes))


def members_of(tar: bytes, max_bytes: int = ROOM) -> list[Member]:
    return members(gzip.compress(tar, 1), max_bytes)


def refusal(stream: bytes, max_bytes: int = ROOM) -> str:
    with pytest.raises(InstallError, match=r"^a\.vp: ") as caught:
        members(stream, max_bytes)
    return str(caught.value)


def refusal_of(tar: bytes, max_bytes: int = ROOM) -> str:
    return refusal(gzip.compress(tar, 1), max_bytes)


def summed(block: bytearray) -> bytes:
    """The header with its right checksum."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def header(change: Change = lambda _: None, *, name: str = "a", size: int = 0) -> bytes:
    """A header of ustar after a change to its bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    change(block)
    return summed(block)


def put(start: int, data: bytes) -> Change:
    def change(block: bytearray) -> None:
        block[start : start + len(data)] = data

    return change


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def extended(flag: bytes, data: bytes) -> bytes:
    return header(put(156, flag), size=len(data)) + padded(data)


def record(key: str, value: str) -> bytes:
    """One record of a pax header, whose length counts itself."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


# --- what is read ----------------------------------------------------------------------------


def test_members_come_as_they_stand_and_in_order() -> None:
    tar = tar_bytes([directory("d"), file("d/a", b"12345", 0o755), file("/../x"), file("d/a")])
    assert members_of(tar) == [
        Member("d/", "directory", 0o755, 0),
        Member("d/a", "regular file", 0o755, 5),
        Member("/../x", "regular file", 0o644, 0),
        Member("d/a", "regular file", 0o644, 0),
    ]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 65_536, 200_000])
def test_contents_come_whole(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    tar = tar_bytes([file("first", data), file("second", b"2")])
    read = reader(gzip.compress(tar))
    assert [b"".join(read.contents()) for _ in read] == [data, b"2"]


def test_contents_that_nobody_asked_for_are_skipped() -> None:
    read = reader(gzip.compress(tar_bytes([file("a", b"1" * 700), file("b", b"2"), file("c")])))
    names = []
    for member in read:
        names.append(member.name)
        if member.name == "b":
            assert next(read.contents()) == b"2"
    assert names == ["a", "b", "c"]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(tar_format: int) -> None:
    names = ["d/" * 100 + "file", "n" * 101, "ü" * 90]
    tar = tar_bytes([file(name, b"x") for name in names], tar_format)
    assert [member.name for member in members_of(tar)] == names


def test_the_prefix_of_ustar_is_a_part_of_the_name() -> None:
    name = "p" * 80 + "/" + "n" * 90
    assert [member.name for member in members_of(header(name=name) + END)] == [name]


def test_what_gnu_keeps_in_the_prefix_is_none() -> None:
    def old_gnu(block: bytearray) -> None:
        block[257:265] = b"ustar  \0"
        block[345:357] = b"14712345670\0"

    assert [member.name for member in members_of(header(old_gnu) + END)] == ["a"]


@pytest.mark.parametrize(
    ("flag", "name", "kind"),
    [
        (b"0", "a", "regular file"),
        (b"\0", "a", "regular file"),
        (b"\0", "a/", "directory"),
        (b"0", "a/", "regular file"),
        (b"1", "a", "hard link"),
        (b"2", "a", "symbolic link"),
        (b"3", "a", "character device"),
        (b"4", "a", "block device"),
        (b"6", "a", "fifo"),
        (b"S", "a", SPARSE),
        (b"Z", "a", "member of unknown type b'Z'"),
    ],
)
def test_kinds(flag: bytes, name: str, kind: str) -> None:
    (member,) = members_of(header(put(156, flag), name=name) + END)
    assert member.kind == kind


def test_pax_overrides_name_and_size_of_the_next_member_only() -> None:
    records = record("path", "long") + record("size", "3") + record("mtime", "1.5")
    tar = extended(b"x", records) + header(size=0) + padded(b"abc") + header(name="b") + END
    read = reader(gzip.compress(tar))
    found = [(member.name, b"".join(read.contents())) for member in read]
    assert found == [("long", b"abc"), ("b", b"")]


def test_the_last_name_before_a_member_holds() -> None:
    tar = extended(b"L", b"gnu\0") + extended(b"x", record("path", "pax")) + header() + END
    assert members_of(tar)[0].name == "pax"
    tar = extended(b"x", record("path", "pax")) + extended(b"L", b"gnu\0") + header() + END
    assert members_of(tar)[0].name == "gnu"


def test_a_later_header_does_not_take_back_what_it_does_not_name() -> None:
    sparse = extended(b"x", record("GNU.sparse.major", "1"))
    tar = sparse + extended(b"x", record("size", "1")) + header() + padded(b"x") + END
    assert members_of(tar) == [Member("a", SPARSE, 0o644, 1)]


def test_a_number_in_base_256() -> None:
    size = put(124, b"\x80" + (3).to_bytes(11, "big"))
    assert members_of(header(size) + padded(b"abc") + END)[0].size == 3


def test_only_zeros_may_follow_the_end() -> None:
    tar = header() + END + bytes(9000)
    assert len(members_of(tar)) == 1
    assert "data after the end of the archive" in refusal_of(tar + b"x")
    assert "data after the end of the archive" in refusal_of(header() + END + header())


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"", "is empty"),
        (b"\x1f", "is not gzip"),
        (b"PK\x03\x04", "is not gzip"),
        (b"\x1f\x8b", "compressed data ends too early"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff\xff", "is damaged"),
        (gzip.compress(b"", mtime=0), "is truncated"),
        (gzip.compress(b"x", mtime=0), "is truncated"),
        (gzip.compress(b"x" * 512, mtime=0), "header's checksum is wrong"),
    ],
)
def test_what_is_no_package(stream: bytes, words: str) -> None:
    assert words in refusal(stream)


def test_a_wrong_checksum_is_named() -> None:
    stream = bytearray(gzip.compress(header() + END))
    stream[-8] ^= 1
    assert "its checksum (CRC) is wrong" in refusal(bytes(stream))


@pytest.mark.parametrize("behind", [b"x", gzip.compress(b"", mtime=0)])
def test_nothing_may_follow_the_compressed_stream(behind: bytes) -> None:
    assert "after the end of the compressed stream" in refusal(gzip.compress(END) + behind)


def test_a_byte_behind_the_stream_in_the_next_reading_is_found_too() -> None:
    class OneByteAtATime(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(2 if size == 2 else 1)

    good = gzip.compress(header() + END)
    assert len(list(TarReader(OneByteAtATime(good), "a.vp", ROOM))) == 1
    with pytest.raises(InstallError, match="after the end of the compressed stream"):
        list(TarReader(OneByteAtATime(good + b"x"), "a.vp", ROOM))


def test_every_cut_of_the_archive_is_refused() -> None:
    tar = tar_bytes([file("a", b"x" * 600), file("n" * 120)])
    end = len(tar.rstrip(b"\0")) // 512 * 512 + 512
    for cut in range(0, end + 512, 64):
        assert "truncated" in refusal_of(tar[:cut])


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = gzip.compress(header(size=8 << 20) + bytes(8 << 20) + END)
    assert "unpacks to more than 1048576 bytes" in refusal(bomb)
    endless = gzip.compress(END + bytes(8 << 20))
    assert "unpacks to more than 1048576 bytes" in refusal(endless)


def test_room_is_counted_to_the_byte() -> None:
    tar = header(size=512) + bytes(512) + END
    assert len(members_of(tar, len(tar))) == 1
    assert "unpacks to more" in refusal_of(tar, len(tar) - 1)


@pytest.mark.parametrize(
    "size", [b"\x80" + b"\xff" * 11, b"\x80" + (ROOM).to_bytes(11, "big"), b"77777777777\0"]
)
def test_a_size_that_cannot_fit_is_refused_at_once(size: bytes) -> None:
    assert "unpacks to more" in refusal_of(header(put(124, size)) + END)


@pytest.mark.parametrize(
    "field",
    [b"-0000000001\0", b"0x10\0\0\0\0\0\0\0\0", b"1_0\0\0\0\0\0\0\0\0\0", b"8\0" * 6, b"\xff" * 12],
)
def test_a_damaged_number(field: bytes) -> None:
    assert "number is damaged" in refusal_of(header(put(124, field)) + END)


def test_a_changed_header_has_a_wrong_checksum() -> None:
    block = bytearray(header())
    block[0] ^= 1
    assert "checksum is wrong" in refusal_of(bytes(block) + END)


def test_a_name_that_is_no_utf8() -> None:
    assert "is not UTF-8" in refusal_of(header(put(0, b"caf\xe9")) + END)
    assert "is not UTF-8" in refusal_of(extended(b"L", b"\xff\0") + header() + END)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"5 a=b",
        b"7 a=b\n",
        b"99 a=b\n",
        b" a=b\n",
        b"-6 a=b\n",
        b"6 ab\n\n",
        b"0 a=b\n",
        b"3 =\n",
        b"00000000000006 a=b\n",
        b"6 a=b\n6 a=b",
        record("path", "x") + b"\n",
    ],
)
def test_damaged_pax_records(data: bytes) -> None:
    assert "a pax header is damaged" in refusal_of(extended(b"x", data) + header() + END)


@pytest.mark.parametrize("size", ["", "-1", "1.5", "0x1", "1" * 21, "٣"])
def test_a_pax_size_that_is_no_number(size: str) -> None:
    tar = extended(b"x", record("size", size)) + header() + END
    assert "size is not a number" in refusal_of(tar)


@pytest.mark.parametrize("key", ["path", "size", "GNU.sparse.name"])
def test_a_global_header_may_not_concern_members(key: str) -> None:
    tar = extended(b"g", record(key, "1")) + header() + END
    assert "global header" in refusal_of(tar)
    assert len(members_of(extended(b"g", record("comment", "1")) + header() + END)) == 1


def test_extended_headers_have_bounds() -> None:
    most = extended(b"L", b"n" * 100 + bytes(MAX_EXTENDED_BYTES - 100))
    assert members_of(most + header() + END)[0].name == "n" * 100
    more = extended(b"L", bytes(MAX_EXTENDED_BYTES + 1))
    assert "an extended header has 65537 bytes" in refusal_of(more + header() + END)
    comments = [record("comment", "1") * count for count in (255, 256)]
    assert len(members_of(extended(b"x", comments[0]) + header() + END)) == 1
    assert "has 256 records" in refusal_of(extended(b"x", comments[1]) + header() + END)


def test_only_so_many_extended_headers_in_a_row() -> None:
    one = extended(b"x", record("comment", "1"))
    assert len(members_of((one * 8 + header()) * 2 + END)) == 2
    assert "more than 8 extended headers" in refusal_of(one * 9 + header() + END)


def test_an_extended_header_with_no_member_behind_it_is_no_member() -> None:
    assert members_of(extended(b"x", record("path", "x")) + END) == []


def test_a_raw_or_zlib_stream_is_no_gzip() -> None:
    assert "is not gzip" in refusal(zlib.compress(END))
