"""The files of minisign, as text."""

from __future__ import annotations

import base64

import pytest

from vconnect.errors import SignatureError
from vconnect.trust.minisign import (
    MAX_FILE_BYTES,
    PublicKey,
    SecretFile,
    SecretKey,
    Signature,
    key_id,
    parse_public_key,
    parse_secret_file,
    parse_signature,
    unpack_secret_key,
)

NUMBER = bytes(range(8))
PUBLIC = PublicKey(NUMBER, bytes(range(32)))
SECRET = SecretKey(NUMBER, bytes(range(32)), bytes(range(32, 64)))
SIGNATURE = Signature(NUMBER, b"s" * 64, "what it is", b"t" * 64)


def test_a_number_is_shown_as_minisign_shows_it() -> None:
    assert PUBLIC.id == SIGNATURE.id == key_id(NUMBER) == "0706050403020100"


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
def test_a_public_key_comes_back(end: str) -> None:
    text = PUBLIC.text().rstrip("\n") + end
    assert parse_public_key(text).key == PUBLIC.key
    assert parse_public_key(text).comment == "minisign public key 0706050403020100"
    assert parse_public_key(PUBLIC.line()).id == PUBLIC.id
    assert parse_public_key(text.replace("\n", "\r\n")).number == NUMBER


@pytest.mark.parametrize("is_encrypted", [True, False])
def test_a_secret_key_comes_back(is_encrypted: bool) -> None:
    file = SecretFile(SECRET.pack(), b"x" * 32, 1 << 22, 1 << 27, is_encrypted)
    assert parse_secret_file(file.text()) == file
    assert unpack_secret_key(file.sealed) == SECRET


def test_a_secret_is_not_in_its_repr() -> None:
    assert repr(SECRET) == f"<secret key {PUBLIC.id}>"


def test_an_empty_checksum_is_that_of_a_key_without_a_password() -> None:
    assert unpack_secret_key(SECRET.pack()[:-32] + bytes(32)) == SECRET


@pytest.mark.parametrize("at", [0, 8, 40, 72, 103])
def test_a_wrong_checksum_is_noticed(at: int) -> None:
    packed = bytearray(SECRET.pack())
    packed[at] ^= 1
    with pytest.raises(SignatureError, match="the password is wrong, or the file is damaged"):
        unpack_secret_key(bytes(packed))


@pytest.mark.parametrize("is_prehashed", [True, False])
def test_a_signature_comes_back(is_prehashed: bool) -> None:
    made = Signature(NUMBER, b"s" * 64, "what it is", b"t" * 64, is_prehashed, "anything")
    assert parse_signature(made.text()) == made
    assert parse_signature(made.text().replace("\n", "\r\n")) == made


def replaced(text: str, line: int, new: str) -> str:
    lines = text.splitlines()
    lines[line] = new
    return "\n".join(lines) + "\n"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


BROKEN = {
    "empty": "",
    "one line": "untrusted comment: x\n",
    "no comment": "\n".join(SIGNATURE.text().splitlines()[1:]),
    "not trusted": replaced(SIGNATURE.text(), 2, "comment: x"),
    "not base64": replaced(SIGNATURE.text(), 1, "*" * 100),
    "not base64 either": replaced(SIGNATURE.text(), 3, "é" * 88),
    "short": replaced(SIGNATURE.text(), 1, encoded(b"ED" + NUMBER)),
    "long": replaced(SIGNATURE.text(), 3, encoded(b"x" * 65)),
    "of another kind": replaced(SIGNATURE.text(), 1, encoded(b"XX" + NUMBER + b"s" * 64)),
    "too long": SIGNATURE.text() + "x" * MAX_FILE_BYTES,
    "more lines": SIGNATURE.text() + "x\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_signature_is_refused(what: str) -> None:
    with pytest.raises(SignatureError, match=r"^a\.minisig cannot be read: "):
        parse_signature(BROKEN[what], "a.minisig")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "untrusted comment: x\n",
        "untrusted comment: x\n" + encoded(b"Ed" + NUMBER) + "\n",
        encoded(b"XX" + NUMBER + bytes(32)),
        PUBLIC.text() + "more\n",
        SIGNATURE.text(),
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(SignatureError, match=r"^a\.pub cannot be read: "):
        parse_public_key(text, "a.pub")


@pytest.mark.parametrize(
    "text",
    [
        "",
        SecretFile(SECRET.pack()).text().splitlines()[1],
        replaced(SecretFile(SECRET.pack()).text(), 1, encoded(bytes(158))),
        replaced(SecretFile(SECRET.pack()).text(), 1, encoded(bytes(157))),
        PUBLIC.text(),
    ],
)
def test_what_is_no_secret_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SignatureError, match=r"^a\.key cannot be read: ") as caught:
        parse_secret_file(text, "a.key")
    assert not text or text.splitlines()[-1] not in str(caught.value)
