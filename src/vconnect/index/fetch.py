"""Fetches one index, and decides whether it may be used."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from vconnect.durable import read_regular
from vconnect.errors import InstallError, VerificationError
from vconnect.packages.fetch import fetch
from vconnect.packages.source import Fetched, FetchLimits, Source, parse_source
from vconnect.removal import remove_tree
from vconnect.settings.live import LiveSettings
from vconnect.store.signatures import Found, fetch_signature, signatures_of
from vconnect.threads import in_thread
from vconnect.trust.policy import Signing

from .document import INDEX_NAME, MAX_INDEX_BYTES, Index, decode_index
from .serials import Copy, Serials

_SUFFIX = ".json"
# Somebody waits for it at a terminal. Seconds.
_LIMITS = FetchLimits(idle_timeout=15.0, total_timeout=120.0)

_log = logging.getLogger(__name__)


class Opened(NamedTuple):
    """An index that was fetched and may be used.

    Attributes:
        source: Where it is.
        content: What it has.
        notes: What the operator should know about it.
    """

    source: Source
    content: Index
    notes: tuple[str, ...]


class IndexReader:
    """Reads the indexes of a host.

    Args:
        settings: What is asked of their signatures.
        limits: Timeouts and retries.
    """

    def __init__(self, settings: LiveSettings, limits: FetchLimits = _LIMITS) -> None:
        self._live = settings
        self._limits = limits
        self._serials = Serials(settings.now.state_directory / "indexes")

    def parse(self, place: str) -> Source:
        """Return where the index of a table ``[plugins.sources."PLACE"]`` is.

        Raises:
            InstallError: It can be at no such place.
        """
        insecure = self._live.now.allow_insecure_http
        return parse_source(_address(place), allow_insecure_http=insecure, suffixes=(_SUFFIX,))

    async def read(self, source: Source) -> Opened:
        """Fetch an index, and check whether it may be used.

        Raises:
            VerificationError: It is older than the one that was seen last, or not signed as it
                must be.
            InstallError: It cannot be fetched, or is not valid.
        """
        settings = self._live.now
        signing = await in_thread(None, signatures_of(settings).policy_for, source)
        directory = Path(await in_thread(None, tempfile.mkdtemp, prefix="vconnect-index-"))
        try:
            fetched = await self._fetch(source, directory)
            signed = Found(None)
            if signing.is_needed:
                signed = await fetch_signature(
                    source,
                    fetched.path,
                    directory,
                    allow_insecure_http=settings.allow_insecure_http,
                )
            return await in_thread(None, _open, source, fetched, signing, signed, self._serials)
        finally:
            await in_thread(None, remove_tree, directory)

    async def _fetch(self, source: Source, directory: Path) -> Fetched:
        """Download an index, or take what was downloaded last if it is still the same."""
        copy = None
        if source.is_remote:
            copy = await in_thread(None, self._serials.copy_of, source.place)
        fetched = await fetch(
            source,
            directory,
            max_bytes=MAX_INDEX_BYTES,
            allow_insecure_http=self._live.now.allow_insecure_http,
            limits=self._limits,
            known=copy.edition if copy is not None else None,
        )
        if fetched.is_unchanged and copy is not None:
            await in_thread(None, fetched.path.write_bytes, copy.data)
        return fetched


def _address(place: str) -> str:
    """Return the address of an index that is named by its directory or its file.

    >>> _address("https://a.example/x/"), _address("/srv/plugins/my.json")
    ('https://a.example/x/index.json', '/srv/plugins/my.json')
    """
    if "://" not in place:
        return place if place.endswith(_SUFFIX) else f"{place.rstrip('/')}/{INDEX_NAME}"
    parts = urlsplit(place)
    if parts.path.endswith(_SUFFIX):
        return place
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{INDEX_NAME}"))


def _open(
    source: Source, fetched: Fetched, signing: Signing, signed: Found, serials: Serials
) -> Opened:
    """Read an index and check whether it may be used. Blocks."""
    path = fetched.path
    try:
        data = read_regular(path, MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise InstallError(f"{source.shown}: cannot be read: {error.strerror}") from error
    # Before it is parsed, and of the very bytes that are.
    digest = hashlib.sha256(data).hexdigest()
    signer = signing.verify(path, digest, signed.signature, signed.why_none)
    if signer is not None and (problem := signer.key.may_sign("an index", source.place)):
        raise VerificationError(f"{source.shown}: its signer {signer.key.id} {problem}")
    index = decode_index(data, source.shown)
    serials.check(source.place, index.serial, signer.key.id if signer is not None else "")
    if fetched.edition is not None and not fetched.is_unchanged:
        serials.keep(source.place, Copy(data, fetched.edition))
    if not index.is_expired():
        return Opened(source, index, ())
    words = f"has expired on {index.expires:%Y-%m-%d}, and may be an old copy"
    if signing.is_required:
        raise VerificationError(f"{source.shown}: {words}")
    _log.warning("%s %s", source.shown, words)
    return Opened(source, index, (f"{source.shown} {words}",))
