"""Fuzz the package reader: whatever the bytes, it unpacks a sound package or refuses it."""

from __future__ import annotations

import gzip
import stat
import sys
import tempfile
from pathlib import Path

from vconnect.errors import InstallError
from vconnect.packages.archive import ArchiveLimits, unpack

LIMITS = ArchiveLimits(packed_bytes=1 << 20, unpacked_bytes=1 << 20, members=200)

_BLOCK = 512
_CHECKSUM = slice(148, 156)
_ALLOWED_MODES = {0o644, 0o755}


def check(data: bytes) -> bool:
    """Unpack a package made of ``data`` and look at what is on disk afterwards.

    The first byte chooses what the rest is: a package as it stands, a tar to compress, or a tar
    whose checksums are corrected first. Otherwise nearly every mutation ends at a checksum.

    Returns:
        Whether the package was accepted.

    Raises:
        AssertionError: A refusal left something behind, or an accepted package broke a rule.
    """
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        archive, out = place / "a.vp", place / "out"
        archive.write_bytes(_package(data[:1], data[1:]))
        try:
            unpack(archive, out, LIMITS)
        except InstallError:
            assert list(place.iterdir()) == [archive], "a refusal left files behind"
            return False
        assert sorted(place.iterdir()) == [archive, out], "files outside of the directory"
        _check_tree(out)
        return True


def _package(kind: bytes, data: bytes) -> bytes:
    match (kind or b"\0")[0] % 3:
        case 0:
            return data
        case 1:
            return gzip.compress(data, 0)
        case _:
            return gzip.compress(with_checksums(data), 0)


def with_checksums(tar: bytes) -> bytes:
    """Return ``tar`` with a correct checksum in every block that looks like a header."""
    fixed = bytearray(tar)
    for start in range(0, len(fixed) - _BLOCK + 1, _BLOCK):
        block = fixed[start : start + _BLOCK]
        if block[257:262] == b"ustar":
            block[_CHECKSUM] = b" " * 8
            block[_CHECKSUM] = b"%06o\0 " % sum(block)
            fixed[start : start + _BLOCK] = block
    return bytes(fixed)


def _check_tree(directory: Path) -> None:
    total = count = 0
    for path in directory.rglob("*"):
        status = path.lstat()
        assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode), path
        assert stat.S_IMODE(status.st_mode) in _ALLOWED_MODES, (path, oct(status.st_mode))
        total += status.st_size if stat.S_ISREG(status.st_mode) else 0
        count += 1
    assert total <= LIMITS.unpacked_bytes
    assert count <= LIMITS.members


def main() -> None:
    """Run until a crash, or for as long as the options of libFuzzer allow."""
    import atheris

    atheris.instrument_all()  # the reader is Python: this counts its branches
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
