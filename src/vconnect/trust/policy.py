"""What the signature of a package is worth: who has signed it, and whether that is enough."""

# In two steps. Before a package is opened, its signature is verified over its bytes. After its
# manifest is read, what the signer said of it is compared with that. So nothing of a package with a
# wrong signature is ever unpacked.

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from vconnect.durable import open_regular
from vconnect.errors import SignatureError, VerificationError

from .keyring import TrustedKey, predecessors
from .minisign import Signature
from .signing import verify

# How the trusted comment begins that `vconnect sign` writes.
_OURS = "vconnect 1 "


class Signer(msgspec.Struct, frozen=True):
    """Who has signed a package.

    Attributes:
        key: The key, whose signature is valid.
        comment: What it says of the package.
    """

    key: TrustedKey
    comment: str


class _Digesting:
    """A file that is digested as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read what a file's ``read`` does."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


class Signing(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be decided about.

    Attributes:
        origin: The source of the package, for messages.
        place: Where that is: an absolute path, or an address without credentials.
        keys: The keys that are trusted, by their numbers.
        is_required: Whether a package without a good signature is refused.
        allowed: The numbers of the only keys that count for this source; empty for all.
    """

    origin: str
    place: str
    keys: Mapping[str, TrustedKey]
    is_required: bool
    allowed: tuple[str, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether a signature makes any difference."""
        return self.is_required or bool(self.keys)

    def verify(
        self, archive: Path, digest: str, signature: Signature | None, why_none: str
    ) -> Signer | None:
        """Verify the signature of a package that was not opened yet. Blocks.

        Args:
            archive: The package.
            digest: The sha256 that it must still have.
            signature: Its signature, if there is one.
            why_none: Why there is none.

        Returns:
            Who has signed it; ``None`` if nobody has, or somebody whom nobody trusts here.

        Raises:
            VerificationError: The signature is not valid, of a key that was revoked or may not sign
                this; or there is none that counts, and one is required.
            ConfigError: The extra ``sign`` is not installed.
        """
        if signature is None:
            self._check_unsigned(f"it has no signature ({why_none})")
            return None
        key = self.keys.get(signature.id)
        if key is None:
            self._check_unsigned(f"it is signed by {signature.id}, whom nobody trusts here")
            return None
        if problem := key.problem():
            raise self._refusal(f"its signer {key.id} {problem}")
        if self.allowed and key.id not in self.allowed:
            raise self._refusal(
                f"it is signed by {key.id}; of this source, only {', '.join(self.allowed)} count"
            )
        try:
            with open_regular(archive) as file:
                read = _Digesting(file)
                verify(cast("BinaryIO", read), signature, key.public)
        except OSError as error:
            raise self._refusal(f"it cannot be read: {error.strerror}") from error
        except SignatureError as error:
            raise self._refusal(str(error)) from None
        # Another user's file may be the signed one for just this moment.
        if read.digest.hexdigest() != digest:
            raise self._refusal("it was changed while it was read; try again")
        return Signer(key, signature.trusted_comment)

    def check_stored(self, plugin: str, number: str) -> None:
        """Refuse a version that is in the store already, if it would not be accepted now.

        Args:
            plugin: The plugin's name.
            number: The number of its signer's key; empty if nobody has signed it.

        Raises:
            VerificationError: It was accepted unsigned, and a signature is required by now; or its
                signer's key was revoked.
        """
        key = self.keys.get(number)
        if self.is_required and key is None:
            whose = f"by {number}, whom nobody trusts here" if number else "by nobody"
            raise self._refusal(f"{plugin} was installed signed {whose}, and that is required now")
        if key is not None and key.revoked is not None:
            raise self._refusal(f"its signer {key.id} {key.problem()}")

    def confirm(
        self, signer: Signer | None, plugin: str, version: str, digest: str, locked: str
    ) -> str:
        """Compare what was signed with what the package is, and return the signer's number.

        Args:
            signer: Who has signed it, see `verify`.
            plugin: The plugin's name, as the manifest has it.
            version: Its version.
            digest: The sha256 of the package.
            locked: Who has signed the version that is locked; empty if nobody.

        Raises:
            VerificationError: It was signed as something else, by a key that may not sign it, or by
                another one than before.
        """
        if signer is None:
            if locked:
                raise self._refusal(
                    f"{plugin} is signed by {locked} in the lock file, and this has no signature "
                    "of a trusted key"
                )
            return ""
        key = signer.key
        if problem := key.may_sign(plugin, self.place):
            raise self._refusal(f"its signer {key.id} {problem}")
        self._check_comment(signer, plugin, version, digest)
        if locked not in ("", key.id, *predecessors(key.id, dict(self.keys))):
            raise self._refusal(
                f"{plugin} is signed by {locked} in the lock file, and this by {key.id}; if the "
                "signer has another key now, use: vconnect trust NEW.pub --succeeds OLD"
            )
        return key.id

    def _check_comment(self, signer: Signer, plugin: str, version: str, digest: str) -> None:
        if not signer.comment.startswith(_OURS):
            # A signature of minisign does not say of what it is.
            if not signer.key.names(plugin):
                raise self._refusal(
                    f"its signature does not say that it is of {plugin}; sign it with vconnect "
                    f"sign, or trust the key with --for {plugin}"
                )
            return
        words = (one.partition("=") for one in signer.comment.removeprefix(_OURS).split())
        said = {name: value for name, _, value in words}
        for name, value in (("name", plugin), ("version", version), ("sha256", digest)):
            if said.get(name, "") != value:
                raise self._refusal(
                    f"it was signed as {name}={said.get(name, '')}, and this is {name}={value}"
                )

    def _check_unsigned(self, words: str) -> None:
        if self.is_required:
            raise self._refusal(f"{words}, and one is required")

    def _refusal(self, words: str) -> VerificationError:
        return VerificationError(f"{self.origin}: {words}")
