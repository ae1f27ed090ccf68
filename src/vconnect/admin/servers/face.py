"""The interface as an aiohttp application: turns its requests into ours, and our answers back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing, suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from vconnect.admin.access.guard import Identifies
from vconnect.admin.http.asked import Asked, Reply, TooLargeError, Via
from vconnect.admin.http.problems import Problem

from .application import Application, to_slash

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
    identify: Callable[[web.Request], Identifies | Awaitable[Identifies]],
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
        found = identify(request)
        known = await found if isinstance(found, Awaitable) else found
        reply = await application.answer(asked, known, hosts)
        return await _respond(request, reply)

    async def lead(request: web.Request) -> web.StreamResponse:
        return await _respond(request, to_slash(request.rel_url.raw_path))

    app = web.Application(client_max_size=max_body_bytes, middlewares=[_read_on])
    # Also what has a line feed in it, which a dot does not match: aiohttp would answer itself.
    app.router.add_route("*", r"/{path:[\s\S]*}", handle)
    # Below a prefix of another application: that prefix itself.
    app.router.add_route("*", "", lead)
    return app


def _asked(request: web.Request, via: Via) -> Asked:
    async def read() -> bytes:
        most = request.client_max_size
        if (request.content_length or 0) > most:
            raise TooLargeError(f"the body has {request.content_length} bytes; at most {most}")
        try:
            async with asyncio.timeout(_BODY_S):
                return await request.read()
        except TimeoutError:
            raise Problem("too_slow", f"the body did not come within {_BODY_S:g} s") from None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise Problem("bad_body", f"the body cannot be read: {error}") from None
        except web.HTTPRequestEntityTooLarge:
            raise TooLargeError(f"the body is larger than {most} bytes") from None

    async def stream() -> AsyncIterator[bytes]:
        try:
            while True:
                async with asyncio.timeout(_BODY_S):
                    part = await request.content.readany()
                if not part:
                    return
                yield part
        except TimeoutError:
            raise Problem("too_slow", f"nothing of the body came for {_BODY_S:g} s") from None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise Problem("bad_body", f"the body cannot be read: {error}") from None

    return Asked(
        method=request.method,
        path=_path(request),
        query=tuple(request.query.items()),
        headers={name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers},
        read=read,
        stream=stream,
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
    # aiohttp would tell its own version and Python's.
    headers = {"Server": "vconnect", **reply.headers, "Content-Type": reply.content_type}
    if reply.chunks is None:
        if not reply.body:
            headers.pop("Content-Type")
        return web.Response(body=reply.body, status=reply.status, headers=headers)
    async with aclosing(reply.chunks) as chunks:  # type: ignore[type-var]
        if request.method == "HEAD":
            return web.Response(status=reply.status, headers=headers)
        response = web.StreamResponse(status=reply.status, headers=headers)
        is_there = await _begin(request, response)
        is_there = is_there and await _write(request, response, reply.body)
        async for chunk in chunks:
            is_there = is_there and await _write(request, response, chunk)
            # Work that shows its progress goes on without its client; a stream does not.
            if not is_there and reply.is_endless:
                break
    return response


async def _begin(request: web.Request, response: web.StreamResponse) -> bool:
    """Write the head; return whether the client is still there."""
    try:
        await response.prepare(request)
    except ConnectionError:
        return False
    return True


async def _write(request: web.Request, response: web.StreamResponse, chunk: bytes) -> bool:
    """Write a chunk, which may be empty; return whether the client is still there and takes it."""
    if request.transport is None or request.transport.is_closing():
        return False
    try:
        async with asyncio.timeout(_STALLED_S):
            await response.write(chunk)
    except ConnectionError:
        return False
    except TimeoutError:
        # The end of the answer would wait for the client, too.
        request.transport.abort()
        return False
    return True


@web.middleware
async def _read_on(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer at once, then read the rest of a body: closing before that would lose the answer.

    A body may also have no end, so only as much is read as a body may have.
    """
    response = await handler(request)
    if request.content.at_eof():
        return response
    response.force_close()
    left = request.client_max_size
    with suppress(Exception):  # the answer stands, whatever the rest was
        await response.prepare(request)
        await response.write_eof()
        async with asyncio.timeout(_REST_S):
            while left > 0 and not request.content.at_eof():
                left -= len(await request.content.readany())
    return response
