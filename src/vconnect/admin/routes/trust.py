"""The routes for the keys whose signatures count."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

import msgspec

from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import body_of, query_of
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.problems import Problem, field_problem
from vconnect.admin.http.table import Route
from vconnect.admin.manager import Manager
from vconnect.errors import SignatureError
from vconnect.threads import in_thread
from vconnect.trust.adding import check_succession, describe_key, parse_not_after
from vconnect.trust.keyring import Keyring, TrustedKey
from vconnect.trust.minisign import PublicKey, Signature, parse_public_key, parse_signature

from .plugins import Nothing


class TrustRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/trusted``.

    Attributes:
        key: The public key: the text of its file, or its line alone.
        plugins: The plugins that it may sign, as patterns such as ``acme-*``; empty for all.
        sources: The beginnings of the sources that it may sign packages of; empty for all.
        comment: Whose it is.
        not_after: The date from when on it may sign nothing more, such as ``2027-01-31``.
        succeeds: The number of the trusted key that hands over to it.
        signature: The text of that key's signature of the whole text of ``key``.
        dry_run: Only return what would be trusted.
    """

    key: str
    plugins: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    comment: str = ""
    not_after: str = ""
    succeeds: str = ""
    signature: str = ""
    dry_run: bool = False


class UntrustQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``DELETE /api/trusted/{id}``.

    Attributes:
        revoke: Whether to remember that nothing of the key counts, rather than forget it.
        reason: Why it is revoked.
        dry_run: Only return the key.
    """

    revoke: bool = False
    reason: str = ""
    dry_run: bool = False


class TrustRoutes:
    """The handlers. They change the file that the commands ``trust`` and ``untrust`` change.

    Args:
        manager: The manager.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        # The file is read, changed and written as a whole.
        self._changing = asyncio.Lock()

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        return [
            Route(
                "GET",
                "/api/trusted",
                "view",
                self.keys,
                "List the keys whose signatures count",
                query=Nothing,
                codes=("config_error",),
            ),
            Route(
                "POST",
                "/api/trusted",
                "operate",
                self.trust,
                "Let the signatures of a key count",
                body=TrustRequest,
                answer=TrustedKey,
                order="trust",
                codes=("config_error", "conflict", "signature_error", "unknown_key"),
            ),
            Route(
                "DELETE",
                "/api/trusted/{id}",
                "operate",
                self.untrust,
                "Forget or revoke a key",
                query=UntrustQuery,
                answer=TrustedKey,
                order="untrust",
                codes=("config_error", "conflict", "unknown_key"),
            ),
        ]

    async def keys(self, asked: Asked) -> Reply:
        """List the keys."""
        query_of(asked, Nothing)
        if not self._manager.settings.trust_file:
            return json_reply({"items": [], "next": None})
        keys = await in_thread(None, self._keyring().keys)
        return json_reply({"items": list(keys.values()), "next": None})

    async def trust(self, asked: Asked) -> Reply:
        """Trust a key."""
        wanted = await body_of(asked, TrustRequest)
        async with self._changing:
            return json_reply(await in_thread(None, _trust, self._keyring(), wanted, asked.by))

    async def untrust(self, asked: Asked) -> Reply:
        """Forget or revoke a key."""
        wanted = query_of(asked, UntrustQuery)
        if wanted.reason and not wanted.revoke:
            raise field_problem("bad_query", "reason", "is for revoke=true only")
        number = asked.names["id"]
        async with self._changing:
            return json_reply(await in_thread(None, _untrust, self._keyring(), number, wanted))

    def _keyring(self) -> Keyring:
        path = self._manager.settings.trust_file
        if not path:
            raise Problem(
                "conflict",
                "this host has no trust file, since it has no configuration file",
                next="set trust_file, or start the host with --config",
            )
        return Keyring(Path(path))


def _trust(keyring: Keyring, wanted: TrustRequest, by: str) -> TrustedKey:
    """Trust a key, or show what that would be. Blocks."""
    public = _public_key(wanted.key)
    known = keyring.keys().get(public.id)
    if known is not None and known.revoked is not None:
        raise Problem(
            "conflict",
            f"the key {known.id} {known.problem()}; it cannot be trusted again",
            next="make another key: vconnect keygen",
        )
    old = _find(keyring, wanted.succeeds) if wanted.succeeds else None
    if old is not None:
        check_succession(old, BytesIO(wanted.key.encode()), _signature(wanted.signature))
    try:
        not_after = parse_not_after(wanted.not_after) if wanted.not_after else None
    except ValueError as error:
        raise field_problem("bad_field", "not_after", str(error)) from None
    key = describe_key(
        public,
        by=by,
        plugins=wanted.plugins,
        sources=wanted.sources,
        comment=wanted.comment,
        not_after=not_after,
        predecessor=old,
    )
    return keyring.plan(key) if wanted.dry_run else keyring.add(key)


def _untrust(keyring: Keyring, number: str, wanted: UntrustQuery) -> TrustedKey:
    """Forget or revoke a key, or only return it. Blocks."""
    key = _find(keyring, number)
    if wanted.dry_run:
        return key
    return keyring.revoke(key.id, wanted.reason) if wanted.revoke else keyring.remove(key.id)


def _find(keyring: Keyring, number: str) -> TrustedKey:
    key = keyring.keys().get(number.upper())
    if key is None:
        raise Problem("unknown_key", f"no key with the number {number!a} is trusted here")
    return key


def _public_key(text: str) -> PublicKey:
    try:
        return parse_public_key(text, "the key")
    except SignatureError as error:
        raise field_problem("bad_field", "key", str(error)) from None


def _signature(text: str) -> Signature:
    if not text:
        raise field_problem("bad_field", "signature", "is missing; succeeds needs it")
    try:
        return parse_signature(text, "the signature")
    except SignatureError as error:
        raise field_problem("bad_field", "signature", str(error)) from None
