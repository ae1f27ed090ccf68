"""HTTP responses: JSON bodies, and one form for all errors."""

# An error is `{"error": {"code": …, "message": …}}` with an appropriate HTTP status. Text that
# comes from plugins is only ever sent as a JSON string, never as HTML.

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import msgspec
import orjson
from aiohttp import web

from vconnect.errors import (
    IllegalTransitionError,
    PluginError,
    PluginOverloadedError,
    PluginReplyError,
    PluginStartError,
    PluginTimeoutError,
    PluginUnavailableError,
    UnknownPluginError,
    VConnectError,
)
from vconnect.logs.records import LogRecord

_log = logging.getLogger(__name__)

# The first matching class decides, so the more specific classes come first.
_STATUS_OF: tuple[tuple[type[VConnectError], HTTPStatus], ...] = (
    (UnknownPluginError, HTTPStatus.NOT_FOUND),
    (PluginStartError, HTTPStatus.CONFLICT),
    (PluginReplyError, HTTPStatus.BAD_GATEWAY),
    (PluginTimeoutError, HTTPStatus.GATEWAY_TIMEOUT),
    (PluginUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (PluginOverloadedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (IllegalTransitionError, HTTPStatus.INTERNAL_SERVER_ERROR),
    (VConnectError, HTTPStatus.CONFLICT),
)

# nosniff: if a browser ever gets a response, it must not interpret text as a page.
# Fewer than the encoder writes, for what stands around it.
_MAX_LEVELS = 240
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(value: Any, status: int = HTTPStatus.OK) -> web.Response:
    """Build a JSON response from ``value``, in which structs become objects."""
    return web.Response(
        body=encode(value), status=status, content_type="application/json", headers=HEADERS
    )


def error_response(status: int, code: str, message: str) -> web.Response:
    """Build an error response in the form that all errors have."""
    return json_response({"error": {"code": code, "message": message}}, status)


def raw_error_response(status: HTTPStatus, code: str, message: str) -> bytes:
    """Encode an error response for a connection on which no request is read."""
    body = encode({"error": {"code": code, "message": message}})
    head = {
        **HEADERS,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in head.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def response_for(error: VConnectError) -> web.Response:
    """Build the response for one of our errors, with its own code, or else its class name."""
    status = next(status for kind, status in _STATUS_OF if isinstance(error, kind))
    # Errors of plugins have codes of the protocol; all others that of their class.
    code = error.code if isinstance(error, PluginError) else type(error).code
    return error_response(status, code, str(error))


def response_for_any(request: web.Request, error: Exception) -> web.Response:
    """Build the response for an exception that is being handled; log it if it is a bug of ours."""
    if not isinstance(error, VConnectError):
        _log.exception("%s %s: internal error", request.method, request.path)
        return error_response(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal",
            "internal error of the host; the traceback is in its log",
        )
    if isinstance(error, IllegalTransitionError):
        # A bug of ours, although it has an error class: log its traceback.
        _log.exception("%s %s: internal error", request.method, request.path)
    return response_for(error)


def encode(value: Any) -> bytes:
    """Encode ``value`` as JSON, in which structs become objects."""
    try:
        return orjson.dumps(value, default=_plain)
    except orjson.JSONEncodeError:
        # A path or a line of output that is not UTF-8 contains lone surrogates, which JSON cannot
        # represent. One such name must not make all other plugins unavailable.
        return orjson.dumps(_mended(value), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, LogRecord):
        return _plain_record(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


def _plain_record(record: LogRecord) -> dict[str, Any]:
    """Insert the fields as they are, encoded: decoded they may be twenty times as large."""
    plain = msgspec.structs.asdict(record)
    plain["fields"] = orjson.Fragment(plain.pop("fields_json"))
    return plain


def _mended(value: Any, level: int = 0) -> Any:
    """Return a value that can be encoded, with words in place of what cannot."""
    if isinstance(value, msgspec.Struct):
        value = _plain(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, dict | list | tuple) and level >= _MAX_LEVELS:
        return "nested too deeply"
    if isinstance(value, dict):
        return {_mended(key): _mended(item, level + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(item, level + 1) for item in value]
    return value
