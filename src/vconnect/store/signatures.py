"""Which signatures a host asks for, and where the signature of a package is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

from vconnect.errors import InstallError, SignatureError, VerificationError
from vconnect.names import is_below
from vconnect.packages.fetch import fetch
from vconnect.packages.source import FetchLimits, Source
from vconnect.settings.model import Settings, SourceOptions
from vconnect.threads import in_thread
from vconnect.trust.files import SIGNATURE_SUFFIX, read_signature
from vconnect.trust.keyring import Keyring
from vconnect.trust.minisign import MAX_FILE_BYTES, Signature
from vconnect.trust.policy import Signing

# Whoever waits for a package need not wait long for the few bytes beside it. Seconds.
_LIMITS = FetchLimits(idle_timeout=10.0, total_timeout=30.0, retries=1)


class Found(msgspec.Struct, frozen=True):
    """The signature of a package.

    Attributes:
        signature: The signature; ``None`` if there is none.
        why_none: Why there is none.
    """

    signature: Signature | None
    why_none: str = ""


class Signatures:
    """What a host wants of signatures.

    Args:
        keyring: The keys that are trusted; ``None`` for none.
        is_required: Whether every package must be signed.
        sources: Settings by the beginning of a source.
    """

    def __init__(
        self,
        keyring: Keyring | None = None,
        *,
        is_required: bool = False,
        sources: Mapping[str, SourceOptions] | None = None,
    ) -> None:
        self.keyring = keyring
        self._is_required = is_required
        self._sources = sources or {}

    def policy_for(self, source: Source) -> Signing:
        """Return what is asked of a package from a source. Blocks.

        Raises:
            ConfigError: The trust file cannot be used.
        """
        # A table that only says where an index is leaves signatures to the others.
        meant = [
            one
            for one, options in self._sources.items()
            if options.is_about_signatures and is_below(source.place, one)
        ]
        # The longest beginning is the one that says most about it.
        options = self._sources[max(meant, key=len)] if meant else SourceOptions()
        required = options.require_signature
        return Signing(
            origin=source.shown,
            place=source.place,
            keys=self.keyring.keys() if self.keyring is not None else {},
            is_required=self._is_required if required is None else required,
            allowed=options.keys,
        )


def signatures_of(settings: Settings) -> Signatures:
    """Return what a host with these settings wants."""
    return Signatures(
        Keyring(Path(settings.trust_file)) if settings.trust_file else None,
        is_required=settings.require_signature,
        sources=settings.sources,
    )


async def fetch_signature(
    source: Source, archive: Path, directory: Path, *, allow_insecure_http: bool
) -> Found:
    """Read the signature beside a package, ``PACKAGE.minisig``.

    Args:
        source: The source of the package.
        archive: The package, which may be a download.
        directory: The directory for a download.
        allow_insecure_http: See `fetch`.

    Raises:
        VerificationError: There is one, and it is damaged.
    """
    if source.path is not None:
        path = archive.with_name(archive.name + SIGNATURE_SUFFIX)
        if not await in_thread(None, path.exists):
            return Found(None, f"{path} is not there")
    else:
        beside = _beside(source)
        try:
            fetched = await fetch(
                beside,
                directory,
                max_bytes=MAX_FILE_BYTES,
                allow_insecure_http=allow_insecure_http,
                limits=_LIMITS,
            )
        except InstallError as error:
            return Found(None, str(error))
        path = fetched.path
    try:
        return Found(await in_thread(None, read_signature, path))
    except SignatureError as error:
        raise VerificationError(f"{source.shown}: {error}") from None


def _beside(source: Source) -> Source:
    """Return the address of the signature, with the same query."""
    parts = urlsplit(source.text)
    text = urlunsplit(parts._replace(path=parts.path + SIGNATURE_SUFFIX))
    shown = source.shown + SIGNATURE_SUFFIX
    return Source(text=text, shown=shown, suffix=SIGNATURE_SUFFIX, path=None)
