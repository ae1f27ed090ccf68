"""The life of the administration server: socket, signals, start and stop."""

from __future__ import annotations

import asyncio
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.support.fake_manager import FakeManager, plugin_summary, served, short_directory

from vconnect.admin.access.address import HttpAddress
from vconnect.admin.client.client import AdminClient
from vconnect.admin.servers.server import AdminServer
from vconnect.errors import ConfigError, SocketError
from vconnect.settings.model import Settings


async def test_the_socket_is_private_and_goes_away() -> None:
    async with served(FakeManager()) as path:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_no_signal_handler_is_touched() -> None:
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in watched]
    async with served(FakeManager()):
        assert [signal.getsignal(number) for number in watched] == before


async def test_it_may_be_stopped_twice_and_started_again() -> None:
    with short_directory() as directory:
        path = directory / "admin.sock"
        server = AdminServer(FakeManager(plugin_summary()), path)
        await server.stop()
        for _ in range(2):
            await server.start()
            async with AdminClient(path) as client:
                assert len((await client.get("/api/plugins"))["plugins"]) == 1
            await server.stop()
            await server.stop()
            assert not path.exists()


async def test_a_second_host_is_refused_and_the_first_goes_on() -> None:
    async with served(FakeManager(plugin_summary())) as path:
        second = AdminServer(FakeManager(), path)
        with pytest.raises(SocketError):
            await second.start()
        await second.stop()
        async with AdminClient(path) as client:
            assert len((await client.get("/api/plugins"))["plugins"]) == 1


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_serves_on_both_event_loops(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def ask_often() -> None:
        async with served(FakeManager(plugin_summary())) as path:
            for _ in range(3):
                async with AdminClient(path) as client:
                    answers = [client.post("/api/events", {"event": "e"}) for _ in range(50)]
                    assert len(await asyncio.gather(*answers)) == 50
        assert not path.exists()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(ask_often())


async def test_half_a_request_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vconnect.admin.servers.server._REQUEST_TIMEOUT", 0.05)
    async with served(FakeManager()) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /api/host HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        async with AdminClient(path) as client:
            for _ in range(2):  # one that has sent a request stays
                assert (await client.get("/api/host"))["pid"] == 99
                await asyncio.sleep(0.1)


async def test_a_bad_request_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with served(FakeManager()) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"\x00\x01 nonsense\r\n\r\n")
        async with asyncio.timeout(10):
            assert b"400" in await reader.read()
        writer.close()
    assert "Traceback" not in caplog.text


# --- TCP -------------------------------------------------------------------------------------


@asynccontextmanager
async def tcp(http: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[AdminServer]:
    with short_directory() as directory:
        server = AdminServer(FakeManager(plugin_summary()), directory / "s", http=http, **options)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


async def test_a_free_port_is_told_and_logs_in() -> None:
    async with tcp() as server:
        assert server.url.startswith("http://127.0.0.1:")
        first, second = server.login_url, server.login_url
        assert first.startswith(f"{server.url}#/login/")
        assert first != second
    assert server.url is None
    assert server.login_url is None


async def test_without_tcp_there_is_no_address() -> None:
    with short_directory() as directory:
        server = AdminServer(FakeManager(), directory / "s")
        await server.start()
        assert (server.url, server.login_url) == (None, None)
        await server.stop()


@pytest.mark.parametrize("http", ["0.0.0.0:0", "[::]:0", "plugins.example:80"])
async def test_what_others_reach_needs_a_token_of_the_operators(http: str) -> None:
    for options, words in (({}, "--http-token-file FILE"), ({"no_token": True}, "only for loop")):
        with pytest.raises(ConfigError, match=words):
            async with tcp(http, **options):
                pass


async def test_a_token_that_others_can_read_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t" * 32)
    file.chmod(0o644)
    options: list[dict[str, Any]] = [{"token_file": file}, {"view_token_file": file}]
    for one in options:
        with pytest.raises(ConfigError, match=r"mode 644.*chmod 600"):
            async with tcp(**one):
                pass
    file.chmod(0o600)
    async with tcp(token_file=file):
        pass


async def test_a_port_that_is_taken_is_named() -> None:
    async with tcp() as first:
        port = first.url.rstrip("/").rpartition(":")[2]
        with pytest.raises(SocketError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with tcp(f"127.0.0.1:{port}"):
                pass


async def test_without_a_token_it_says_what_that_means(caplog: pytest.LogCaptureFixture) -> None:
    async with tcp(no_token=True) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server._port)
        writer.write(b"GET /api/host HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b" 200 OK" in await reader.read()
        writer.close()
        await writer.wait_closed()
        assert server.login_url == server.url
    assert "every user of this machine can administer this host" in caplog.text


@pytest.mark.parametrize("behind_proxy", [False, True])
async def test_an_open_address_warns_unless_a_proxy_encrypts(
    behind_proxy: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "token"
    file.write_text("t" * 32)
    file.chmod(0o600)
    # It listens on loopback, and is told that others reach that.
    monkeypatch.setattr(HttpAddress, "is_loopback", False)
    manager = FakeManager(settings=Settings(behind_proxy=behind_proxy))
    server = AdminServer(manager, http="127.0.0.1:0", token_file=file)
    await server.start()
    await server.stop()
    assert ("is not encrypted" in caplog.text) is not behind_proxy


async def test_only_so_many_connections_are_open_and_the_next_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vconnect.admin.servers.server._MAX_CONNECTIONS", 3)
    async with tcp() as server:
        open_ones = [await asyncio.open_connection("127.0.0.1", server._port) for _ in range(3)]
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", server._port)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b'"overloaded"' in body
        for _, one in [*open_ones, (reader, writer)]:
            one.close()
            await one.wait_closed()
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", server._port)
        writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_a_second_life_is_not_about_to_end() -> None:
    with short_directory() as directory:
        server = AdminServer(FakeManager(), directory / "s")
        for _ in range(2):
            await server.start()
            assert not server.administration.is_stopping
            await server.stop()
            assert server.administration.is_stopping
