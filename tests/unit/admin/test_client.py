"""The command line's client, against our server, against strangers and against nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served, short_directory

from vconnect.admin import client as client_module
from vconnect.admin.client import AdminClient, plugin_route
from vconnect.errors import AdminError, HostUnreachableError


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[Path]:
    """Something that reads one request's head, says ``answer`` and hangs up."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    with short_directory() as directory:
        path = directory / "admin.sock"
        async with await asyncio.start_unix_server(reply, str(path)):
            yield path


async def test_it_asks_and_acts() -> None:
    manager = FakeManager(plugin_summary())
    async with served(manager) as path, AdminClient(path) as client:
        assert (await client.get("/api/host"))["pid"] == 99
        assert (await client.post(plugin_route("example", "stop")))["status"] == "Stopped"
        body = {"event": "e", "payload": None}
        assert (await client.post("/api/events", body))["payload"] is None
    assert manager.calls == [("stop", "example"), ("chain", "e", None, None)]


async def test_errors_carry_the_hosts_words() -> None:
    async with served(FakeManager()) as path, AdminClient(path) as client:
        with pytest.raises(AdminError, match=r"^nobody: no such plugin$") as caught:
            await client.get(plugin_route("nobody", "status"))
    assert (caught.value.status, caught.value.code) == (404, "unknown_plugin")


@pytest.mark.parametrize("name", ["../x", "..", ".", "a/b", "a?b", "a#b", "%2e%2e%2fx", "ü", " "])
async def test_a_name_reaches_the_host_as_it_is(name: str) -> None:
    async with served(FakeManager(plugin_summary(name))) as path, AdminClient(path) as client:
        assert (await client.get(plugin_route(name, "status")))["name"] == name


async def test_no_socket_is_no_host() -> None:
    with short_directory() as directory:
        path = directory / "admin.sock"
        async with AdminClient(path) as client:
            with pytest.raises(HostUnreachableError) as caught:
                await client.get("/api/host")
    assert str(caught.value) == (
        f"no vconnect host answers at {path} (No such file or directory); "
        "start one with: vconnect serve"
    )


async def test_a_socket_that_a_dead_host_left_is_no_host() -> None:
    with short_directory() as directory:
        path = directory / "admin.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        async with AdminClient(path) as client:
            with pytest.raises(HostUnreachableError, match="Connection refused"):
                await client.get("/api/host")


async def test_a_path_that_is_too_long_is_no_host() -> None:
    async with AdminClient("/tmp/" + "x" * 200) as client:
        with pytest.raises(HostUnreachableError, match="no vconnect host answers"):
            await client.get("/api/host")


async def test_a_host_that_goes_away_is_no_host() -> None:
    async with stranger(b"") as path, AdminClient(path) as client:
        with pytest.raises(HostUnreachableError, match="connection lost"):
            await client.post("/api/plugins/example/stop")


async def test_a_host_that_does_not_answer_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "QUESTION_TIMEOUT", 0.05)
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as deaf:
        path = directory / "admin.sock"
        deaf.bind(str(path))
        deaf.listen()
        async with AdminClient(path) as client:
            with pytest.raises(HostUnreachableError, match=r"no response within 0\.05 s"):
                await client.get("/api/host")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 15\r\n\r\n{" + b'"error": "no"}',
    ],
)
async def test_a_stranger_is_recognized(answer: bytes) -> None:
    async with stranger(answer) as path, AdminClient(path) as client:
        with pytest.raises(AdminError, match="not from a vconnect host") as caught:
            await client.get("/api/host")
    assert caught.value.code == "bad_answer"


def lines(*rows: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nConnection: close\r\n\r\n"
    return head + b"\n".join(rows)


STEP = b'{"progress": {"source": "x", "bytes": 1, "total": null, "rate": 0.5}}'


@pytest.mark.parametrize("rows", [[STEP], [STEP, b""], [STEP, b'{"changes": []}'], [b""]])
async def test_lines_without_a_last_one_are_a_lost_connection(rows: list[bytes]) -> None:
    async with stranger(lines(*rows)) as path, AdminClient(path) as client:
        with pytest.raises(HostUnreachableError, match="it ended before the result"):
            await client.post("/api/install", {}, lambda _: None)


@pytest.mark.parametrize("row", [b"hello", b"", b'{"error": "no"}', b'{"error":{}}', b'{"progr'])
async def test_lines_of_a_stranger_are_recognized(row: bytes) -> None:
    async with stranger(lines(STEP, row, b"")) as path, AdminClient(path) as client:
        with pytest.raises(AdminError, match="not from a vconnect host"):
            await client.post("/api/install", {}, lambda _: None)


async def test_a_host_that_knows_no_lines_answers_as_before() -> None:
    old = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
    async with stranger(old + b'{"changes":[]}') as path, AdminClient(path) as client:
        assert await client.post("/api/install", {}, lambda _: None) == {"changes": []}
