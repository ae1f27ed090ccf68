"""Requests over TCP and sockets, as aiohttp has them."""

from __future__ import annotations

import asyncio

import aiohttp
from tests.support.fake_manager import FakeManager, plugin_summary, served


async def test_what_is_left_of_a_body_is_read_and_its_answer_stands():
    async with served(FakeManager(plugin_summary())) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(
            b"POST /a/b/c HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 500000\r\n\r\n" + b" " * 100_000
        )
        await writer.drain()
        writer.write(b" " * 400_000)
        await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        writer.close()
        await writer.wait_closed()


async def test_several_headers_of_one_name_are_one():
    async with served(FakeManager(plugin_summary())) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n")
        assert b" 40" in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_every_answer_tells_browsers_what_it_is_not():
    async with served(FakeManager(plugin_summary())) as path:
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(connector=connector) as session:
            for where in ("", "app.css", "healthz", "metrics", "api/plugins", "nowhere", "a/b/c"):
                async with session.get(f"http://localhost/{where}") as answer:
                    headers = answer.headers
                    assert headers["X-Content-Type-Options"] == "nosniff"
                    assert headers["Referrer-Policy"] == "no-referrer"
                    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
                    assert "default-src 'none'" in headers["Content-Security-Policy"]
                    assert not [name for name in headers if name.startswith("Access-Control")]
