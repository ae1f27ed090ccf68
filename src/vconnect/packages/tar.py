"""A bounded reader of gzip-compressed tar archives.

It supports ustar, GNU long names and pax records (``path`` and ``size``; other records do not
matter for packages).
"""

# The standard library's `tarfile` reads extended headers of any length into memory, silently lets
# the last of two members with the same name win, and makes absolute names relative. This reader
# holds at most two chunks at a time, returns every member as it is, and leaves the checks to its
# caller.

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from vconnect.errors import InstallError

FILE = "regular file"
DIRECTORY = "directory"
SPARSE = "sparse file"

# A legitimate extended header has one path and a few attributes, and there is at most one of each
# kind before a member.
MAX_EXTENDED_BYTES = 64 * 1024
_MAX_RECORDS = 256
_MAX_EXTENDED_IN_A_ROW = 8

_BLOCK = 512  # tar's unit: headers and contents are padded to it
_CHUNK = 64 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31  # zlib: a gzip header and trailer, the largest window

_KINDS = {
    b"0": FILE,
    b"\0": FILE,
    b"1": "hard link",
    b"2": "symbolic link",
    b"3": "character device",
    b"4": "block device",
    b"5": DIRECTORY,
    b"6": "fifo",
    b"7": "contiguous file",
    b"S": SPARSE,
}
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK = b"x", b"g", b"L", b"K"
_EXTENDED = (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK)


class Member(msgspec.Struct, frozen=True):
    """One member as the archive describes it; only the syntax of its numbers has been checked.

    Attributes:
        name: The name as written, including the trailing slash of a directory.
        kind: `FILE`, `DIRECTORY`, or a description of something else.
        mode: The permission bits.
        size: The number of bytes of contents that follow.
    """

    name: str
    kind: str
    mode: int
    size: int


class _Overrides(msgspec.Struct, frozen=True):
    """What extended headers specify for the following member."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False


class TarReader:
    """Iterates over the members of a package, once, from start to end.

    To get a member's contents, exhaust `contents` before continuing the iteration. Otherwise they
    are skipped.

    Args:
        file: The package, open for reading; the reader does not close it.
        origin: The package's name, for messages.
        max_bytes: The maximum size of the decompressed stream.
    """

    def __init__(self, file: BinaryIO, origin: str, max_bytes: int) -> None:
        self._stream = _Gunzip(file, origin, max_bytes)
        self._origin = origin
        self._unread = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield each member.

        Raises:
            InstallError: The archive is corrupt, or too large.
        """
        while (member := self._next_member()) is not None:
            yield member
        self._check_end()

    def contents(self) -> Iterator[bytes]:
        """Yield the current member's contents in chunks."""
        while self._unread:
            chunk = self._stream.read(min(self._unread, _CHUNK))
            if not chunk:
                raise self._truncated()
            self._unread -= len(chunk)
            yield chunk

    def _next_member(self) -> Member | None:
        """Return the next member, with its extended headers applied; ``None`` at the end."""
        overrides = _Overrides()
        for _ in range(_MAX_EXTENDED_IN_A_ROW + 1):
            block = self._next_header()
            if block is None:
                return None
            if block[156:157] not in _EXTENDED:
                member = self._member(block, overrides)
                self._expect(member.size)
                return member
            overrides = self._extend(overrides, block)
        raise self._refusal(f"more than {_MAX_EXTENDED_IN_A_ROW} extended headers in a row")

    def _next_header(self) -> bytes | None:
        """Return the next header block, or ``None`` at the end-of-archive marker."""
        for _ in self.contents():
            pass
        self._read_exactly(self._padding)
        self._padding = 0
        block = self._read_exactly(_BLOCK)
        # The standard asks for two zero blocks. Like other readers, this one accepts one.
        if not block.strip(b"\0"):
            return None
        if not _has_good_checksum(block):
            raise self._refusal("is not a tar archive, or is damaged: a header's checksum is wrong")
        return block

    def _expect(self, size: int) -> None:
        """Prepare for contents; refuse what cannot fit before it fills the disk."""
        self._stream.check_room(size)
        self._unread = size
        self._padding = -size % _BLOCK

    def _extend(self, overrides: _Overrides, block: bytes) -> _Overrides:
        """Read an extended header, and return it combined with those before it."""
        kind, size = block[156:157], self._size(block)
        if size > MAX_EXTENDED_BYTES:
            raise self._refusal(
                f"an extended header has {size} bytes; the limit is {MAX_EXTENDED_BYTES}"
            )
        self._expect(size)
        data = b"".join(self.contents())
        if kind == _GNU_LINK:
            return overrides  # the link that follows is refused, whatever its target
        if kind == _GNU_NAME:
            return msgspec.structs.replace(overrides, name=data.rstrip(b"\0"))
        records = self._pax_records(data)
        if kind == _PAX:
            return self._apply_pax(overrides, records)
        # A legitimate one has comments, such as the commit of `git archive`.
        if _concerns_members(records):
            raise self._refusal("a global header sets the path or size of every member")
        return overrides

    def _pax_records(self, data: bytes) -> dict[bytes, bytes]:
        """Parse pax records: the record's length, a space, ``KEY=VALUE`` and a newline each."""
        records: dict[bytes, bytes] = {}
        start, end = 0, len(data.rstrip(b"\0"))
        for _ in range(_MAX_RECORDS):
            if start >= end:
                return records
            digits, space, _ = data[start : start + 8].partition(b" ")
            # At most 7 digits, which is enough: a header has at most 64 KiB.
            length = int(digits) if space and digits.isdigit() else 0
            record = data[start + len(digits) + 1 : start + length]
            key, equals, value = record.partition(b"=")
            if start + length > end or not equals or not value.endswith(b"\n"):
                raise self._refusal("a pax header is damaged")
            records[key] = value[:-1]
            start += length
        raise self._refusal(f"a pax header has {_MAX_RECORDS} records or more")

    def _apply_pax(self, overrides: _Overrides, records: dict[bytes, bytes]) -> _Overrides:
        size = overrides.size
        if b"size" in records:
            digits = records[b"size"]
            if not digits.isdigit() or len(digits) > 20:
                raise self._refusal("a pax header's size is not a number")
            size = int(digits)
        return _Overrides(
            name=records.get(b"path", overrides.name),
            size=size,
            sparse=overrides.sparse or any(key.startswith(b"GNU.sparse.") for key in records),
        )

    def _member(self, block: bytes, overrides: _Overrides) -> Member:
        raw = _ustar_name(block) if overrides.name is None else overrides.name
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            raise self._refusal(f"the name {raw[:80]!r} is not UTF-8") from None
        return Member(
            name=name,
            kind=_kind(block[156:157], name, overrides.sparse),
            mode=self._number(block[100:108]),
            size=self._size(block) if overrides.size is None else overrides.size,
        )

    def _size(self, block: bytes) -> int:
        return self._number(block[124:136])

    def _number(self, field: bytes) -> int:
        """Parse an octal field, or GNU's base-256 for numbers that are too large for octal."""
        # Only positive numbers: 0xff would begin a negative one, which no member can have.
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        number = _octal(field)
        if number is None:
            raise self._refusal("a header's number is damaged")
        return number

    def _read_exactly(self, size: int) -> bytes:
        parts = []
        while size:
            chunk = self._stream.read(size)
            if not chunk:
                raise self._truncated()
            parts.append(chunk)
            size -= len(chunk)
        return b"".join(parts)

    def _check_end(self) -> None:
        """Read the rest, including the checksum. Only zeros may follow the end marker."""
        while chunk := self._stream.read(_CHUNK):
            if chunk.strip(b"\0"):
                raise self._refusal("has data after the end of the archive")

    def _truncated(self) -> InstallError:
        return self._refusal("is truncated: the archive ends before its end marker")

    def _refusal(self, message: str) -> InstallError:
        return InstallError(f"{self._origin}: {message}")


class _Gunzip:
    """Decompresses one gzip stream, and counts the output."""

    def __init__(self, file: BinaryIO, origin: str, max_bytes: int) -> None:
        self._file = file
        self._origin = origin
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._inflate = zlib.decompressobj(_GZIP_WBITS)
        self._head = self._read_magic()

    def read(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes, or none at the verified end of the stream."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._next_packed()
            # Output is limited too: a few bytes of input can expand a thousandfold.
            out = self._decompress(packed, size)
            self.check_room(len(out))
            self._left -= len(out)
            if out:
                return out
            if not packed and not self._inflate.eof:
                raise self._refusal("is truncated: the compressed data ends too early")
        if self._inflate.unused_data or self._file.read(1):
            raise self._refusal("has data after the end of the compressed stream")
        return b""

    def check_room(self, size: int) -> None:
        """Refuse ``size`` more bytes if that would exceed the limit."""
        if size > self._left:
            raise self._refusal(f"unpacks to more than {self._max_bytes} bytes, which is the limit")

    def _read_magic(self) -> bytes:
        head = self._file.read(len(_GZIP_MAGIC))
        if not head:
            raise self._refusal("is empty")
        if head != _GZIP_MAGIC:
            raise self._refusal(
                "is not gzip; a package is a gzip-compressed tar (make one with: vconnect pack)"
            )
        return head

    def _next_packed(self) -> bytes:
        head, self._head = self._head, b""
        return head or self._file.read(_CHUNK)

    def _decompress(self, packed: bytes, size: int) -> bytes:
        try:
            return self._inflate.decompress(packed, size)
        except zlib.error as error:
            raise self._refusal(f"is damaged: {_zlib_words(error)}") from None

    def _refusal(self, message: str) -> InstallError:
        return InstallError(f"{self._origin}: {message}")


def _zlib_words(error: zlib.error) -> str:
    """Keep the reason; "incorrect data check" means a wrong CRC."""
    text = str(error).rpartition(": ")[2]
    return "its checksum (CRC) is wrong" if text == "incorrect data check" else text


def _has_good_checksum(block: bytes) -> bool:
    """Verify the header's checksum, which counts its own field as spaces."""
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    return _octal(block[148:156]) == total


def _octal(field: bytes) -> int | None:
    """Parse octal digits between spaces and NULs. An empty field is 0."""
    digits = field.strip(b"\0 ")
    # int() alone would also accept signs, underscores and a prefix.
    return None if digits.strip(b"01234567") else int(digits or b"0", 8)


def _ustar_name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    # GNU's older format uses the prefix field differently; its magic is different, too.
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        return prefix + b"/" + name
    return name


def _kind(flag: bytes, name: str, sparse: bool) -> str:
    if sparse:
        return SPARSE
    if flag == b"\0" and name.endswith("/"):
        return DIRECTORY  # before POSIX, tar had no type for directories
    return _KINDS.get(flag, f"member of unknown type {flag!r}")


def _concerns_members(records: dict[bytes, bytes]) -> bool:
    return any(key in (b"path", b"size") or key.startswith(b"GNU.sparse.") for key in records)
