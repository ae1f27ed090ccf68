"""The interface as an aiohttp application: turns its requests into ours, and our answers back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import aclosing, suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from .application import Application
from .asked import Asked, Reply, TooLargeError, Via
from .guard import Identifies

# How long a client may take to send the rest of a body that nobody reads. Seconds.
_REST_S = 10.0
# How long a client may take to send its body. Seconds.
_BODY_S = 30.0
# A client that takes nothing of a stream for so long is given up. Seconds.
_STALLED_S = 30.0

_log = logging.getLogger(__name__)


def aiohttp_application(
    application: Application,
    via: Via,
    identify: Callable[[web.Request], Identifies],
    hosts: Collection[str] | None,
    max_body_bytes: int,
) -> web.Application:
    """Create an aiohttp application; every path below its prefix is answered by ours.

    Args:
        application: Answers requests.
        via: How requests come.
        identify: Returns what says who sends a request.
        hosts: The names of this server; ``None`` if the application around it checks them.
        max_body_bytes: The largest accepted body.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = _asked(request, via)
        reply = await application.answer(asked, identify(request), hosts)
        return await _respond(request, reply)

    app = web.Application(client_max_size=max_body_bytes, middlewares=[_read_on])
    app.router.add_route("*", "/{path:.*}", handle)
    return app


def _asked(request: web.Request, via: Via) -> Asked:
    async def read() -> bytes:
        try:
            async with asyncio.timeout(_BODY_S):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise TooLargeError(
                f"the body is larger than {request.client_max_size} bytes"
            ) from None

    return Asked(
        method=request.method,
        path=_path(request),
        query=tuple(request.query.items()),
        headers={name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers},
        read=read,
        via=via,
        peer=request.remote or "",
    )


def _path(request: web.Request) -> str:
    """Return the encoded path below the prefix at which the application is mounted."""
    path = request.rel_url.raw_path
    info = request.match_info
    tail = info.get("path", "")
    # What stands before the part that our own route has matched.
    resource = info.route.resource
    prefix = resource.canonical.partition("/{path}")[0] if resource is not None else ""
    below = path[len(prefix) :] if path.startswith(prefix) else f"/{tail}"
    return below or "/"


async def _respond(request: web.Request, reply: Reply) -> web.StreamResponse:
    headers = {**reply.headers, "Content-Type": reply.content_type}
    if reply.chunks is None:
        if not reply.body:
            headers.pop("Content-Type")
        return web.Response(body=reply.body, status=reply.status, headers=headers)
    response = web.StreamResponse(status=reply.status, headers=headers)
    await response.prepare(request)
    async with aclosing(reply.chunks) as chunks:  # type: ignore[type-var]
        is_there = True
        async for chunk in chunks:
            transport = request.transport
            if transport is None or transport.is_closing():
                is_there = False
            if is_there and chunk:
                is_there = await _write(response, chunk)
            # Work that shows its progress goes on without its client; a stream does not.
            if not is_there and reply.content_type == "text/event-stream":
                break
    return response


async def _write(response: web.StreamResponse, chunk: bytes) -> bool:
    """Write a chunk; return whether the client is still there and takes it."""
    try:
        async with asyncio.timeout(_STALLED_S):
            await response.write(chunk)
    except (ConnectionError, TimeoutError):
        return False
    return True


@web.middleware
async def _read_on(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the rest of a body: a client that is still writing it would not get the answer.

    A body may also have no end, so only as much is read as a body may have.
    """
    response = await handler(request)
    left = request.client_max_size
    with suppress(Exception):  # the answer stands, whatever the rest was
        async with asyncio.timeout(_REST_S):
            while left > 0 and not request.content.at_eof():
                left -= len(await request.content.readany())
    return response
