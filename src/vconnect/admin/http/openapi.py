"""The OpenAPI document, made from the table of routes."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec
import orjson

from vconnect.admin.answers import OrderState
from vconnect.version import host_version

from .asked import BYTES_TYPE, JSON_TYPE
from .orders import MAX_KEY_CHARS
from .problems import KINDS, TYPE
from .table import Route, Table

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "next", "error"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "next": {"type": "string"},
        "plugin": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Of all requests with the same key, the first one is carried out.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS},
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "respond-async: do not wait; see /api/orders/{id}.",
    "schema": {"type": "string", "enum": ["respond-async"]},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The etag of what is to be changed.",
    "schema": {"type": "string"},
}
# Every route may answer with these.
_COMMON = ("bad_query", "bad_host", "unknown_route", "method", "internal")
_OF_KEYS = ("conflict", "bad_field")
_WITH_ROLE = ("no_token", "bad_token", "session_ended", "role", "too_many_tries")
_WITH_BODY = ("bad_json", "bad_field", "too_large", "media_type", "bad_origin", "cross_site")


def document(table: Table) -> bytes:
    """Return the document of a table as JSON."""
    kinds = [kind for route in table.routes for kind in _structs(route)]
    _, schemas = msgspec.json.schema_components(
        kinds, schema_hook=lambda _: {}, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in table.routes:
        if route.is_hidden:
            continue
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "vconnect administration",
            "version": host_version(),
            "description": "Additive within a major version. Unknown keys of a query are refused.",
        },
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
    return orjson.dumps(whole, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _structs(route: Route) -> list[Any]:
    return [kind for kind in (route.body, route.answer) if kind is not None and kind is not bytes]


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _name(route),
        "summary": route.summary,
        "responses": _responses(route),
        "x-role": route.role or "none",
    }
    if route.role is None:
        operation["security"] = []
    parameters = [*_places(route.path), *_keys(route.query), *_headers(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = _body(route)
    return operation


def _name(route: Route) -> str:
    words = re.sub(r"[^a-zA-Z0-9]+", "_", route.path.removeprefix("/api/")).strip("_")
    return f"{route.method.lower()}_{words}"


def _places(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _keys(query: Any) -> list[dict[str, Any]]:
    if query is None:
        return []
    (schema,), components = msgspec.json.schema_components([query], ref_template="{name}")
    found = components.get(schema.get("$ref", ""), schema)
    return [
        {
            "name": name,
            "in": "query",
            "required": name in found.get("required", ()),
            "schema": {key: value for key, value in one.items() if key != "default"},
        }
        for name, one in found.get("properties", {}).items()
    ]


def _headers(route: Route) -> list[dict[str, Any]]:
    found = [_KEY, _PREFER] if route.may_be_repeated else []
    return [*found, _IF_MATCH] if "precondition_failed" in route.codes else found


def _body(route: Route) -> dict[str, Any]:
    if route.body is bytes:
        content = {BYTES_TYPE: {"schema": {"type": "string", "format": "binary"}}}
        return {"required": True, "content": content}
    schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
    return {"content": {"application/json": {"schema": schema}}}


def _responses(route: Route) -> dict[str, Any]:
    good: dict[str, Any] = {"description": route.summary}
    if route.status != HTTPStatus.NO_CONTENT:
        good["content"] = {route.media or JSON_TYPE: {"schema": _answer(route)}}
        good["content"] |= {media: {"schema": {"type": "string"}} for media in route.further_media}
    responses = {str(int(route.status)): good}
    if route.may_be_repeated:
        responses["202"] = _begun()
    for status, codes in _problems(route).items():
        responses[str(status)] = _problem(", ".join(codes))
    responses["default"] = _problem("A problem")
    return responses


def _begun() -> dict[str, Any]:
    location = {"description": "Where it is looked up.", "schema": {"type": "string"}}
    schema = {"$ref": f"#/components/schemas/{OrderState.__name__}"}
    return {
        "description": "The order has begun; Prefer: respond-async was sent",
        "headers": {"Location": location},
        "content": {JSON_TYPE: {"schema": schema}},
    }


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {TYPE: {"schema": schema}}}


def _answer(route: Route) -> dict[str, Any]:
    if route.media:
        return {"type": "string"}
    if route.answer is None or not isinstance(route.answer, type):
        return {"type": "object"}
    if not issubclass(route.answer, msgspec.Struct):
        return {"type": "object"}
    return {"$ref": f"#/components/schemas/{route.answer.__name__}"}


def _problems(route: Route) -> dict[int, list[str]]:
    codes = [*_COMMON, *route.codes]
    # The key was used for another body, or is too long.
    codes += [one for one in _OF_KEYS if route.may_be_repeated and one not in codes]
    codes += _WITH_ROLE if route.role is not None else ()
    if route.body is not None:
        of_body = [one for one in _WITH_BODY if route.body is not bytes or one != "bad_json"]
        codes += [one for one in of_body if one not in codes]
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(int(KINDS[code].status), []).append(code)
    return found
