"""The number of an index never goes down."""

from __future__ import annotations

from pathlib import Path

import pytest

from vconnect.errors import InstallError, VerificationError
from vconnect.index.serials import Copy, Serials
from vconnect.packages.source import Edition

A, B = "https://a/index.json", "/srv/b/index.json"


def test_it_may_stay_and_grow_and_never_goes_down(tmp_path: Path) -> None:
    serials = Serials(tmp_path / "state" / "indexes")
    for serial in (3, 3, 5):
        serials.check(A, serial, "")
    with pytest.raises(VerificationError, match="its serial is 4, and 5 was seen before"):
        Serials(tmp_path / "state" / "indexes").check(A, 4, "")
    serials.check(B, 1, "")


def test_what_was_signed_stays_signed(tmp_path: Path) -> None:
    serials = Serials(tmp_path)
    serials.check(A, 1, "")
    serials.check(A, 2, "AB")
    serials.check(A, 3, "CD")
    with pytest.raises(VerificationError, match="was signed by CD before"):
        serials.check(A, 4, "")


def test_the_file_that_is_named_can_be_removed_to_begin_anew(tmp_path: Path) -> None:
    serials = Serials(tmp_path)
    serials.check(A, 9, "")
    (file,) = tmp_path.iterdir()
    with pytest.raises(VerificationError, match=str(file)):
        serials.check(A, 1, "")
    file.write_text("{")
    with pytest.raises(InstallError, match="cannot be read"):
        serials.check(A, 1, "")
    file.unlink()
    serials.check(A, 1, "")


def test_nothing_is_written_without_a_change(tmp_path: Path) -> None:
    serials = Serials(tmp_path)
    serials.check(A, 1, "")
    (file,) = tmp_path.iterdir()
    before = file.stat()
    serials.check(A, 1, "")
    after = file.stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_a_copy_is_kept_until_it_is_changed(tmp_path: Path) -> None:
    serials = Serials(tmp_path)
    serials.check(A, 1, "AB")
    assert serials.copy_of(A) is None
    kept = Copy(b"{}", Edition('"1"', "place"))
    serials.keep(A, kept)
    assert Serials(tmp_path).copy_of(A) == kept
    assert serials.copy_of(B) is None
    # The number is still known, and grows beside it.
    serials.check(A, 2, "AB")
    assert serials.copy_of(A) == kept
    with pytest.raises(VerificationError):
        serials.check(A, 1, "AB")
    (copy,) = tmp_path.glob("*.copy")
    copy.write_bytes(b"{ }")
    assert serials.copy_of(A) is None
    copy.unlink()
    assert serials.copy_of(A) is None


def test_a_copy_that_cannot_be_kept_is_only_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "indexes").write_text("a file")
    Serials(tmp_path / "indexes").keep(A, Copy(b"{}", Edition('"1"', "place")))
    assert f"{A} is not kept" in caplog.text


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "indexes").write_text("a file")
    with pytest.raises(InstallError, match="cannot be"):
        Serials(tmp_path / "indexes").check(A, 1, "")
