"""The life of the administration server: socket, signals, start and stop."""

from __future__ import annotations

import asyncio
import signal
import stat
from collections.abc import Callable

import pytest
import uvloop
from tests.support.fake_manager import FakeManager, plugin_summary, served, short_directory

from vconnect.admin.client import AdminClient
from vconnect.admin.server import AdminServer
from vconnect.errors import SocketError


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
    monkeypatch.setattr("vconnect.admin.server._REQUEST_TIMEOUT", 0.05)
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
