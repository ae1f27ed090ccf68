"""The files of minisign: public keys, secret keys and signatures, read and written as text.

Nothing here does cryptography, except for checksums. The format is that of minisign 0.11
(https://jedisct1.github.io/minisign/), whose tools can read what is written here, and the other way
round. Each file has lines of base64 below comments of one line.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b
from typing import NoReturn

import msgspec

from vconnect.errors import SignatureError

_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
# minisign fails on longer comments, so none are written.
MAX_COMMENT_BYTES = 1024
MAX_FILE_BYTES = 16 * 1024
"""The size of any of these files; minisign's own buffers are smaller."""

_ED25519 = b"Ed"
_PREHASHED = b"ED"
_SCRYPT, _NO_PASSWORD = b"Sc", b"\0\0"
_BLAKE2B = b"B2"
_ID_BYTES, _KEY_BYTES, _SIGNATURE_BYTES = 8, 32, 64
_SALT_BYTES, _CHECKSUM_BYTES = 32, 32
# The key's number, its seed and its public key, and their checksum.
_SECRET_BYTES = _ID_BYTES + 2 * _KEY_BYTES + _CHECKSUM_BYTES
_PREFIX_BYTES = 6 + _SALT_BYTES + 16


class PublicKey(msgspec.Struct, frozen=True):
    """A public key.

    Attributes:
        number: Its number, 8 random bytes.
        key: The ed25519 key, 32 bytes.
        comment: The untrusted comment of its file.
    """

    number: bytes
    key: bytes
    comment: str = ""

    @property
    def id(self) -> str:
        """The number as minisign shows it: 16 hex digits."""
        return key_id(self.number)

    def line(self) -> str:
        """Return the key as one word, as ``minisign -P`` takes it."""
        return _encode(_ED25519 + self.number + self.key)

    def text(self) -> str:
        """Return the text of its file."""
        comment = self.comment or f"minisign public key {self.id}"
        return f"{_UNTRUSTED}{comment}\n{self.line()}\n"


class SecretKey(msgspec.Struct, frozen=True):
    """A secret key. Its parts are never in its ``repr``.

    Attributes:
        number: The number that it shares with its public key.
        seed: 32 bytes.
        public: The public key, 32 bytes.
    """

    number: bytes
    seed: bytes
    public: bytes

    def __repr__(self) -> str:
        return f"<secret key {key_id(self.number)}>"

    def public_key(self) -> PublicKey:
        """Return the public half."""
        return PublicKey(self.number, self.public)

    def pack(self) -> bytes:
        """Return the part of its file that a password encrypts."""
        parts = self.number + self.seed + self.public
        return parts + _checksum(parts)


class SecretFile(msgspec.Struct, frozen=True):
    """The file of a secret key, which may be encrypted.

    Attributes:
        sealed: The packed key; if it is encrypted, combined with the stream of the password.
        salt: For the password.
        operations: How much work the password takes.
        memory: How many bytes of memory it takes.
        is_encrypted: Whether it needs a password.
    """

    sealed: bytes
    salt: bytes = bytes(_SALT_BYTES)
    operations: int = 0
    memory: int = 0
    is_encrypted: bool = False

    def text(self, comment: str = "") -> str:
        """Return the text of the file."""
        comment = comment or f"minisign {'encrypted ' if self.is_encrypted else ''}secret key"
        how = _SCRYPT if self.is_encrypted else _NO_PASSWORD
        costs = self.operations.to_bytes(8, "little") + self.memory.to_bytes(8, "little")
        data = _ED25519 + how + _BLAKE2B + self.salt + costs + self.sealed
        return f"{_UNTRUSTED}{comment}\n{_encode(data)}\n"


class Signature(msgspec.Struct, frozen=True):
    """A signature of a file.

    Attributes:
        number: That of the key.
        signature: Of the file or its hash, 64 bytes.
        trusted_comment: What the signer says about it.
        seal: The signature of the signature and the trusted comment, 64 bytes.
        is_prehashed: Whether the file's BLAKE2b hash is signed, rather than the file itself.
        comment: The untrusted comment, which is not signed.
    """

    number: bytes
    signature: bytes
    trusted_comment: str
    seal: bytes
    is_prehashed: bool = True
    comment: str = ""

    @property
    def id(self) -> str:
        """The number of the key as minisign shows it."""
        return key_id(self.number)

    def sealed(self) -> bytes:
        """Return what `seal` signs."""
        return self.signature + self.trusted_comment.encode()

    def text(self) -> str:
        """Return the text of its file."""
        how = _PREHASHED if self.is_prehashed else _ED25519
        comment = self.comment or f"signature from minisign secret key {self.id}"
        return (
            f"{_UNTRUSTED}{comment}\n{_encode(how + self.number + self.signature)}\n"
            f"{_TRUSTED}{self.trusted_comment}\n{_encode(self.seal)}\n"
        )


def key_id(number: bytes) -> str:
    """Return a key's number as minisign shows it.

    >>> key_id(bytes([0x17, 0x8B, 0x68, 0x04, 0x91, 0x4D, 0xD1, 0x87]))
    '87D14D9104688B17'
    """
    return f"{int.from_bytes(number, 'little'):016X}"


def parse_public_key(text: str, where: str = "the public key") -> PublicKey:
    """Parse the file of a public key, or its second line alone.

    Args:
        text: The text.
        where: What it is called in errors.

    Raises:
        SignatureError: It is not one.
    """
    lines = _lines(text, where)
    comment = ""
    if lines and lines[0].startswith(_UNTRUSTED):
        comment = lines.pop(0).removeprefix(_UNTRUSTED)
    if len(lines) != 1:
        _refuse(where, "expected one line of base64 below a comment")
    data = _decode(lines[0], where, 2 + _ID_BYTES + _KEY_BYTES)
    if data[:2] != _ED25519:
        _refuse(where, f"the algorithm is {data[:2]!r}; expected {_ED25519!r}")
    return PublicKey(data[2 : 2 + _ID_BYTES], data[2 + _ID_BYTES :], comment)


def parse_secret_file(text: str, where: str = "the secret key") -> SecretFile:
    """Parse the file of a secret key.

    Args:
        text: The text.
        where: What it is called in errors.

    Raises:
        SignatureError: It is not one. The error does not show the text.
    """
    lines = _lines(text, where)
    if len(lines) != 2 or not lines[0].startswith(_UNTRUSTED):
        _refuse(where, f"expected a line {_UNTRUSTED.strip()!r} and one of base64")
    data = _decode(lines[1], where, _PREFIX_BYTES + _SECRET_BYTES)
    algorithm, how, checksum = data[:2], data[2:4], data[4:6]
    if algorithm != _ED25519 or checksum != _BLAKE2B or how not in (_SCRYPT, _NO_PASSWORD):
        _refuse(where, "it is of a kind that this version does not know")
    costs = data[6 + _SALT_BYTES : _PREFIX_BYTES]
    return SecretFile(
        sealed=data[_PREFIX_BYTES:],
        salt=data[6 : 6 + _SALT_BYTES],
        operations=int.from_bytes(costs[:8], "little"),
        memory=int.from_bytes(costs[8:], "little"),
        is_encrypted=how == _SCRYPT,
    )


def unpack_secret_key(packed: bytes, where: str = "the secret key") -> SecretKey:
    """Unpack a secret key that is not encrypted, or no longer.

    Args:
        packed: What `SecretKey.pack` returns.
        where: What it is called in errors.

    Raises:
        SignatureError: The checksum is wrong: the file is damaged, or the password was wrong.
    """
    parts, checksum = packed[:-_CHECKSUM_BYTES], packed[-_CHECKSUM_BYTES:]
    # minisign 0.11 leaves the checksum of a key without a password empty.
    if checksum not in (_checksum(parts), bytes(_CHECKSUM_BYTES)):
        _refuse(where, "the password is wrong, or the file is damaged")
    seed_at = _ID_BYTES
    public_at = seed_at + _KEY_BYTES
    return SecretKey(parts[:seed_at], parts[seed_at:public_at], parts[public_at:])


def parse_signature(text: str, where: str = "the signature") -> Signature:
    """Parse the file of a signature.

    Args:
        text: The text.
        where: What it is called in errors.

    Raises:
        SignatureError: It is not one.
    """
    lines = _lines(text, where)
    if len(lines) != 4 or not lines[0].startswith(_UNTRUSTED):
        _refuse(where, "expected four lines: a comment, base64, a trusted comment, base64")
    if not lines[2].startswith(_TRUSTED):
        _refuse(where, "it has no trusted comment")
    data = _decode(lines[1], where, 2 + _ID_BYTES + _SIGNATURE_BYTES)
    if data[:2] not in (_ED25519, _PREHASHED):
        _refuse(where, f"the algorithm is {data[:2]!r}; expected {_PREHASHED!r} or {_ED25519!r}")
    return Signature(
        number=data[2 : 2 + _ID_BYTES],
        signature=data[2 + _ID_BYTES :],
        trusted_comment=lines[2].removeprefix(_TRUSTED),
        seal=_decode(lines[3], where, _SIGNATURE_BYTES),
        is_prehashed=data[:2] == _PREHASHED,
        comment=lines[0].removeprefix(_UNTRUSTED),
    )


def check_comment(comment: str) -> str:
    """Return a comment that can be written.

    Raises:
        SignatureError: It has more than one line, or is too long.
    """
    if not comment.isprintable():
        raise SignatureError("the comment has control characters; expected one line of text")
    if (size := len(comment.encode())) > MAX_COMMENT_BYTES:
        raise SignatureError(f"the comment has {size} bytes; the limit is {MAX_COMMENT_BYTES}")
    return comment


def _checksum(parts: bytes) -> bytes:
    return blake2b(_ED25519 + parts, digest_size=_CHECKSUM_BYTES).digest()


def _lines(text: str, where: str) -> list[str]:
    if len(text) > MAX_FILE_BYTES:
        _refuse(where, f"it has {len(text)} characters; the limit is {MAX_FILE_BYTES}")
    # A file that has been through Windows is accepted, as minisign does.
    return [line.removesuffix("\r") for line in text.rstrip("\r\n").split("\n")]


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(line: str, where: str, size: int) -> bytes:
    try:
        data = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        _refuse(where, "a line is not base64")
    if len(data) != size:
        _refuse(where, f"a line has {len(data)} bytes of data; expected {size}")
    return data


def _refuse(where: str, problem: str) -> NoReturn:
    raise SignatureError(f"{where} cannot be read: {problem}")
