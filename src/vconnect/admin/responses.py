"""HTTP responses: JSON bodies, and every error in one form.

An error is ``{"error": {"code": …, "message": …}}`` with the HTTP status that fits. Text that
comes from plugins is only ever a JSON string, never HTML.
"""

from __future__ import annotations

import re
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

# The first class that fits decides, so the special ones come first.
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

# nosniff: were a browser ever to get here, it must not guess that text is a page.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(value: Any, status: int = HTTPStatus.OK) -> web.Response:
    """Return a JSON response with ``value``, whose structs become objects."""
    return web.Response(
        body=_encode(value), status=status, content_type="application/json", headers=_HEADERS
    )


def error_response(status: int, code: str, message: str) -> web.Response:
    """Return an error response in the one form that all errors have."""
    return json_response({"error": {"code": code, "message": message}}, status)


def response_for(error: VConnectError) -> web.Response:
    """Return the response for an error of ours: its own code, or else its class's name."""
    status = next(status for kind, status in _STATUS_OF if isinstance(error, kind))
    code = error.code if isinstance(error, PluginError) else _snake_case(type(error).__name__)
    return error_response(status, code, str(error))


def _snake_case(class_name: str) -> str:
    """Turn ``ManifestError`` into ``manifest_error``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_plain)
    except orjson.JSONEncodeError:
        # A path or an output line that is not UTF-8 arrives as lone surrogates, which JSON
        # cannot carry. One such name must not hide every other plugin.
        return orjson.dumps(_without_surrogates(value), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, LogRecord):
        return _plain_record(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _plain_record(record: LogRecord) -> dict[str, Any]:
    """Put its fields in as they are, encoded: decoded they may be twenty times as large."""
    plain = msgspec.structs.asdict(record)
    plain["fields"] = orjson.Fragment(plain.pop("fields_json"))
    return plain


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _without_surrogates(_plain(value))
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value
