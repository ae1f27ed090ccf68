"""A socket whose file is deleted comes back, whoever listens there."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.support.wire_kit import until

from vconnect.sockets.acceptor import Acceptor
from vconnect.sockets.listener import Listener
from vconnect.sockets.private_socket import bind_private_socket

pytestmark = pytest.mark.both_loops


class Greeter(asyncio.Protocol):
    """Says hello to whoever connects."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")


async def greeted(path: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    async with asyncio.timeout(10):
        data = await reader.read(5)
    writer.close()
    return data == b"hello"


async def test_it_accepts_until_it_is_closed_and_comes_back(tmp_path: Path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("vconnect.sockets.listener._WATCH_SECONDS", 0.01)
    path = tmp_path / "run" / "x.sock"
    private = bind_private_socket(path)

    def listen(bound: socket.socket) -> Acceptor:
        return Acceptor(bound, Greeter, lambda words: words.encode(), "this socket")

    listener = Listener(private, listen)
    assert await greeted(path)
    path.unlink()
    await until(path.exists)
    assert await greeted(path)
    assert "had disappeared; bound it again" in caplog.text
    path.chmod(0)
    await until(lambda: path.stat().st_mode & 0o777 == 0o600)
    assert "kept plugins out; restored it" in caplog.text
    path.chmod(0o660)  # an operator may let a group in
    await asyncio.sleep(0.05)
    assert path.stat().st_mode & 0o777 == 0o660
    await listener.close()
    path.unlink()
    await asyncio.sleep(0.05)
    assert not path.exists()
    private.close()
