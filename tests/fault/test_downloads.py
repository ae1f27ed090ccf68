"""Servers that fail, stall, lie and lead astray: bounded, named, and nothing left behind."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.lab import until
from tests.support.package_kit import file, good_members, leftovers, package_bytes

from vconnect.errors import InstallError
from vconnect.packages.fetch import fetch
from vconnect.packages.fetching import proxy
from vconnect.packages.source import FetchLimits, parse_source
from vconnect.store.installer import PluginInstaller

PACKAGE = package_bytes(good_members())
MAX_BYTES = 1 << 20
LIMITS = FetchLimits(
    connect_timeout=10.0, idle_timeout=10.0, total_timeout=20.0, redirects=3, retry_delay=0.01
)
CERTIFICATE = Path(__file__).with_name("localhost.pem")

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is set for whoever runs the tests out of them."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Server:
    """A server that answers each connection with the next of its answers, then the last again."""

    def __init__(self, *answers: Answer | bytes) -> None:
        self.answers = answers
        self.requests: list[str] = []
        self.base = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        port = self._server.sockets[0].getsockname()[1]
        self.base = f"https://localhost:{port}" if context else f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
            self.requests.append(head.decode())
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(self.base, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def answer(status: str = "200 OK", body: bytes = PACKAGE, **headers: object) -> bytes:
    fields = {"Content-Length": len(body), "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in fields.items() if v is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(status, b"", Location=location)


async def stall_before_head(_: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def stall_in_body(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer()[:-10])
    await asyncio.Event().wait()


async def reset_halfway(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(body=PACKAGE * 100)[:5000])
    await writer.drain()
    writer.transport.abort()


async def endless(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(body=b"", Content_Length=None))
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def drip(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(body=b"", Content_Length=100_000))
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.05)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    servers = []

    async def start(*answers: Answer | bytes, context: ssl.SSLContext | None = None) -> Server:
        server = Server(*answers)
        servers.append(server)
        await server.start(context)
        return server

    yield start
    for server in servers:
        await server.stop()


async def get(server: Server, tmp_path: Path, path: str = "/a.vp", **options: object) -> Path:
    settings: dict = {"max_bytes": MAX_BYTES, "limits": LIMITS, **options}
    insecure = bool(settings.get("allow_insecure_http"))
    source = parse_source(server.base + path, allow_insecure_http=insecure)
    return (await fetch(source, tmp_path, **settings)).path


async def refused(server: Server, tmp_path: Path, path: str = "/a.vp", **options: object) -> str:
    async with asyncio.timeout(15):
        with pytest.raises(InstallError) as caught:
            await get(server, tmp_path, path, **options)
    assert list(tmp_path.iterdir()) == []
    message = str(caught.value)
    assert message.startswith(f"{server.base}{path.partition('?')[0]}: ")
    return message


async def test_a_good_answer(serve, tmp_path: Path) -> None:
    server = await serve(answer())
    file = await get(server, tmp_path, "/a.wkp?x=1")
    assert file.read_bytes() == PACKAGE
    assert file.suffix == ".wkp"
    assert server.requests[0].startswith("GET /a.wkp?x=1 HTTP/1.1\r\n")


async def test_without_a_length_and_labeled_as_gzip(serve, tmp_path: Path) -> None:
    server = await serve(answer(Content_Length=None, Content_Encoding="gzip"))
    steps = []
    file = await get(server, tmp_path, progress=lambda *step: steps.append(step))
    assert file.read_bytes() == PACKAGE
    assert steps[-1] == (len(PACKAGE), None)


async def test_not_found_is_not_retried(serve, tmp_path: Path) -> None:
    server = await serve(answer("404 Not Found"))
    assert "responded with status 404" in await refused(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial Content", "401 No", "304 Same"])
async def test_other_answers_are_named(serve, tmp_path: Path, status: str) -> None:
    server = await serve(answer(status, b""))
    assert f"responded with status {status[:3]}" in await refused(server, tmp_path)


async def test_a_server_error_then_a_good_answer(serve, tmp_path: Path) -> None:
    server = await serve(answer("500 Oops"), answer("503 Later"), answer())
    assert (await get(server, tmp_path)).read_bytes() == PACKAGE
    assert len(server.requests) == 3


async def test_server_errors_without_end(serve, tmp_path: Path) -> None:
    server = await serve(answer("500 Oops"))
    assert "responded with status 500 (3 attempts)" in await refused(server, tmp_path)
    assert len(server.requests) == 3


async def test_reset_halfway_is_retried(serve, tmp_path: Path) -> None:
    server = await serve(reset_halfway, answer())
    assert (await get(server, tmp_path)).read_bytes() == PACKAGE
    server = await serve(reset_halfway)
    (tmp_path / "download.vp").unlink()
    assert "(3 attempts)" in await refused(server, tmp_path)


async def test_nobody_listens(serve, tmp_path: Path) -> None:
    server = await serve(answer())
    await server.stop()
    assert "connection failed" in await refused(server, tmp_path)


async def test_shorter_than_announced(serve, tmp_path: Path) -> None:
    server = await serve(answer(Content_Length=len(PACKAGE) + 1))
    assert "before its announced length" in await refused(server, tmp_path)


async def test_longer_than_announced_installs_nothing(serve, tmp_path: Path) -> None:
    server = await serve(answer(Content_Length=len(PACKAGE) - 1))
    installer = PluginInstaller(tmp_path / "plugins", fetch_limits=LIMITS)
    with pytest.raises(InstallError):
        await installer.install_from_url(f"{server.base}/a.vp")
    assert [path.name for path in (tmp_path / "plugins").iterdir()] == [".vconnect"]
    assert leftovers(tmp_path / "plugins") == []


@pytest.mark.parametrize("how", [stall_before_head, stall_in_body])
async def test_stalls(serve, tmp_path: Path, how: Answer) -> None:
    server = await serve(how)
    limits = FetchLimits(idle_timeout=0.3)
    assert "stalled" in await refused(server, tmp_path, limits=limits)


async def test_a_drip_meets_the_total_timeout(serve, tmp_path: Path) -> None:
    server = await serve(drip)
    limits = FetchLimits(total_timeout=0.5)
    assert "not finished within 0.5 s" in await refused(server, tmp_path, limits=limits)


async def test_an_endless_body(serve, tmp_path: Path) -> None:
    server = await serve(endless)
    assert f"more than {MAX_BYTES} bytes" in await refused(server, tmp_path)


async def test_too_large_by_its_own_word(serve, tmp_path: Path) -> None:
    server = await serve(answer(body=b"", Content_Length=MAX_BYTES + 1))
    assert f"has {MAX_BYTES + 1} bytes" in await refused(server, tmp_path)


async def test_not_http(serve, tmp_path: Path) -> None:
    server = await serve(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    assert "not valid HTTP" in await refused(server, tmp_path)


async def test_headers_without_end(serve, tmp_path: Path) -> None:
    server = await serve(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000)
    assert "not valid HTTP" in await refused(server, tmp_path)


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
async def test_redirects_are_followed(serve, tmp_path: Path, status: str) -> None:
    server = await serve(redirect("/b?token=1", status), answer())
    file = await get(server, tmp_path)
    assert file.read_bytes() == PACKAGE
    assert file.suffix == ".vp"
    assert server.requests[1].startswith("GET /b?token=1 ")


async def test_credentials_stay_with_their_host(serve, tmp_path: Path) -> None:
    second = await serve(answer())
    first = await serve(redirect(second.base + "/b.vp"))
    url = first.base.replace("//", "//me:secret@") + "/a.vp"
    await fetch(parse_source(url), tmp_path, max_bytes=MAX_BYTES, limits=LIMITS)
    assert "Authorization: Basic" in first.requests[0]
    assert "Authorization" not in second.requests[0]


async def test_credentials_are_not_in_messages(serve, tmp_path: Path) -> None:
    server = await serve(answer("404 No"))
    url = server.base.replace("//", "//me:secret@") + "/a.vp?token=secret"
    with pytest.raises(InstallError) as caught:
        await fetch(parse_source(url), tmp_path, max_bytes=MAX_BYTES, limits=LIMITS)
    assert "secret" not in str(caught.value)


async def test_too_many_redirects(serve, tmp_path: Path) -> None:
    server = await serve(redirect("/a.vp"))
    assert "more than 3 redirects" in await refused(server, tmp_path)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "redirects to a file: address"),
        ("ftp://127.0.0.1/a.vp", "redirects to a ftp: address"),
        ("http://169.254.169.254/latest/meta-data", "allow_insecure_http"),
        ("https://169.254.169.254/latest/meta-data", "link-local or reserved"),
        ("https://[fe80::1]/a.vp", "link-local or reserved"),
        ("https://[::ffff:169.254.169.254]/a.vp", "link-local or reserved"),
        ("https://0.0.0.0/a.vp", "link-local or reserved"),
        ("https://0251.0376.0251.0376/a.vp", "link-local or reserved"),
        ("https://2852039166/a.vp", "link-local or reserved"),
        ("http://example.com/a.vp", "allow_insecure_http"),
        ("https://[::1/a.vp", "valid Location"),
        ("https://127.0.0.1:99999/", "valid Location"),
        ("", "valid Location"),
    ],
)
async def test_redirects_that_lead_astray(serve, tmp_path: Path, location: str, words: str) -> None:
    server = await serve(redirect(location))
    assert words in await refused(server, tmp_path)
    assert len(server.requests) == 1


async def test_a_link_local_redirect_even_where_http_is_allowed(serve, tmp_path: Path) -> None:
    server = await serve(redirect("http://169.254.169.254/a.vp"))
    message = await refused(server, tmp_path, allow_insecure_http=True)
    assert "link-local or reserved" in message


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context whose certificate clients of this process trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def test_https(serve, tmp_path: Path, tls: ssl.SSLContext) -> None:
    server = await serve(answer(), context=tls)
    assert (await get(server, tmp_path)).read_bytes() == PACKAGE


async def test_https_to_http(serve, tmp_path: Path, tls: ssl.SSLContext) -> None:
    plain = await serve(answer())
    server = await serve(redirect(plain.base + "/a.vp"), context=tls)
    assert "from https to http" in await refused(server, tmp_path)
    assert plain.requests == []


async def test_an_untrusted_certificate(
    serve, tmp_path: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = await serve(answer(), context=tls)
    assert "the server is not trusted" in await refused(server, tmp_path)
    assert server.requests == []


@pytest.fixture
async def tunnel(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """A proxy that connects to everything; yields what it was asked for."""
    asked: list[str] = []
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[0])
        host, _, port = asked[-1].split()[1].rpartition(":")
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        upstream = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    monkeypatch.setattr(proxy, "is_loopback", lambda _: False)  # which needs no proxy otherwise
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    yield asked
    server.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.wait_closed()


async def test_https_through_a_proxy(
    serve, tmp_path: Path, tls: ssl.SSLContext, tunnel: list[str]
) -> None:
    server = await serve(redirect("/b.vp?sig=%2F%7E"), answer(), context=tls)
    assert (await get(server, tmp_path)).read_bytes() == PACKAGE
    assert server.requests[1].startswith("GET /b.vp?sig=%2F%7E HTTP/1.1\r\n")
    assert tunnel == [f"CONNECT {server.base.removeprefix('https://')} HTTP/1.1"] * 2


async def test_a_proxy_cannot_pass_for_the_server(
    serve, tmp_path: Path, tls: ssl.SSLContext, tunnel: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = await serve(answer(), context=tls)
    assert "the server is not trusted" in await refused(server, tmp_path)
    assert server.requests == []


# --- a killed command --------------------------------------------------------------------------

INSTALL = """
import asyncio, sys
from pathlib import Path
from vconnect.store.installer import PluginInstaller
asyncio.run(PluginInstaller(Path(sys.argv[1])).install_from_url(sys.argv[2]))
"""
# Random bytes, which no compression makes small: what is read at once must be a fraction of it.
LARGE = package_bytes([*good_members(), file("noise", random.Random(1).randbytes(3 << 20))])


class Resuming:
    """A server that keeps the rules of ranges, and pauses before the end of its first answer."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.sent: list[int] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            start = re.search(r"Range: bytes=(\d+)-", head)
            begin = int(start[1]) if start and 'If-Range: "large"' in head else 0
            status = "206 Partial Content" if begin else "200 OK"
            fields: dict[str, object] = {"ETag": '"large"'}
            if begin:
                fields["Content-Range"] = f"bytes {begin}-{len(LARGE) - 1}/{len(LARGE)}"
            text = answer(status, LARGE[begin:], **fields)
            if len(self.requests) == 1:
                writer.write(text[: len(text) // 2])
                await reader.read()  # until the client is killed
            else:
                self.sent.append(len(LARGE) - begin)
                writer.write(text)
                await writer.drain()
        writer.close()


async def test_a_killed_command_is_continued_by_the_next(tmp_path: Path) -> None:
    plugins, resuming = tmp_path / "plugins", Resuming()
    async with await asyncio.start_server(resuming, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/a.vp"
        command = [sys.executable, "-c", INSTALL, str(plugins), url]
        child = await asyncio.create_subprocess_exec(*command)
        parts = plugins / ".vconnect" / "partial"

        def arrived() -> int:
            files = [path for path in parts.glob("*") if not path.suffix]
            return files[0].stat().st_size if files else 0

        await until(lambda: arrived() >= len(LARGE) // 2 - 1000, "half of it")
        child.kill()
        assert await child.wait() == -9
        there = arrived()
        installer = PluginInstaller(plugins, fetch_limits=LIMITS)
        steps: list[int] = []
        progress = lambda done, _: steps.append(done)  # noqa: E731
        plugin = await installer.install(installer.parse(url), progress=progress)
    assert plugin.current is not None
    assert plugin.current.digest == hashlib.sha256(LARGE).hexdigest()
    assert resuming.sent == [len(LARGE) - there], "only the rest was sent"
    assert steps[0] > there
    assert leftovers(plugins) == []
