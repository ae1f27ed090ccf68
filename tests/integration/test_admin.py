"""The administration interface of a real host: what it serves, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from tests.support.edge_host import SECRET, EdgeHost, edge_host
from yarl import URL

FORM = "application/x-www-form-urlencoded"
ACTION = "/api/plugins/echo/restart"


@pytest.fixture(scope="module", params=["--uvloop", "--no-uvloop"])
def host(request: pytest.FixtureRequest) -> Iterator[EdgeHost]:
    with edge_host(request.param) as running:
        yield running


@pytest.fixture
async def web(host: EdgeHost) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(host.admin))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def ask(
    web: aiohttp.ClientSession, method: str, path: str, **options: Any
) -> tuple[int, Any]:
    url = URL(f"http://localhost{path}", encoded=True)
    async with web.request(method, url, **options) as answer:
        kind = "application/json" if answer.ok else "application/problem+json"
        assert answer.content_type == kind
        body = await answer.text()
        assert SECRET not in body
        return answer.status, json.loads(body)


async def test_it_serves_what_it_says(web: aiohttp.ClientSession, host: EdgeHost) -> None:
    status, told = await ask(web, "GET", "/api/host")
    assert (status, told["guardian_pid"]) == (200, host.process.pid)
    status, told = await ask(web, "GET", "/api/plugins")
    assert (status, {plugin["name"] for plugin in told["plugins"]}) == (200, {"echo", "crash"})
    status, told = await ask(web, "GET", "/api/plugins/echo/status")
    assert (status, told["status"]) == (200, "Running")
    event = {"event": "test.event", "payload": {"n": 1}}
    status, told = await ask(web, "POST", "/api/events", json=event)
    assert (status, told["results"][0]["data"]) == (200, {"echo": {"n": 1}})
    status, after = await ask(web, "POST", ACTION)
    assert (status, after["status"]) == (200, "Running")


@pytest.mark.parametrize(
    ("method", "path", "options", "wanted"),
    [
        ("POST", ACTION, {"headers": {"Host": "evil.example"}}, 403),
        ("POST", ACTION, {"headers": {"Origin": "http://evil.example"}}, 403),
        ("POST", ACTION, {"headers": {"Origin": "null"}}, 403),
        ("POST", ACTION, {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
        ("GET", ACTION, {}, 405),
        ("DELETE", "/api/plugins/echo/status", {}, 405),
        ("POST", ACTION, {"data": b"a=b", "headers": {"Content-Type": FORM}}, 415),
        ("POST", "/api/events", {"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/api/plugins/%2e%2e%2fecho/restart", {}, 404),
        ("POST", "/api/plugins/../echo/restart", {}, 404),
        ("POST", "/api/plugins/nobody/restart", {}, 404),
        ("POST", "/api/plugins/echo/destroy", {}, 404),
        ("POST", "/api/events", {"json": {"event": ""}}, 400),
        ("POST", "/api/events", {"json": {"event": "e", "plugin": "../x"}}, 404),
        ("POST", "/api/events", {"json": {"event": "e", "plugin": "crash"}}, 503),
        (
            "POST",
            "/api/events",
            {"json": {"event": "test.x", "plugin": "echo", "payload": {"wish": "fail"}}},
            502,
        ),
        (
            "POST",
            "/api/events",
            {
                "json": {
                    "event": "test.x",
                    "plugin": "echo",
                    "payload": {"wish": "sleep"},
                    "timeout": 0.2,
                }
            },
            504,
        ),
        ("POST", "/api/plugins/crash/start", {}, 409),
    ],
)
async def test_what_it_refuses_changes_nothing(
    web: aiohttp.ClientSession, method: str, path: str, options: dict[str, Any], wanted: int
) -> None:
    _, before = await ask(web, "GET", "/api/plugins/echo/status")
    status, body = await ask(web, method, path, **options)
    assert status == wanted, body
    assert (body["status"], body["detail"]) == (wanted, body["error"]["message"])
    assert body["code"]
    _, after = await ask(web, "GET", "/api/plugins/echo/status")
    for field in ("pid", "status", "generation", "desired"):
        assert after[field] == before[field]


async def test_an_action_outlives_its_client(web: aiohttp.ClientSession, host: EdgeHost) -> None:
    _, before = await ask(web, "GET", "/api/plugins/echo/status")
    _, writer = await asyncio.open_unix_connection(str(host.admin))
    writer.write(f"POST {ACTION} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(20):
        while True:
            _, now = await ask(web, "GET", "/api/plugins/echo/status")
            if now["pid"] not in (None, before["pid"]) and now["status"] == "Running":
                return
            await asyncio.sleep(0.02)


async def test_many_clients_at_once(web: aiohttp.ClientSession) -> None:
    event = {"event": "test.event", "payload": {"n": 1}}
    questions = [ask(web, "POST", "/api/events", json=event) for _ in range(200)]
    for status, told in await asyncio.gather(*questions):
        assert status == 200
        assert told["results"][0]["ok"]


async def test_a_body_that_is_too_large_is_answered(host: EdgeHost) -> None:
    reader, writer = await asyncio.open_unix_connection(str(host.admin))
    head = "POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 20000000\r\n\r\n".encode() + b" " * 20_000_000)
    said = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert said.startswith("HTTP/1.1 413 ")
    size = int(said.lower().partition("content-length: ")[2].split()[0])
    assert json.loads(await reader.readexactly(size))["error"]["code"] == "too_large"
    # What the host has not taken would keep the connection open beyond the test.
    writer.transport.abort()


async def test_a_body_without_end_is_ended(host: EdgeHost) -> None:
    _, writer = await asyncio.open_unix_connection(str(host.admin))
    head = "POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    async def write(mebibytes: int) -> None:
        for _ in range(mebibytes):
            writer.write(chunk)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await write(100)
    writer.close()
