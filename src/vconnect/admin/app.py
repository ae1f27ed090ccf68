"""The routes of the administration interface, and the manager's methods behind them."""

# No request may come from a browser: one with an `Origin`, or with an unexpected `Host`, is refused
# before it reaches a route. Bodies must be JSON and be declared as such.

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol

import msgspec
from aiohttp import web

from vconnect.bounds import cut
from vconnect.errors import PayloadError
from vconnect.names import LogLevel
from vconnect.wire.messages import check_event

from .asking import who_asks
from .bodies import BadRequestError, field_first, parse_body
from .package_routes import add_package_routes
from .responses import error_response, json_response, response_for_any
from .settings_routes import add_settings_routes

# The hosts that clients send for a Unix socket. A page that reaches it through a proxy would send
# the proxy's name.
_HOSTS = ("localhost", "vconnect")

# How long a client may take to send the rest of a body that nobody reads. Seconds.
_REST_S = 10.0

_log = logging.getLogger(__name__)

_ACTIONS = ("start", "stop", "restart", "release", "enable", "disable")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Manager(Protocol):
    """The part of ``PluginRuntimeManager`` that this interface uses."""

    packages: Any
    configuration: Any

    async def reload(self, *, dry_run: bool = False, by: str = "") -> Any:
        """Read the settings again."""

    def runtime_summaries(self) -> Sequence[Any]:
        """Describe every plugin."""

    def summary(self, name: str) -> Any:
        """Describe one plugin, by any of its names."""

    def plugin_logs(
        self, name: str, *, lines: int, level: LogLevel, after: int | None, states: bool
    ) -> Any:
        """Return a plugin's log records."""

    def host_summary(self) -> msgspec.Struct:
        """Describe the host itself."""

    async def start_plugin(self, name: str) -> None:
        """Start a plugin."""

    async def stop_plugin(self, name: str) -> bool:
        """Stop a plugin."""

    async def enable_plugin(self, name: str) -> None:
        """Allow a plugin to be started, and start it."""

    async def disable_plugin(self, name: str) -> None:
        """Stop a plugin, and let nobody start it."""

    async def release_plugin(self, name: str) -> int:
        """Lift a plugin's quarantine."""

    async def restart_plugin(self, name: str) -> None:
        """Restart a plugin."""

    async def emit(self, event: str, payload: Any, *, timeout: float | None = None) -> Any:
        """Send an event through the chain."""

    async def broadcast(self, event: str, payload: Any, *, timeout: float | None = None) -> Any:
        """Send an event to all plugins that want it at the same time."""

    async def request_result(
        self, plugin: str, event: str, payload: Any, *, timeout: float | None = None
    ) -> Any:
        """Send an event to one plugin and return its result."""


class EventRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /api/events``.

    Attributes:
        event: The event's name.
        payload: Any JSON value.
        mode: ``chain`` (the default) or ``broadcast``; not together with ``plugin``.
        plugin: The only plugin to call, by any of its names.
        timeout: Seconds for the whole call; by default as configured for the host.
    """

    event: Annotated[str, msgspec.Meta(min_length=1)]
    payload: Any = msgspec.field(default_factory=dict)
    mode: Literal["chain", "broadcast"] | None = None
    plugin: str | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None


class LogRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``GET /api/plugins/{name}/logs``.

    Attributes:
        lines: The maximum number of records.
        level: The lowest level to return.
        after: The ``next`` of an earlier response, to continue from there.
        states: Whether to return what the host says about the plugin instead of its output.
    """

    lines: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    level: LogLevel = "trace"
    # Beyond 2**53, JavaScript and others cannot represent an integer exactly.
    after: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)] | None = None
    states: bool = False


def create_app(manager: Manager, max_body_bytes: int) -> web.Application:
    """Create the application that administers ``manager``.

    Args:
        manager: The manager.
        max_body_bytes: The largest accepted body.
    """
    app = web.Application(
        # From the outside in: errors of the inner two are answered in our form as well.
        middlewares=[_read_on, _answer_errors, _refuse_browsers, _refuse_foreign_bodies],
        client_max_size=max_body_bytes,
    )
    routes = _Routes(manager)
    app.router.add_get("/api/host", routes.host)
    app.router.add_get("/api/plugins", routes.plugins)
    app.router.add_get("/v1/plugins/runtime/list", routes.original_list)
    app.router.add_get("/api/plugins/{name}/status", routes.status)
    app.router.add_get("/api/plugins/{name}/logs", routes.logs)
    app.router.add_post("/api/plugins/{name}/{action:" + "|".join(_ACTIONS) + "}", routes.act)
    app.router.add_post("/api/events", routes.events)
    add_package_routes(app, manager)
    add_settings_routes(app, manager)
    return app


class _Routes:
    """The handlers: parse the request, call the manager, respond."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def host(self, _: web.Request) -> web.Response:
        return json_response(self._manager.host_summary())

    async def plugins(self, _: web.Request) -> web.Response:
        return json_response({"plugins": self._manager.runtime_summaries()})

    async def original_list(self, _: web.Request) -> web.Response:
        """Respond as the original server does, for tools that were written for it."""
        plugins = [
            {"name": one.name, "version": one.version or None, "status": one.status}
            for one in self._manager.runtime_summaries()
        ]
        return json_response({"plugins": plugins})

    async def status(self, request: web.Request) -> web.Response:
        return json_response(self._manager.summary(request.match_info["name"]))

    async def logs(self, request: web.Request) -> web.Response:
        wanted = _parse_query(request.query)
        page = self._manager.plugin_logs(
            request.match_info["name"],
            lines=wanted.lines,
            level=wanted.level,
            after=wanted.after,
            states=wanted.states,
        )
        return json_response(page)

    async def act(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        action = request.match_info["action"]
        _log.info("audit: %s %s by %s", action, cut(name), who_asks(request))
        # The route's pattern only lets through what there is.
        await getattr(self._manager, f"{action}_plugin")(name)
        # The state after the action, which saves the client a second request.
        return json_response(self._manager.summary(name))

    async def events(self, request: web.Request) -> web.Response:
        wanted = _parse_event(await request.read())
        if wanted.plugin is not None:
            return json_response(await self._ask_one(wanted, wanted.plugin))
        call = self._manager.broadcast if wanted.mode == "broadcast" else self._manager.emit
        return json_response(await call(wanted.event, wanted.payload, timeout=wanted.timeout))

    async def _ask_one(self, wanted: EventRequest, plugin: str) -> dict[str, Any]:
        """Call one plugin, and return its result in the form of an outcome."""
        result = await self._manager.request_result(
            plugin, wanted.event, wanted.payload, timeout=wanted.timeout
        )
        return {
            "results": [result],
            "stopped_by": result.plugin if result.stop else None,
            "payload": wanted.payload,
            "reason": None,
            "refusal": None,
        }


@web.middleware
async def _read_on(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Read the rest of a body: a client that is still writing it would not get the answer.

    A body may also have no end, so only as much is read as a body may have.
    """
    response = await handler(request)
    left = request.client_max_size
    try:
        async with asyncio.timeout(_REST_S):
            while left > 0 and not request.content.at_eof():
                left -= len(await request.content.readany())
    except Exception as error:  # noqa: BLE001 - the answer stands, whatever the rest was
        _log.debug(
            "%s %s: its body was not read to the end: %r", request.method, request.path, error
        )
    return response


@web.middleware
async def _answer_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turn any exception of a handler into a response: the boundary of the HTTP side."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _in_our_form(request, error)
    except BadRequestError as error:
        return error_response(HTTPStatus.BAD_REQUEST, "bad_request", str(error))
    except Exception as error:  # noqa: BLE001 - the boundary: logged, and the host continues
        return response_for_any(request, error)


@web.middleware
async def _refuse_browsers(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse what a web page could send, in case the socket is ever exposed through a proxy."""
    # Browsers send it with every request that could change anything.
    if "Origin" in request.headers:
        return _forbidden("requests with an Origin header are refused: browsers are not served")
    host = request.headers.get("Host", "")
    if host.partition(":")[0].lower() not in _HOSTS:
        return _forbidden(f"the Host header is {host!r}; expected one of: {', '.join(_HOSTS)}")
    return await handler(request)


@web.middleware
async def _refuse_foreign_bodies(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse bodies that are not declared as JSON, above all forms, which any page can send."""
    # aiohttp assumes this type if there is none, and clients send it with an empty body.
    nothing = request.content_type == "application/octet-stream" and not request.can_read_body
    # A page can send a form to any address without being asked, but JSON only after a preflight
    # request.
    if not nothing and request.content_type != "application/json":
        got = request.headers.get("Content-Type", "none")
        return error_response(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            f"the content type is {got!r}; expected application/json",
        )
    return await handler(request)


def _forbidden(message: str) -> web.Response:
    return error_response(HTTPStatus.FORBIDDEN, "forbidden", message)


def _in_our_form(request: web.Request, error: web.HTTPException) -> web.Response:
    """Turn aiohttp's plain-text error into JSON, and keep its ``Allow`` header."""
    allowed = error.headers.get("Allow", "")
    # Only what aiohttp itself can raise here; anything else keeps its own text.
    words = {
        404: ("not_found", f"no such route: {request.path}"),
        405: (
            "method_not_allowed",
            f"{request.method} is not allowed on {request.path}; allowed: {allowed}",
        ),
        413: ("too_large", f"the body is larger than {request.client_max_size} bytes"),
    }
    response = error_response(error.status, *words.get(error.status, ("http_error", error.reason)))
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _parse_event(body: bytes) -> EventRequest:
    wanted = parse_body(body, EventRequest)
    if wanted.plugin is not None and wanted.mode is not None:
        raise BadRequestError("mode: cannot be combined with plugin; omit one of them")
    try:
        check_event(wanted.event)
    except PayloadError as error:
        raise BadRequestError(f"event: {error}") from None
    return wanted


def _parse_query(query: Mapping[str, str]) -> LogRequest:
    try:
        return msgspec.convert(dict(query), LogRequest, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequestError(field_first(error)) from None
