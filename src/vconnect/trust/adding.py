"""A key that is to be trusted: what is said of it, and the key that hands over to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import BinaryIO

from vconnect.errors import ConfigError

from .keyring import TrustedKey
from .minisign import PublicKey, Signature
from .signing import verify


def describe_key(
    public: PublicKey,
    *,
    by: str,
    plugins: Sequence[str] = (),
    sources: Sequence[str] = (),
    comment: str = "",
    not_after: datetime | None = None,
    predecessor: TrustedKey | None = None,
) -> TrustedKey:
    """Return a key as `Keyring.add` takes it.

    Args:
        public: The key.
        by: Who adds it.
        plugins: The plugins that it may sign; by default those of its predecessor, or all.
        sources: The beginnings of the sources that it may sign packages of; likewise.
        comment: Whose it is; by default what its file says.
        not_after: From when on it may sign nothing more.
        predecessor: The key that hands over to it; see `check_succession`.
    """
    if predecessor is not None:
        # It may sign what the old key may, unless something else is said.
        plugins, sources = plugins or predecessor.plugins, sources or predecessor.sources
    return TrustedKey(
        id=public.id,
        key=public.line(),
        comment=comment or public.comment,
        plugins=tuple(plugins),
        sources=tuple(sources),
        added=datetime.now(UTC).replace(microsecond=0),
        by=by,
        not_after=not_after,
        succeeds=predecessor.id if predecessor is not None else "",
    )


def check_succession(old: TrustedKey, content: BinaryIO, signature: Signature) -> None:
    """Refuse a key that its predecessor has not signed. Blocks.

    Args:
        old: The predecessor.
        content: The file of the new key.
        signature: That file's signature.

    Raises:
        ConfigError: The old key counts no more, or the extra ``sign`` is not installed.
        SignatureError: The signature is not of the old key, or not of this file.
        OSError: The file cannot be read.
    """
    if problem := old.problem():
        raise ConfigError(f"the key {old.id} {problem}; it cannot hand over to another one")
    verify(content, signature, old.public)


def parse_not_after(text: str) -> datetime:
    """Parse a date such as ``2027-01-31``; without a time zone it is in UTC.

    Raises:
        ValueError: It is no date, or is over.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date; expected one such as 2027-01-31") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if moment <= datetime.now(UTC):
        raise ValueError(f"{text} is over")
    return moment
