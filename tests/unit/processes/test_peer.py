"""Which process has connected, with real sockets and processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vconnect.processes import peer as module
from vconnect.processes.peer import identify, is_still
from vconnect.processes.procfs import start_time
from vconnect.sockets.credentials import Peer

CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


class Transport:
    """As much of a transport as `identify` uses."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self.connection


@pytest.fixture
def listening(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        made.listen()
        yield made


def connector(listening: socket.socket) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", CONNECT, listening.getsockname()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"connected\n"
    return process


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_a_process_is_known_by_its_start(listening, monkeypatch, has_pidfd: bool) -> None:
    if not has_pidfd:
        monkeypatch.setattr(module, "_SO_PEERPIDFD", 9999)
    with connector(listening) as process, listening.accept()[0] as connection:
        peer = identify(Transport(connection))  # type: ignore[arg-type]
        assert peer == Peer(process.pid, os.getuid(), start_time(process.pid))
        assert is_still(peer)
        assert not is_still(msgspec.structs.replace(peer, start=(peer.start or 0) + 1))
        process.kill()
        process.wait()
        assert not is_still(peer)
        assert not is_still(msgspec.structs.replace(peer, start=None))


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_a_process_that_has_ended_is_refused(listening, monkeypatch, has_pidfd: bool) -> None:
    if not has_pidfd:
        monkeypatch.setattr(module, "_SO_PEERPIDFD", 9999)
    with connector(listening) as process, listening.accept()[0] as connection:
        process.kill()
        process.wait()
        with pytest.raises(OSError):
            identify(Transport(connection))  # type: ignore[arg-type]


def test_a_process_that_may_not_be_looked_at_is_known_by_its_number(listening, monkeypatch) -> None:
    monkeypatch.setattr(module, "start_time", lambda _: None)
    with connector(listening) as process, listening.accept()[0] as connection:
        peer = identify(Transport(connection))  # type: ignore[arg-type]
        assert peer == Peer(process.pid, os.getuid(), None)
        assert is_still(peer)
        process.kill()


def test_no_descriptor_is_left(listening) -> None:
    with connector(listening) as process, listening.accept()[0] as connection:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(50):
            identify(Transport(connection))  # type: ignore[arg-type]
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        process.kill()
