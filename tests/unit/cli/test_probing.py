"""Which of the sockets in a directory is that of a host's administration."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.fake_manager import short_directory

from vconnect.cli import probing
from vconnect.cli.probing import admin_sockets

ADMIN = b'HTTP/1.1 200 OK\r\n\r\n{"socket_path": "%s"}'
PLUGINS = b'\0\0\0\x12{"status":"error"}'


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@contextmanager
def served(path: Path, answer: bytes | None) -> Iterator[list[bytes]]:
    """Answer each connection with the same; with ``None`` never. Yield what was asked."""
    asked: list[bytes] = []
    kept: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                kept.append(connection)
                asked.append(connection.recv(4096))
                if asked[-1] == b"end":
                    break
                if answer is not None:
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
                last.sendall(b"end")
                thread.join(10)
            for connection in kept:
                connection.close()


def test_a_socket_for_plugins_is_none(place: Path) -> None:
    admin, plugins, gone = (place / name for name in ("b.sock", "a.sock", "gone.sock"))
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(gone))
    with served(admin, ADMIN % b"/elsewhere"), served(plugins, PLUGINS):
        assert admin_sockets(place.glob("*.sock")) == [admin]


def test_one_that_only_closes_is_none(place: Path) -> None:
    with served(place / "a.sock", b""):
        assert admin_sockets(place.glob("*.sock")) == []


def test_what_a_host_tells_to_be_for_plugins_is_not_asked(place: Path) -> None:
    admin, plugins = place / "admin.sock", place / "a-runtime.sock"
    with served(admin, ADMIN % bytes(plugins)), served(plugins, PLUGINS) as asked:
        assert admin_sockets(place.glob("*.sock")) == [admin]
        assert asked == []


def test_all_hosts_are_found(place: Path) -> None:
    one, other = place / "1.admin.sock", place / "2.admin.sock"
    with served(one, ADMIN % b"/1"), served(other, b"HTTP/1.1 500 No\r\n\r\n"):
        assert admin_sockets(place.glob("*.sock")) == [one, other]


def test_a_busy_host_counts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_WAIT_S", 0.1)
    with served(place / "admin.sock", None):
        assert admin_sockets(place.glob("*.sock")) == [place / "admin.sock"]
