"""Signatures: what verifies, and everything that must not."""

from __future__ import annotations

import builtins
import io
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vconnect.errors import ConfigError, SignatureError
from vconnect.trust import signing as module
from vconnect.trust.minisign import SecretKey, Signature, parse_signature
from vconnect.trust.signing import generate, sign, verify

DATA = b"a package" * 1000
COMMENT = "vconnect 1 name=example version=1.3.0"


@pytest.fixture(scope="module")
def key() -> SecretKey:
    return generate()


def signed(key: SecretKey, data: bytes = DATA) -> Signature:
    return sign(io.BytesIO(data), key, COMMENT)


def problem(data: bytes, signature: Signature, key: SecretKey) -> str:
    with pytest.raises(SignatureError) as caught:
        verify(io.BytesIO(data), signature, key.public_key())
    return str(caught.value)


def whole(key: SecretKey, data: bytes) -> Signature:
    """Sign a file itself, as older versions of minisign do."""
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    made = Signature(key.number, private.sign(data), COMMENT, b"", is_prehashed=False)
    return msgspec.structs.replace(made, seal=private.sign(made.sealed()))


@pytest.mark.parametrize("data", [b"", b"x", DATA, b"x" * (1 << 20), b"x" * ((1 << 20) + 1)])
def test_what_was_signed_verifies(key: SecretKey, data: bytes) -> None:
    signature = signed(key, data)
    verify(io.BytesIO(data), parse_signature(signature.text()), key.public_key())
    assert signature.trusted_comment == COMMENT
    assert signature.is_prehashed


def test_each_key_is_another(key: SecretKey) -> None:
    other = generate()
    assert other.number != key.number
    assert other.seed != key.seed


def test_a_file_that_is_signed_as_a_whole_verifies(key: SecretKey) -> None:
    signature = parse_signature(whole(key, DATA).text())
    assert not signature.is_prehashed
    verify(io.BytesIO(DATA), signature, key.public_key())
    assert "not what" in problem(DATA + b"x", signature, key)


def test_such_a_file_has_a_limit(key: SecretKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WHOLE_BYTES", 100)
    verify(io.BytesIO(b"x" * 100), whole(key, b"x" * 100), key.public_key())
    assert "accepted up to 100 bytes" in problem(b"x" * 101, whole(key, b"x" * 101), key)


@pytest.mark.parametrize("at", [0, 1, len(DATA) // 2, len(DATA) - 1])
def test_a_changed_byte_is_noticed(key: SecretKey, at: int) -> None:
    changed = DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :]
    assert problem(changed, signed(key), key).endswith(f"not what {key.public_key().id} signed")


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\0", b""])
def test_so_is_another_length(key: SecretKey, data: bytes) -> None:
    assert "not what" in problem(data, signed(key), key)


@pytest.mark.parametrize("field", ["signature", "seal"])
@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_a_changed_signature_is_noticed(key: SecretKey, field: str, at: int) -> None:
    signature = signed(key)
    value = bytearray(getattr(signature, field))
    value[at] ^= 1
    changed = msgspec.structs.replace(signature, **{field: bytes(value)})
    assert "is not valid" in problem(DATA, changed, key)


@pytest.mark.parametrize("comment", ["", COMMENT + " ", COMMENT.replace("1.3.0", "1.3.1")])
def test_a_changed_trusted_comment_is_noticed(key: SecretKey, comment: str) -> None:
    changed = msgspec.structs.replace(signed(key), trusted_comment=comment)
    assert "its trusted comment was changed" in problem(DATA, changed, key)


def test_the_other_comment_is_nobodys(key: SecretKey) -> None:
    changed = msgspec.structs.replace(signed(key), comment="anything")
    verify(io.BytesIO(DATA), changed, key.public_key())


def test_another_key_is_named(key: SecretKey) -> None:
    other = generate()
    words = problem(DATA, signed(other), key)
    assert words == f"it was signed by {other.public_key().id}; expected {key.public_key().id}"


def test_a_key_of_the_same_number_is_another_key(key: SecretKey) -> None:
    other = msgspec.structs.replace(generate(), number=key.number)
    assert "is not valid" in problem(DATA, signed(other), key)


def test_a_hash_is_no_file(key: SecretKey) -> None:
    changed = msgspec.structs.replace(signed(key), is_prehashed=False)
    assert "not what" in problem(DATA, changed, key)


@pytest.mark.parametrize("comment", ["two\nlines", "x" * 1025, "\x1b[31m"])
def test_a_comment_is_one_short_line(key: SecretKey, comment: str) -> None:
    with pytest.raises(SignatureError, match="the comment has"):
        sign(io.BytesIO(DATA), key, comment)


def test_without_the_extra_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def fail(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ConfigError, match=r'pip install "vconnect\[sign\]"'):
        generate()
