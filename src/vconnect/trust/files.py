"""Keys and signatures on the disk."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from vconnect.durable import open_regular, replace_file, sync
from vconnect.errors import SignatureError

from .minisign import (
    MAX_FILE_BYTES,
    PublicKey,
    SecretFile,
    Signature,
    parse_public_key,
    parse_secret_file,
    parse_signature,
)

SECRET_SUFFIX, PUBLIC_SUFFIX = ".key", ".pub"
SIGNATURE_SUFFIX = ".minisig"
_FOR_ALL = 0o644


def write_keys(base: Path, secret: SecretFile, public: PublicKey) -> tuple[Path, Path]:
    """Write a pair of keys as ``BASE.key`` (mode 0600) and ``BASE.pub``, or neither. Blocks.

    Returns:
        The two paths.

    Raises:
        SignatureError: One of the files exists already, or cannot be written.
    """
    secret_path = base.with_name(base.name + SECRET_SUFFIX)
    public_path = base.with_name(base.name + PUBLIC_SUFFIX)
    _create(secret_path, secret.text(), 0o600)
    try:
        _create(public_path, public.text(), _FOR_ALL)
    except BaseException:
        secret_path.unlink(missing_ok=True)
        raise
    return secret_path, public_path


def read_secret(path: Path) -> SecretFile:
    """Read the file of a secret key. Blocks.

    Raises:
        SignatureError: It cannot be read, or is none.
    """
    return parse_secret_file(_read(path), str(path))


def read_public(path: Path) -> PublicKey:
    """Read the file of a public key. Blocks.

    Raises:
        SignatureError: It cannot be read, or is none.
    """
    return parse_public_key(_read(path), str(path))


def read_signature(path: Path) -> Signature:
    """Read a signature. Blocks.

    Raises:
        SignatureError: It cannot be read, or is none.
    """
    return parse_signature(_read(path), str(path))


def write_signature(signed: Path, signature: Signature) -> Path:
    """Write the signature of a file beside it, and return its path. Blocks.

    Raises:
        SignatureError: It cannot be written.
    """
    path = signed.with_name(signed.name + SIGNATURE_SUFFIX)
    try:
        replace_file(path, signature.text().encode(), _FOR_ALL)
    except OSError as error:
        raise SignatureError(f"cannot write {path}: {error.strerror}") from error
    return path


def is_shared(path: Path) -> bool:
    """Return whether other users may read a file. Blocks."""
    with suppress(OSError):
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    return False


def _read(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SignatureError(f"cannot read {path}: {error.strerror}") from error
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SignatureError(f"{path} cannot be read: it is not UTF-8") from None


def _create(path: Path, text: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # A key is never overwritten: what it has signed could not be changed to another.
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise SignatureError(f"{path} exists already; choose another name") from None
    except OSError as error:
        raise SignatureError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise SignatureError(f"cannot write {path}: {error.strerror}") from error
