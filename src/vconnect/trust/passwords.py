"""Encrypts the secret key of a signer with a password, as minisign does: scrypt and XOR."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from vconnect.errors import SignatureError

from .minisign import SecretFile, SecretKey, unpack_secret_key

# scrypt's block size, which libsodium fixes.
_BLOCK = 8
_BYTES_PER_STEP = 128 * _BLOCK
# N = 2^17 takes 128 MiB and a third of a second. minisign's own N = 2^20 takes 1 GiB, which small
# machines do not have.
_OPERATIONS, _MEMORY = 1 << 22, 1 << 27
# The costs of keys made by minisign are accepted, and no higher ones.
_MAX_MEMORY = 1 << 30
_MAX_PARALLEL = 16
# What OpenSSL needs besides.
_SLACK = 1 << 20


class _Costs(NamedTuple):
    """The parameters of scrypt."""

    steps: int
    parallel: int


def seal(key: SecretKey, password: str = "") -> SecretFile:
    """Encrypt a secret key; without a password, leave it as it is.

    Blocks for a third of a second with a password.
    """
    packed = key.pack()
    if not password:
        return SecretFile(packed)
    salt = os.urandom(32)
    stream = _stream(password, salt, _OPERATIONS, _MEMORY, len(packed))
    return SecretFile(_xor(packed, stream), salt, _OPERATIONS, _MEMORY, is_encrypted=True)


def unseal(file: SecretFile, password: str = "", where: str = "the secret key") -> SecretKey:
    """Decrypt a secret key.

    Blocks for up to seconds, as its maker chose.

    Args:
        file: The parsed file.
        password: Its password, if it is encrypted.
        where: What it is called in errors.

    Raises:
        SignatureError: The password is wrong or missing, the file is damaged, or it demands more
            memory than is allowed.
    """
    packed = file.sealed
    if file.is_encrypted:
        if not password:
            raise SignatureError(f"{where} needs a password")
        stream = _stream(password, file.salt, file.operations, file.memory, len(packed))
        packed = _xor(packed, stream)
    return unpack_secret_key(packed, where)


def _stream(password: str, salt: bytes, operations: int, memory: int, size: int) -> bytes:
    costs = _costs(operations, memory)
    needed = _BYTES_PER_STEP * costs.steps
    if needed > _MAX_MEMORY or costs.parallel > _MAX_PARALLEL:
        raise SignatureError(
            f"the secret key's password takes {needed >> 20} MiB of memory and {costs.parallel} "
            f"passes to check; the limits are {_MAX_MEMORY >> 20} and {_MAX_PARALLEL}"
        )
    try:
        return hashlib.scrypt(
            password.encode(),
            salt=salt,
            n=costs.steps,
            r=_BLOCK,
            p=costs.parallel,
            maxmem=needed + _SLACK,
            dklen=size,
        )
    except (MemoryError, ValueError) as error:
        raise SignatureError(
            f"the secret key's password cannot be checked: it takes {needed >> 20} MiB of memory"
        ) from error


def _costs(operations: int, memory: int) -> _Costs:
    """Return scrypt's parameters as libsodium derives them from its own two."""
    operations = max(operations, 1 << 15)
    if operations < memory // 32:
        return _Costs(_power_below(operations // (_BLOCK * 4)), 1)
    steps = _power_below(memory // _BYTES_PER_STEP)
    return _Costs(steps, max(1, operations // 4 // steps // _BLOCK))


def _power_below(limit: int) -> int:
    """Return the first power of two above half of a limit, at least 2."""
    power = 2
    while power <= limit // 2:
        power *= 2
    return power


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
