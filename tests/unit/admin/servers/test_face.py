"""The interface as an aiohttp application: what clients do wrong, and where it is mounted."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web as aiohttp_web
from tests.support.fake_manager import FakeManager, plugin_summary, served
from tests.support.web import JSON, Web, asking, one_plugin

from vconnect.admin.http.asked import Who
from vconnect.admin.servers import face
from vconnect.admin.servers.administration import Administration
from vconnect.admin.servers.face import aiohttp_application


async def exchange(path: object, *parts: bytes, pause: float = 0.0) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


HEAD = b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def test_a_body_that_comes_too_slowly_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(face, "_BODY_S", 0.1)
    monkeypatch.setattr(face, "_REST_S", 0.1)
    async with served(one_plugin()) as path:
        answer = await exchange(path, HEAD + b"Connection: close\r\nContent-Length: 90\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"too_slow"' in answer
    assert "Traceback" not in caplog.text


async def test_a_body_that_cannot_be_read_is_the_clients_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = one_plugin()
    async with served(manager) as path:
        head = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await exchange(path, head, b"zz\r\n{}\r\n0\r\n\r\n")
    assert b" 400 " in answer.partition(b"\r\n")[0], answer
    assert manager.calls == []
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_a_client_that_goes_away_in_its_body_leaves_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = one_plugin()
    async with served(manager) as path:
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(HEAD + b"Content-Length: 90\r\n\r\n{")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.1)
    assert manager.calls == []
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_a_packed_body_is_refused_and_not_unpacked() -> None:
    async with asking(one_plugin()) as web:
        packed = gzip.compress(b" " * 40_000_000)
        headers = {**JSON, "Content-Encoding": "gzip"}
        code, words = await web.fails("POST", "/api/events", 415, data=packed, headers=headers)
    assert (code, "'gzip'" in words) == ("media_type", True)


@pytest.mark.parametrize(
    ("length", "code"), [(b"99999999999", b"too_large"), (b"90", b"bad_origin")]
)
async def test_who_is_refused_need_not_send_the_body_first(length: bytes, code: bytes) -> None:
    origin = b"Origin: https://evil.example\r\n" if code == b"bad_origin" else b""
    async with served(one_plugin()) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(HEAD + origin + b"Content-Length: " + length + b"\r\n\r\n{")
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"}")
        writer.close()
    assert b'"' + code + b'"' in answer


async def test_answers_do_not_tell_what_they_are_made_with() -> None:
    async with asking(one_plugin()) as web:
        await web("GET", "/api/host")
        assert web.headers["Server"] == "vconnect"


async def test_a_line_feed_in_a_path_is_answered_like_any_other() -> None:
    async with asking(one_plugin()) as web:
        assert (await web.fails("GET", "/api/plugins/a%0ab/status", 404))[0] == "unknown_plugin"
        assert (await web.fails("GET", "/a%0ab", 404))[0] == "unknown_route"


@asynccontextmanager
async def mounted(prefix: str) -> AsyncIterator[Web]:
    manager = FakeManager(plugin_summary())
    application = Administration(manager).application
    inner = aiohttp_application(
        application,
        "application",
        lambda _: lambda _: Who("somebody", "operate", "application"),
        None,
        1 << 20,
    )
    outer = aiohttp_web.Application()
    outer.add_subapp(prefix, inner)
    runner = aiohttp_web.AppRunner(outer)
    await runner.setup()
    site = aiohttp_web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession() as session:
            yield Web(session, f"http://{host}:{port}")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("prefix", ["/plugins", "/deep/er/plugins"])
async def test_it_is_mounted_below_any_prefix(prefix: str) -> None:
    async with mounted(prefix) as web:
        assert (await web("GET", f"{prefix}/api/host"))["pid"] == 99
        assert (await web("GET", f"{prefix}/api/plugins/"))["plugins"]
        for name in ("%2e%2e%2fx", "a%2fb"):
            path = f"{prefix}/api/plugins/{name}/status"
            assert (await web.fails("GET", path, 404))[0] == "unknown_plugin"
        stopped = await web("POST", f"{prefix}/api/plugins/example/stop", json={})
        assert stopped["status"] == "Stopped"
