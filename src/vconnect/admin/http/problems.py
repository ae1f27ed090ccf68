"""Errors as problem documents (RFC 9457), each with a stable code and the next step."""

# Text that comes from plugins is only ever sent as a JSON string, never as HTML.

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from vconnect.errors import (
    ConfigError,
    ConfigRefusedError,
    ConflictError,
    ConsentRequiredError,
    IllegalTransitionError,
    InstallError,
    ManifestError,
    NotAskedError,
    NotOpenError,
    PayloadError,
    PluginError,
    PluginOverloadedError,
    PluginReplyError,
    PluginStartError,
    PluginTimeoutError,
    PluginUnavailableError,
    SignatureError,
    UnknownPluginError,
    VConnectError,
    VerificationError,
)
from vconnect.seeing.encoding import encode

from .asked import Reply

TYPE = "application/problem+json"
_DOCS = "https://vconnect.readthedocs.io/en/stable/errors/#"

_log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """What all problems of one code have in common.

    Attributes:
        status: The HTTP status.
        title: In words.
        next: The step to take, unless the problem knows a better one.
        old: The code that earlier versions had for it; empty if it is the same.
    """

    status: HTTPStatus
    title: str
    next: str = ""
    old: str = ""


_S = HTTPStatus
KINDS: dict[str, Kind] = {
    "bad_json": Kind(_S.BAD_REQUEST, "The body is not JSON", "send a JSON object", "bad_request"),
    "bad_body": Kind(
        _S.BAD_REQUEST, "The body cannot be read", "send the body that is announced", "bad_request"
    ),
    "bad_field": Kind(
        _S.BAD_REQUEST, "A field is wrong", "correct the fields that are named", "bad_request"
    ),
    "bad_query": Kind(
        _S.BAD_REQUEST, "The query is wrong", "see the keys in api/openapi.json", "bad_request"
    ),
    "no_token": Kind(
        _S.UNAUTHORIZED,
        "A token is needed",
        "send Authorization: Bearer TOKEN, or open the address that the host has printed",
    ),
    "bad_token": Kind(
        _S.UNAUTHORIZED, "The token is not right", "use the one in the host's token file"
    ),
    "session_ended": Kind(_S.UNAUTHORIZED, "The session has ended", "log in again"),
    "role": Kind(
        _S.FORBIDDEN, "The role is not enough", "use the token of the role operate", "forbidden"
    ),
    "bad_host": Kind(
        _S.FORBIDDEN,
        "The Host header is not one of this server's",
        "use one of the names that are given, or add yours to http_hosts",
        "forbidden",
    ),
    "bad_origin": Kind(
        _S.FORBIDDEN,
        "The request comes from another site",
        "open the page of this host itself",
        "forbidden",
    ),
    "cross_site": Kind(
        _S.FORBIDDEN,
        "The request comes from another site",
        "open the page of this host itself",
        "forbidden",
    ),
    "confined": Kind(
        _S.FORBIDDEN,
        "A plugin in a sandbox may not administer its host",
        "ask the operator",
        "forbidden",
    ),
    "too_many_tries": Kind(
        _S.TOO_MANY_REQUESTS, "Too many wrong tokens", "wait a minute, then try again"
    ),
    "unknown_route": Kind(
        _S.NOT_FOUND, "There is no such route", "see api/openapi.json", "not_found"
    ),
    "unknown_plugin": Kind(_S.NOT_FOUND, "There is no such plugin", "see vconnect list"),
    "unknown_order": Kind(_S.NOT_FOUND, "There is no such order", "it may have been forgotten"),
    "unknown_key": Kind(_S.NOT_FOUND, "There is no such key", "see vconnect trusted"),
    "unknown_host": Kind(_S.NOT_FOUND, "There is no such host", "see api/hosts"),
    "method": Kind(
        _S.METHOD_NOT_ALLOWED,
        "The method is not allowed here",
        "use one of the allowed methods",
        "method_not_allowed",
    ),
    "too_slow": Kind(_S.REQUEST_TIMEOUT, "The body came too slowly", "send it at once"),
    "conflict": Kind(
        _S.CONFLICT, "It is not possible in this state", "see vconnect status, then try again"
    ),
    "config_refused": Kind(
        _S.CONFLICT, "The configuration was refused", "correct the fields that are named"
    ),
    "install_error": Kind(
        _S.CONFLICT, "It cannot be installed", "look for what is wrong with it: vconnect check"
    ),
    "start_failed": Kind(_S.CONFLICT, "The plugin did not start", "see vconnect why"),
    "consent_required": Kind(_S.CONFLICT, "It asks for permissions", "grant them, or leave it"),
    "precondition_failed": Kind(
        _S.PRECONDITION_FAILED, "Somebody else has changed it", "read it again, then try again"
    ),
    "too_large": Kind(_S.REQUEST_ENTITY_TOO_LARGE, "The body is too large", "send less"),
    "media_type": Kind(
        _S.UNSUPPORTED_MEDIA_TYPE,
        "The content type is not the one that is expected",
        "send Content-Type: application/json",
        "unsupported_media_type",
    ),
    "not_verified": Kind(
        _S.UNPROCESSABLE_ENTITY, "It is not what was meant", "ask its publisher for the right one"
    ),
    "signature_error": Kind(
        _S.UNPROCESSABLE_ENTITY, "Its signature is not right", "see vconnect trusted"
    ),
    "manifest_error": Kind(_S.UNPROCESSABLE_ENTITY, "The manifest is wrong", "correct it"),
    "config_error": Kind(_S.UNPROCESSABLE_ENTITY, "The configuration is wrong", "correct it"),
    "no_space": Kind(
        _S.INSUFFICIENT_STORAGE, "The disk is full", "make room on the disk, then try again"
    ),
    "internal": Kind(
        _S.INTERNAL_SERVER_ERROR, "An error of the host itself", "look for the id in its log"
    ),
    "plugin_error": Kind(_S.BAD_GATEWAY, "The plugin answered with an error", "see its log"),
    "unavailable": Kind(_S.SERVICE_UNAVAILABLE, "The plugin cannot be asked", "see vconnect why"),
    "circuit_open": Kind(
        _S.SERVICE_UNAVAILABLE, "The plugin's circuit is open", "see vconnect why", "unavailable"
    ),
    "not_connected": Kind(
        _S.SERVICE_UNAVAILABLE, "The plugin is not connected", "see vconnect why", "unavailable"
    ),
    "overloaded": Kind(_S.SERVICE_UNAVAILABLE, "Too much is waiting already", "try again later"),
    "too_many_streams": Kind(
        _S.SERVICE_UNAVAILABLE, "Too many streams are open", "close one, or try again later"
    ),
    "stopping": Kind(_S.SERVICE_UNAVAILABLE, "The host is stopping", "try again later"),
    "not_ready": Kind(_S.SERVICE_UNAVAILABLE, "The host is not ready", "see vconnect list"),
    "deadline_exceeded": Kind(
        _S.GATEWAY_TIMEOUT, "The plugin did not answer in time", "see vconnect why"
    ),
}
"""Every code of this interface. Codes of plugins' own errors come besides."""

#: The first matching class decides, so the more specific classes come first.
_CODE_OF: tuple[tuple[type[VConnectError], str], ...] = (
    (UnknownPluginError, "unknown_plugin"),
    (PluginStartError, "start_failed"),
    (PluginReplyError, "plugin_error"),
    (PluginTimeoutError, "deadline_exceeded"),
    (PluginOverloadedError, "overloaded"),
    (PluginUnavailableError, "unavailable"),
    (SignatureError, "signature_error"),
    (VerificationError, "not_verified"),
    (ManifestError, "manifest_error"),
    (ConfigRefusedError, "config_refused"),
    (ConfigError, "config_error"),
    (ConflictError, "conflict"),
    (ConsentRequiredError, "consent_required"),
    (InstallError, "install_error"),
    (PayloadError, "bad_field"),
    (NotOpenError, "stopping"),
    (IllegalTransitionError, "internal"),
)


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """A request cannot be carried out.

    Args:
        code: One of `KINDS`.
        detail: What was found and what was expected.
        next: The step to take; by default that of the code.
        headers: Headers of the answer.
        **members: Further members of the document, such as ``plugin``.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        next: str = "",  # noqa: A002 - the name of the member
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.next = next
        self.headers = headers or {}
        self.members = members


def field_problem(code: str, place: str, words: str) -> Problem:
    """Build the problem of one wrong field or key of a query."""
    detail = f"{place}: {words}" if place else words
    return Problem(code, detail, errors=[{"field": place, "detail": words}])


def reply_to(problem: Problem) -> Reply:
    """Build the answer for a problem."""
    kind = KINDS[problem.code]
    return _reply(
        problem.code,
        kind,
        problem.detail,
        problem.next or kind.next,
        problem.headers,
        old=kind.old or problem.code,
        **problem.members,
    )


def reply_to_error(error: Exception, what: str) -> Reply:
    """Build the answer for an exception that is being handled; log it if it is a bug of ours.

    Args:
        error: The exception.
        what: What was asked, for the log.
    """
    if isinstance(error, Problem):
        return reply_to(error)
    if not isinstance(error, VConnectError) or isinstance(error, IllegalTransitionError):
        number = secrets.token_hex(4)
        _log.exception("%s: internal error %s", what, number)
        return reply_to(
            Problem(
                "internal",
                f"internal error {number} of the host; the traceback is in its log",
                id=number,
            )
        )
    return _reply_to_ours(error)


def _reply_to_ours(error: VConnectError) -> Reply:
    found = next((code for kind, code in _CODE_OF if isinstance(error, kind)), "")
    code = _finer(error) or found or error.code
    kind = KINDS.get(code, KINDS[found] if found else KINDS["conflict"])
    members: dict[str, Any] = {}
    if isinstance(error, PluginError):
        members["plugin"] = error.plugin
    if isinstance(error, UnknownPluginError) and error.did_you_mean is not None:
        members["did_you_mean"] = error.did_you_mean
    if isinstance(error, ConsentRequiredError):
        members["permissions"] = error.permissions
    # Errors of plugins have codes of the protocol; all others that of their class.
    old = error.code if isinstance(error, PluginError) else type(error).code
    return _reply(code, kind, str(error), _advice(error, kind), {}, old=old, **members)


def _finer(error: VConnectError) -> str:
    """Return a code that says more than the class of an error."""
    if isinstance(error, NotAskedError):
        return "circuit_open" if error.reason == "circuit_open" else "not_connected"
    # Some of our errors have a code of their own, beside that of their kind.
    return error.code if error.code in KINDS and not isinstance(error, PluginError) else ""


def _advice(error: VConnectError, kind: Kind) -> str:
    """Return the step to take: what the error's own text says behind its semicolon, if anything."""
    _, mark, advice = str(error).rpartition("; ")
    return advice if mark else kind.next


def _reply(
    code: str,
    kind: Kind,
    detail: str,
    step: str,
    headers: dict[str, str],
    *,
    old: str,
    errors: Sequence[dict[str, str]] = (),
    **members: Any,
) -> Reply:
    body: dict[str, Any] = {
        "type": _DOCS + code,
        "title": kind.title,
        "status": int(kind.status),
        "code": code,
        "detail": detail,
        "next": step,
        **members,
    }
    if errors:
        body["errors"] = errors
    # What clients of the first versions read.
    body["error"] = {"code": old, "message": detail}
    if kind.status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"Retry-After": "5", **headers}
    return Reply(encode(body), kind.status, TYPE, headers, code=code)
