"""Accepting connections, with descriptors and without."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.descriptors import free_descriptors
from tests.support.wire_kit import until

from vconnect.sockets import acceptor as module
from vconnect.sockets.acceptor import Acceptor
from vconnect.sockets.pace import Pace, PaceOfEach

pytestmark = pytest.mark.both_loops


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"echo " + data)


class Door:
    """A listening socket with an acceptor, and clients that are not connected yet."""

    def __init__(self, path: Path, clients: int) -> None:
        self.path = str(path)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen(64)
        self.acceptor = Acceptor(listening, Echo, lambda words: words.encode(), "the door")
        self.clients = [socket.socket(socket.AF_UNIX) for _ in range(clients)]

    def close(self) -> None:
        self.acceptor.close()
        for client in self.clients:
            client.close()

    async def says(self, client: socket.socket, words: bytes = b"hello") -> str:
        """Connect, send, and return what comes back."""
        loop = asyncio.get_running_loop()
        client.setblocking(False)
        async with asyncio.timeout(10):
            await loop.sock_connect(client, self.path)
            if words:
                await loop.sock_sendall(client, words)
            return (await loop.sock_recv(client, 4096)).decode()


@pytest.fixture
async def door() -> Iterator[Door]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        made = Door(Path(directory) / "sock", 4)
        yield made
        made.close()
        # The connections' other ends notice that their clients have gone.
        await asyncio.sleep(0.05)


async def test_everyone_is_connected(door: Door):
    answers = await asyncio.gather(*(door.says(client) for client in door.clients))
    assert answers == ["echo hello"] * 4


async def test_at_the_limit_a_client_is_answered_and_the_log_has_one_line(door: Door, caplog):
    first, *others, last = door.clients
    assert await door.says(first) == "echo hello"
    with free_descriptors(0):
        for client in others:
            answer = await door.says(client)
            assert answer.startswith("this host has no file descriptor left")
            assert "raise it: ulimit -n" in answer
            async with asyncio.timeout(10):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    assert await door.says(last) == "echo hello"
    assert caplog.text.count("connections to the door are refused: Too many open files") == 1


async def test_several_clients_at_once_are_answered_one_after_the_other(door: Door):
    with free_descriptors(0):
        answers = await asyncio.gather(*(door.says(client) for client in door.clients))
    assert all("no file descriptor left" in answer for answer in answers)


async def test_one_that_says_nothing_holds_up_the_others_only_for_a_moment(door: Door, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_VISIT_S", 0.1)
    with free_descriptors(0):
        for client in door.clients[:2]:
            assert "no file descriptor left" in await door.says(client, b"")


async def test_without_a_reserve_it_waits(door: Door, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE_S", 0.05)
    door.acceptor._reserve.release()
    with free_descriptors(0):
        telling = asyncio.create_task(door.says(door.clients[0]))
        await until(lambda: door.acceptor._timer is not None)
        assert not telling.done()
    assert await telling == "echo hello"
    await until(lambda: door.acceptor._reserve)


async def test_it_can_be_closed_while_someone_is_turned_away(door: Door):
    with free_descriptors(0):
        telling = asyncio.create_task(door.says(door.clients[0], b""))
        await until(lambda: door.acceptor._visitor is not None)
        door.acceptor.close()
        door.acceptor.close()
        assert "no file descriptor left" in await telling


async def test_a_storm_waits_in_the_kernel(door: Door, monkeypatch):
    monkeypatch.setattr(module, "_EVERY_S", 0.05)
    door.acceptor._pace = Pace(2, 20)
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(door.says(client) for client in door.clients))
    # Two at once, and one more each time.
    assert answers == ["echo hello"] * 4
    assert asyncio.get_running_loop().time() - began >= 0.09


async def test_it_can_be_closed_while_others_wait(door: Door, monkeypatch):
    monkeypatch.setattr(module, "_EVERY_S", 0.05)
    door.acceptor._pace = Pace(1, 20)
    assert await door.says(door.clients[0]) == "echo hello"
    assert door.acceptor._timer is not None
    door.acceptor.close()
    await asyncio.sleep(0.1)
    with pytest.raises(OSError):
        await door.says(door.clients[1])


async def test_a_process_that_exceeds_its_rate_is_turned_away(door: Door, caplog):
    caplog.set_level("WARNING")
    door.acceptor._pace_of_each = PaceOfEach(2, 5)
    for client in door.clients[:2]:
        assert await door.says(client) == "echo hello"
    told = f"PID {os.getpid()} connects too often; 2 at once and 5 per second are allowed"
    assert await door.says(door.clients[2], b"") == told
    await asyncio.sleep(0.25)
    assert await door.says(door.clients[3]) == "echo hello"
    assert caplog.messages == [f"connections to the door are refused: {told}"]
