"""Signs files and verifies signatures. It needs the extra ``sign``, that is, cryptography.

What is signed is the BLAKE2b hash of a file, so that a file of any size is read in pieces. A
signature of the file itself, as ``minisign -S -l`` makes it, is verified too.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Any, BinaryIO

from vconnect.errors import ConfigError, SignatureError

from .minisign import PublicKey, SecretKey, Signature, check_comment

_PIECE_BYTES = 1 << 20
# A file that is signed as it is must be in memory as a whole.
MAX_WHOLE_BYTES = 64 * 1024 * 1024


def generate() -> SecretKey:
    """Make a new secret key.

    Raises:
        ConfigError: The extra ``sign`` is not installed.
    """
    private = _ed25519().Ed25519PrivateKey.generate()
    public = private.public_key()
    return SecretKey(os.urandom(8), private.private_bytes_raw(), public.public_bytes_raw())


def sign(file: BinaryIO, key: SecretKey, trusted_comment: str) -> Signature:
    """Sign a file, from where it is read to its end.

    Blocks for as long as reading takes.

    Args:
        file: The file.
        key: The signer's secret key.
        trusted_comment: What the signer says about it.

    Raises:
        ConfigError: The extra ``sign`` is not installed.
        SignatureError: The comment has more than one line, or is too long.
    """
    check_comment(trusted_comment)
    private = _ed25519().Ed25519PrivateKey.from_private_bytes(key.seed)
    signature = private.sign(_hash(file))
    unsealed = Signature(key.number, signature, trusted_comment, b"")
    seal = private.sign(unsealed.sealed())
    return Signature(key.number, signature, trusted_comment, seal)


def verify(file: BinaryIO, signature: Signature, key: PublicKey) -> None:
    """Verify the signature of a file, from where it is read to its end.

    Blocks for as long as reading takes.

    Raises:
        ConfigError: The extra ``sign`` is not installed.
        SignatureError: The signature is of another key, of another file, or was changed.
    """
    if signature.number != key.number:
        raise SignatureError(f"it was signed by {signature.id}; expected {key.id}")
    public = _ed25519().Ed25519PublicKey.from_public_bytes(key.key)
    # First, because it is cheap, and what the signer said of the file may be needed to judge it.
    _check(public, signature.seal, signature.sealed(), "its trusted comment was changed")
    message = _hash(file) if signature.is_prehashed else _whole(file)
    _check(public, signature.signature, message, f"it is not what {key.id} signed")


def _check(public: Any, signature: bytes, message: bytes, words: str) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, message)
    except InvalidSignature:
        raise SignatureError(f"the signature is not valid: {words}") from None


def _hash(file: BinaryIO) -> bytes:
    digest = blake2b()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.digest()


def _whole(file: BinaryIO) -> bytes:
    data = file.read(MAX_WHOLE_BYTES + 1)
    if len(data) > MAX_WHOLE_BYTES:
        raise SignatureError(
            f"it is signed as a whole (Ed), which is accepted up to {MAX_WHOLE_BYTES} bytes; "
            "sign its hash instead (ED), which is the default of vconnect and minisign"
        )
    return data


def _ed25519() -> Any:
    """Return the module, which is imported only when it is needed."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ConfigError(
            'signatures need the extra "sign": pip install "vconnect[sign]"'
        ) from None
    return ed25519
