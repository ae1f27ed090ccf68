"""The interface as an ASGI application, so that FastAPI or Starlette can mount it."""

# Who may see and change plugins is for the application around it to say: there is no default that
# would be safe, so mounting without an answer is an error.

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote

from vconnect.admin.access.guard import Said, ask_application, check_authorize
from vconnect.admin.http.asked import Asked, Reply, TooLargeError
from vconnect.admin.http.problems import Problem
from vconnect.admin.manager import Manager

from .administration import Administration
from .application import to_slash

# Servers such as uvicorn end only after all answers under way, and tell nobody that they are about
# to. So a stream lasts so many seconds, and then asks its client to come back, without a gap.
_STREAM_S = 15.0
_COME_BACK = b"retry: 50\nevent: again\ndata: {}\n\n"

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
#: Says what the sender of a request may do; ``None`` for nothing.
Authorize: TypeAlias = Callable[[Scope], Said | Awaitable[Said]]


def asgi_app(
    runtime: Manager, authorize: Authorize, *, name: str = ""
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Create an ASGI application, to be mounted below a path of another one.

    Args:
        runtime: The manager.
        authorize: Returns the role of a request's sender by its scope, or the role and a name for
            the audit, such as ``("operate", "alice")``; ``None`` to refuse it. It may be ``async``.
        name: What the host is called; by default the machine's name.

    Raises:
        TypeError: ``authorize`` is not callable.
    """
    check_authorize(authorize, "scope")
    administration = Administration(runtime, name)
    limit = runtime.settings.max_frame_bytes

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served here, only http")
        root = scope.get("root_path", "")
        if root and not _path(scope):
            await _respond(to_slash(quote(root)), receive, send, is_head=False)
            return
        asked = _asked(scope, receive, limit)
        identify = await ask_application(authorize, scope)
        # The application around it knows its own names.
        reply = await administration.application.answer(asked, identify, None)
        await _respond(reply, receive, send, is_head=scope["method"] == "HEAD")

    return application


def _asked(scope: Scope, receive: Receive, limit: int) -> Asked:
    async def stream() -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem("bad_body", "the client has gone before the end of its body")
            yield message.get("body", b"")
            more = message.get("more_body", False)

    async def read() -> bytes:
        parts, size = [], 0
        async for part in stream():
            size += len(part)
            if size > limit:
                raise TooLargeError(f"the body is larger than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        key, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    client = scope.get("client") or ("",)
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return Asked(
        method=scope["method"],
        path=_path(scope) or "/",
        query=tuple(query),
        headers=headers,
        read=read,
        stream=stream,
        via="application",
        peer=str(client[0]),
    )


def _path(scope: Scope) -> str:
    """Return the encoded path below the prefix at which the application is mounted."""
    raw = scope.get("raw_path")
    path: str = raw.decode("latin-1").partition("?")[0] if raw else quote(scope["path"])
    root = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


async def _respond(reply: Reply, receive: Receive, send: Send, *, is_head: bool) -> None:
    headers = {**reply.headers, "Content-Type": reply.content_type}
    if reply.chunks is None:
        headers["Content-Length"] = str(len(reply.body))
    pairs = [(name.lower().encode("latin-1"), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(reply.status), "headers": pairs})
    if reply.chunks is None:
        await send({"type": "http.response.body", "body": b"" if is_head else reply.body})
        return
    if is_head:
        async with aclosing(reply.chunks):  # type: ignore[type-var]
            await send({"type": "http.response.body", "body": b""})
        return
    began = time.monotonic()
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        async with aclosing(reply.chunks) as chunks:  # type: ignore[type-var]
            await send({"type": "http.response.body", "body": reply.body, "more_body": True})
            async for chunk in chunks:
                # Work that shows its progress goes on without its client; a stream does not.
                if gone.done() and reply.is_endless:
                    break
                if chunk and not gone.done():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if reply.is_endless and time.monotonic() - began > _STREAM_S:
                    break
        is_events = reply.content_type == "text/event-stream"
        await send({"type": "http.response.body", "body": _COME_BACK if is_events else b""})
    finally:
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
