"""Keys and signatures on the disk, where anything may be in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vconnect.errors import SignatureError
from vconnect.trust.files import (
    is_shared,
    read_public,
    read_secret,
    read_signature,
    write_keys,
    write_signature,
)
from vconnect.trust.minisign import MAX_FILE_BYTES, SecretFile, SecretKey, Signature

SECRET = SecretKey(b"n" * 8, b"s" * 32, b"p" * 32)
SIGNATURE = Signature(b"n" * 8, b"s" * 64, "what it is", b"t" * 64)


def test_keys_come_back(tmp_path: Path) -> None:
    file = SecretFile(SECRET.pack())
    secret, public = write_keys(tmp_path / "me", file, SECRET.public_key())
    assert read_secret(secret) == file
    assert read_public(public).key == SECRET.public
    assert not is_shared(secret)
    assert is_shared(public)


def test_a_signature_is_beside_its_file_and_replaces_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "a.vp.minisig").write_text("old")
    path = write_signature(tmp_path / "a.vp", SIGNATURE)
    assert path == tmp_path / "a.vp.minisig"
    assert read_signature(path).trusted_comment == "what it is"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["a.vp.minisig"]


def test_a_link_in_the_place_of_a_key_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "me.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SignatureError, match=r"me\.key exists already"):
        write_keys(tmp_path / "me", SecretFile(SECRET.pack()), SECRET.public_key())
    assert not (tmp_path / "elsewhere").exists()


def put(path: Path, what: str) -> None:
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "not text":
        path.write_bytes(b"\xff\xfe")
    elif what == "huge":
        path.write_text("x" * (10 * MAX_FILE_BYTES))


@pytest.mark.parametrize("read", [read_public, read_secret, read_signature])
@pytest.mark.parametrize("what", ["missing", "directory", "pipe", "not text", "huge"])
def test_what_cannot_be_read_is_said(tmp_path: Path, read, what: str) -> None:
    put(tmp_path / "x", what)
    with pytest.raises(SignatureError, match=r"read.*/x|/x cannot be read"):
        read(tmp_path / "x")


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SignatureError, match=r"cannot write .*: Not a directory"):
        write_signature(tmp_path / "file" / "a.vp", SIGNATURE)
