"""The chat's HTTP server: the page, and the WebSocket that it opens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.typedefs import Handler

from .chat import Chat, UnexpectedError
from .client import Client
from .protocol import MAX_FRAME_BYTES, decode

LOOPBACK = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
SCRIPT = "text/javascript; charset=utf-8"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/chat.css": ("chat.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
} | {
    f"/{name}": (name, SCRIPT)
    for name in ("chat.js", "connection.js", "dom.js", "messages.js", "sides.js")
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# Another name would be that of a page elsewhere, whose name server says that it is this machine.
OWN_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?")

MAX_CLIENTS = 200
HEARTBEAT_S = 20.0
CLOSE_S = 1.0

CHAT = web.AppKey("chat", Chat)
SOCKETS = web.AppKey("sockets", set[web.WebSocketResponse])


@asynccontextmanager
async def web_server(chat: Chat, port: int) -> AsyncIterator[str]:
    """Serve the chat on this port or, if it is taken, on a free one; yield the address."""
    runner = web.AppRunner(
        new_app(chat), handle_signals=False, access_log=None, shutdown_timeout=CLOSE_S
    )
    await runner.setup()
    try:
        yield f"http://{LOOPBACK}:{await listen(runner, port)}/"
    finally:
        await runner.cleanup()


async def listen(runner: web.AppRunner, port: int) -> int:
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
    except OSError:
        await web.TCPSite(runner, LOOPBACK, 0).start()
    return int(runner.addresses[0][1])


def new_app(chat: Chat) -> web.Application:
    app = web.Application(middlewares=[only_own_host])
    app[CHAT] = chat
    app[SOCKETS] = set()
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(close_sockets)
    for path in FILES:
        app.router.add_get(path, send_file)
    app.router.add_get("/ws", talk)
    return app


@web.middleware
async def only_own_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not OWN_HOST.fullmatch(request.headers.get("Host", "")):
        raise web.HTTPForbidden(text="This server is called 127.0.0.1 or localhost.\n")
    return await handler(request)


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def send_file(request: web.Request) -> web.FileResponse:
    name, content_type = FILES[request.path]
    return web.FileResponse(PAGE / name, headers={"Content-Type": content_type})


async def talk(request: web.Request) -> web.WebSocketResponse:
    """Serve one WebSocket until it ends."""
    chat, sockets = request.app[CHAT], request.app[SOCKETS]
    if request.headers.get("Origin") != f"http://{request.host}":
        raise web.HTTPForbidden(text="Only the page of this server may open this.\n")
    if len(sockets) >= MAX_CLIENTS:
        raise web.HTTPServiceUnavailable(text="The chat is full.\n")
    socket = web.WebSocketResponse(
        max_msg_size=MAX_FRAME_BYTES + 1,  # the first size that is refused
        heartbeat=HEARTBEAT_S,
        timeout=CLOSE_S,
        compress=False,
    )
    sockets.add(socket)
    try:
        await socket.prepare(request)
        await serve_client(chat, Client(socket, request.transport), socket)
    finally:
        sockets.discard(socket)
    return socket


async def serve_client(chat: Chat, client: Client, socket: web.WebSocketResponse) -> None:
    writer = asyncio.create_task(client.write())
    try:
        async for received in socket:
            if received.type is not WSMsgType.TEXT:
                await client.close("only text")
            else:
                await take(chat, client, received.data)
    finally:
        chat.leave(client)
        writer.cancel()
        await asyncio.wait([writer])


async def take(chat: Chat, client: Client, text: str) -> None:
    """Handle one frame of a client; one that no page of ours sends ends the connection."""
    try:
        frame = decode(text)
        if client.may_send_another():
            await chat.receive(client, frame)
        elif client.is_flooding:
            await client.close("far too many messages")
        else:
            chat.refuse(client, frame, "too_fast", "that was too fast: 10 messages a second")
    except msgspec.DecodeError as error:
        await client.close(f"bad frame: {error}"[:100])
    except UnexpectedError as error:
        await client.close(f"unexpected: {error}")


async def close_sockets(app: web.Application) -> None:
    """End all connections, so that no handler keeps the server from ending."""
    app[CHAT].say_goodbye()
    await asyncio.sleep(0)  # the writers get their turn
    sockets = app[SOCKETS]
    closing = [socket.close(code=WSCloseCode.GOING_AWAY) for socket in sockets]
    await asyncio.gather(*closing, return_exceptions=True)
