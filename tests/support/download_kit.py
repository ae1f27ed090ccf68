"""A server in this process that answers as a test says, and installations from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import until
from tests.support.package_kit import good_members, leftovers, package_bytes

from vconnect.errors import InstallError
from vconnect.packages.source import FetchLimits
from vconnect.store.installer import PluginInstaller

PACKAGE = package_bytes(good_members())
ETAG = '"v1"'
LIMITS = FetchLimits(redirects=2, retries=2, retry_delay=0.001, idle_timeout=10.0)


def answer(status: str = "200 OK", body: bytes = PACKAGE, **headers: Any) -> bytes:
    fields: dict[str, object] = {"Content-Length": len(body), "Connection": "close", **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in fields.items() if v is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str) -> bytes:
    return answer("302 Found", b"", Location=location)


def rest(start: int, **headers: Any) -> bytes:
    """Answer with the package from a byte on."""
    total = len(PACKAGE)
    fields: dict[str, Any] = {
        "Content-Range": f"bytes {start}-{total - 1}/{total}",
        "ETag": ETAG,
        **headers,
    }
    return answer("206 Partial Content", PACKAGE[start:], **fields)


class Cut(bytes):
    """An answer that breaks off once so many bytes of the package are on the disk."""

    arrived: int
    stalls = False


def cut(size: int, *, start: int = 0, **headers: Any) -> Cut:
    """Answer with the package from a byte on, and break off when there are so many bytes of it."""
    whole = rest(start, **headers) if start else answer(**{"ETag": ETAG, **headers})
    made = Cut(whole[: len(whole) - len(PACKAGE) + size])
    made.arrived = size
    return made


class Server:
    """Answers each request with the next of its answers, and the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[str] = []
        self.port = 0
        self.private = Path()  # of the store that is installed into

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode())
            text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            writer.write(text)
            await writer.drain()
            if isinstance(text, Cut) and text.stalls:
                await reader.read()  # until the client hangs up
            elif isinstance(text, Cut):
                # What has not been read by then is lost with the connection.
                await until(lambda: text.arrived in self._sizes())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _sizes(self) -> set[int]:
        files = [
            *self.private.glob("partial/" + "?" * 64),
            *self.private.glob("staging/*/download.*"),
        ]
        return {file.stat().st_size for file in files}

    def paths(self) -> list[str]:
        return [request.split()[1] for request in self.requests]


@asynccontextmanager
async def running_server() -> AsyncIterator[Server]:
    """Serve on a port of this machine."""
    server = Server()
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


async def install(server: Server, directory: Path, *answers: bytes, **options: Any) -> str:
    """Install from the server; returns the plugin's name."""
    server.answers, server.private = list(answers), directory / "plugins" / ".vconnect"
    source = options.pop("source", f"{server.base}/a.vp")
    installer = PluginInstaller(directory / "plugins", fetch_limits=LIMITS, **options)
    return (await installer.install_from_url(source)).name


async def refusal(server: Server, directory: Path, *answers: bytes, **options: Any) -> str:
    with pytest.raises(InstallError) as caught:
        await install(server, directory, *answers, **options)
    assert leftovers(directory / "plugins") == []
    return str(caught.value)
