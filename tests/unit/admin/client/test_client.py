"""The command line's client, against our server, against strangers and against nobody."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served, short_directory

from vconnect.admin.answers import LogGap
from vconnect.admin.client import connection, server_events
from vconnect.admin.client.client import AdminClient
from vconnect.admin.client.connection import plugin_route
from vconnect.admin.servers.server import AdminServer
from vconnect.errors import AdminError, HostUnreachableError
from vconnect.logs.records import LogRecord
from vconnect.logs.ring import LogRing
from vconnect.plugins.status import PluginStatus
from vconnect.settings.model import Settings
from vconnect.trust.minisign import PublicKey


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
    monkeypatch.setattr(connection, "QUESTION_TIMEOUT", 0.05)
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


async def test_a_method_for_each_route_returns_types() -> None:
    manager = FakeManager(plugin_summary())
    manager.says("example", "hello", n=1)
    async with served(manager) as path, AdminClient(path) as client:
        (listed,) = (await client.plugins(sort="name")).plugins
        assert (listed.name, listed.status) == ("example", PluginStatus.RUNNING)
        assert await client.status("example") == listed
        assert (await client.why("example")).plugin == "example"
        (entry,) = (await client.logs("example", grep="ell", since=1.0)).records
        assert (entry.text, entry.fields) == ("hello", {"n": 1})
        assert await client.crashes("example") == []
        assert await client.happenings() == []
        assert (await client.host())["pid"] == 99
        assert (await client.restart("example")).generation == 2
        assert (await client.order("example", "stop", dry_run=True)).desired == "running"
        assert [one.order for one in await client.audit()] == ["restart", "stop"]
        assert (await client.request("example", "e", 5))["payload"] == 5
    assert manager.calls == [("restart", "example"), ("request", "e", 5, None)]


async def test_a_problem_says_what_to_do() -> None:
    async with served(FakeManager()) as path, AdminClient(path) as client:
        with pytest.raises(AdminError) as caught:
            await client.why("nobody")
    error = caught.value
    assert (error.status, error.code, error.next) == (404, "unknown_plugin", "see vconnect list")


async def test_a_token_opens_an_address() -> None:
    with short_directory() as directory:
        server = AdminServer(
            FakeManager(plugin_summary()), directory / "admin.sock", http="127.0.0.1:0"
        )
        await server.start()
        try:
            token = (directory / "admin.token").read_text().strip()
            async with AdminClient(server.url, token) as client:
                assert (await client.host())["role"] == "operate"
            async with AdminClient(server.url) as client:
                with pytest.raises(AdminError) as caught:
                    await client.host()
            assert (caught.value.status, caught.value.code) == (401, "no_token")
        finally:
            await server.stop()


async def test_a_stream_comes_back_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_events, "_WAITS_S", (0.01,))
    heads: list[str] = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            b"id: ab-%d\nevent: gone\ndata: {}\n\n" % len(heads)
        )
        await writer.drain()
        writer.close()

    with short_directory() as directory:
        path = directory / "admin.sock"
        async with await asyncio.start_unix_server(reply, str(path)), AdminClient(path) as client:
            seen = []
            async with aclosing(client.stream(["plugins"], plugin="x")) as events:
                async for event in events:
                    seen.append((event.kind, event.id))
                    if len(seen) == 3:
                        break
    assert seen == [("gone", "ab-1"), ("lost", ""), ("gone", "ab-2")]
    assert heads[0].startswith("GET /api/stream?topics=plugins&plugin=x HTTP/1.1")
    assert "Last-Event-ID" not in heads[0]
    assert "Last-Event-ID: ab-1" in heads[1]


async def test_a_stream_from_nobody_raises_at_once() -> None:
    with short_directory() as directory:
        async with AdminClient(directory / "admin.sock") as client:
            with pytest.raises(HostUnreachableError):
                await anext(client.stream())


async def test_it_asks_for_packages_and_what_indexes_have() -> None:
    manager = FakeManager(plugin_summary())
    async with served(manager) as path, AdminClient(path) as client:
        manager.packages.answer = {"plugins": []}
        assert await client.search("hello") == {"plugins": []}
        assert await client.info("a@^1") == {"plugins": []}
        manager.packages.answer = []
        assert await client.outdated(["a", "b"]) == []
        assert await client.remove("example", purge=True, dry_run=True) == []
    asked = [(method, arguments) for method, arguments, _ in manager.packages.asked]
    assert asked == [
        ("search", ("hello",)),
        ("info", ("a@^1",)),
        ("outdated", (["a", "b"],)),
        ("uninstall", (["example"],)),
    ]
    options = manager.packages.asked[-1][2]
    assert (options["purge"], options["force"], options["dry_run"]) == (True, False, True)


async def test_it_sends_a_package_and_gets_its_source(tmp_path: Path) -> None:
    package = tmp_path / "example.vp"
    package.write_bytes(b"x" * 300_000)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    manager = FakeManager(settings=Settings(plugin_dir=str(tmp_path)))
    async with served(manager) as path, AdminClient(path) as client:
        for _ in range(2):
            assert await client.send_package(package) == f"sha256:{digest}"
        with pytest.raises(FileNotFoundError):
            await client.send_package(tmp_path / "none.vp")
    assert (tmp_path / "blobs" / digest).read_bytes() == package.read_bytes()


async def test_it_lists_trusts_and_forgets_keys(tmp_path: Path) -> None:
    public = PublicKey(bytes(8), bytes(32), "Ann")
    manager = FakeManager(settings=Settings(trust_file=str(tmp_path / "vconnect.trust")))
    async with served(manager) as path, AdminClient(path) as client:
        key = await client.trust(public.text(), plugins=["acme-*"], not_after="2999-01-31")
        assert (key.id, key.comment, key.plugins) == (public.id, "Ann", ("acme-*",))
        assert [one.id for one in await client.trusted()] == [public.id]
        assert (await client.untrust(public.id, revoke=True, reason="stolen")).reason == "stolen"
        with pytest.raises(AdminError) as caught:
            await client.untrust("none")
    assert (caught.value.status, caught.value.code) == (404, "unknown_key")


async def test_it_reads_and_follows_several_logs_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_events, "_WAITS_S", (0.01,))
    manager = FakeManager(plugin_summary("a"), plugin_summary("b"))
    manager.rings["b"] = LogRing(1)
    manager.says("a", "one")
    manager.says("b", "two", "warn")
    manager.happenings.add(None, "info", "began")
    with short_directory() as directory:
        path = directory / "admin.sock"
        server = AdminServer(manager, path)
        await server.start()
        async with AdminClient(path) as client:
            rows = await client.all_logs(["a", "b"], level="warn")
            assert [(row.plugin, row.text) for row in rows] == [("b", "two")]
            assert [row.plugin for row in await client.all_logs()] == ["a", "b", None]
            async with aclosing(client.follow_logs(["a", "b"], lines=1)) as following:
                assert (await anext(following)).to_dict()["text"] == "two"
                manager.says("b", "lost")
                manager.says("b", "three")
                assert await anext(following) == LogGap("b", 1)
                assert (await anext(following)).to_dict()["text"] == "three"
                await server.stop()
                server = AdminServer(manager, path)
                await server.start()
                ring = manager.rings["a"]
                ring.append(LogRecord(ring.last + 1, 2e9, "stdout", "info", "four"))
                async with asyncio.timeout(10):
                    assert (await anext(following)).to_dict()["text"] == "four"
        await server.stop()


async def test_logs_that_are_followed_raise_if_there_is_no_such_plugin() -> None:
    async with served(FakeManager()) as path, AdminClient(path) as client:
        with pytest.raises(AdminError, match="nobody"):
            await anext(client.follow_logs(["nobody"]))
