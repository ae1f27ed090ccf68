"""Downloads from a server in this process: redirects and addresses, retries, bounds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.package_kit import good_members, leftovers, package_bytes

from vconnect.errors import InstallError
from vconnect.packages import download
from vconnect.packages.download import Reach, as_given, check_redirect, reach_of
from vconnect.packages.source import FetchLimits
from vconnect.store.installer import PluginInstaller

PACKAGE = package_bytes(good_members())
LIMITS = FetchLimits(redirects=2, retries=2, retry_delay=0.001, idle_timeout=10.0)


def answer(status: str = "200 OK", body: bytes = PACKAGE, **headers: object) -> bytes:
    fields: dict[str, object] = {"Content-Length": len(body), "Connection": "close", **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in fields.items() if v is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str) -> bytes:
    return answer("302 Found", b"", Location=location)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is set for whoever runs the tests out of them."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Server:
    """Answers each request with the next of its answers, and the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[str] = []
        self.port = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode())
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def paths(self) -> list[str]:
        return [request.split()[1] for request in self.requests]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the resolver says next of a name; the last word holds."""
    known: dict[str, list[str]] = {}
    loop_class = asyncio.BaseEventLoop
    getaddrinfo = loop_class.getaddrinfo

    async def look_up(loop: Any, host: str, port: int, **options: Any) -> Any:
        if host not in known:
            return await getaddrinfo(loop, host, port, **options)
        words = known[host]
        address = words.pop(0) if len(words) > 1 else words[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(loop_class, "getaddrinfo", look_up)
    return known


async def install(server: Server, directory: Path, *answers: bytes, **options: Any) -> str:
    """Install from the server; returns the plugin's name."""
    server.answers = list(answers)
    source = options.pop("source", f"{server.base}/a.vp")
    installer = PluginInstaller(directory / "plugins", fetch_limits=LIMITS, **options)
    return (await installer.install_from_url(source)).name


async def refusal(server: Server, directory: Path, *answers: bytes, **options: Any) -> str:
    with pytest.raises(InstallError) as caught:
        await install(server, directory, *answers, **options)
    assert leftovers(directory / "plugins") == []
    return str(caught.value)


async def test_a_package_is_installed_and_its_progress_told(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    progress = {"progress": lambda *step: steps.append(step)}
    assert await install(server, tmp_path, answer(), **progress) == "example"
    assert steps[-1] == (len(PACKAGE), len(PACKAGE))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


async def test_without_a_length_the_total_is_unknown(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    unknown = answer(**{"Content-Length": None})
    await install(server, tmp_path, unknown, progress=lambda *step: steps.append(step))
    assert steps[-1] == (len(PACKAGE), None)


async def test_nothing_of_this_machine_is_sent_but_our_name(server: Server, tmp_path: Path) -> None:
    await install(server, tmp_path, answer())
    head = server.requests[0].lower()
    assert "user-agent: vconnect\r\n" in head
    assert "accept-encoding: identity\r\n" in head
    assert "cookie" not in head
    assert "authorization" not in head


SIGNED = "/x.vp?X-Amz-Credential=AKIA%2F2024%2Fus&p=%7Ea&sig=a%2Bb%3D&list[]={1|2}"


async def test_signed_addresses_go_out_as_given(server: Server, tmp_path: Path) -> None:
    await install(
        server, tmp_path, redirect(SIGNED), answer(), source=f"{server.base}/a%2Fb.vp?c=%7E"
    )
    assert server.paths() == ["/a%2Fb.vp?c=%7E", SIGNED]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://h/a b.vp?x=ä", "https://h/a%20b.vp?x=%C3%A4"),
        ("https://größe.example/a.vp", "https://xn--gre-6ka8i.example/a.vp"),
        ("https://h/100%.vp", "https://h/100%.vp"),
        ("../b.vp?x=%2F", "../b.vp?x=%2F"),
    ],
)
def test_only_what_no_address_may_contain_is_encoded(given: str, sent: str) -> None:
    assert str(as_given(given)) == sent


async def test_cookies_are_not_kept_between_hops(server: Server, tmp_path: Path) -> None:
    first = answer("302 Found", b"", **{"Location": "/b.vp", "Set-Cookie": "a=b"})
    await install(server, tmp_path, first, answer())
    assert "cookie" not in server.requests[1].lower()


@pytest.mark.parametrize("location", ["/b.vp", "b.vp", "?x=1", "//127.0.0.1:{port}/b.vp"])
async def test_relative_redirects(server: Server, tmp_path: Path, location: str) -> None:
    hop = redirect(location.format(port=server.port))
    assert await install(server, tmp_path, hop, answer()) == "example"
    assert server.paths()[1] in ("/b.vp", "/a.vp?x=1")


async def test_redirects_have_a_bound(server: Server, tmp_path: Path) -> None:
    assert "more than 2 redirects" in await refusal(server, tmp_path, redirect("/b.vp"))
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "without a valid Location"),
        ("http://[::1/x", "without a valid Location"),
        ("file:///etc/passwd", "file: address"),
        ("gopher://h/", "gopher: address"),
        ("http://example.com/a.vp", "allow_insecure_http"),
        ("http://me:hunter2@example.com/a.vp?hunter2", "allow_insecure_http"),
    ],
)
async def test_redirects_that_lead_astray(
    server: Server, tmp_path: Path, location: str, words: str
) -> None:
    message = await refusal(server, tmp_path, redirect(location))
    assert words in message
    assert "hunter2" not in message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("169.254.169.254", "link-local or reserved"),
        ("fe80::1", "link-local or reserved"),
        ("::ffff:169.254.169.254", "link-local or reserved"),
        ("0.0.0.0", "link-local or reserved"),
    ],
)
async def test_a_redirect_to_where_clouds_keep_credentials(
    server: Server, tmp_path: Path, names: dict[str, list[str]], address: str, words: str
) -> None:
    names["innocent.test"] = [address]
    hop = redirect(f"http://innocent.test:{server.port}/a.vp")
    message = await refusal(server, tmp_path, hop, answer(), allow_insecure_http=True)
    assert words in message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        (Reach.PUBLIC, Reach.LOOPBACK, True),
        (Reach.PUBLIC, Reach.PRIVATE, True),
        (Reach.PRIVATE, Reach.LOOPBACK, True),
        (Reach.LOOPBACK, Reach.PUBLIC, False),
        (Reach.PUBLIC, Reach.PUBLIC, False),
    ],
)
async def test_a_redirect_may_lead_outward_and_never_inward(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: Reach,
    second: Reach,
    is_refused: bool,
) -> None:
    reaches = iter([first, second, second])  # of the second hop, the nearest and the farthest
    monkeypatch.setattr(download, "reach_of", lambda _: next(reaches))
    answers = (redirect(f"http://localhost:{server.port}/b.vp"), answer())
    if is_refused:
        message = await refusal(server, tmp_path, *answers)
        assert f"{second.name.lower()} after {first.name.lower()}" in message
        assert len(server.requests) == 1
    else:
        assert await install(server, tmp_path, *answers) == "example"


async def test_the_nearest_address_of_a_name_counts(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaches = iter([Reach.PUBLIC, Reach.PUBLIC, Reach.FORBIDDEN, Reach.PUBLIC])

    async def two(_: Any, host: str, port: int, **__: Any) -> Any:
        found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        return [found, found]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", two)
    monkeypatch.setattr(download, "reach_of", lambda _: next(reaches))
    assert "link-local" in await refusal(server, tmp_path, redirect("/b.vp"), answer())


async def test_who_redirects_counts_as_its_farthest_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first hop has a public and a loopback address, and redirects to a loopback one.
    reaches = iter([Reach.PUBLIC, Reach.LOOPBACK, Reach.LOOPBACK, Reach.LOOPBACK])

    async def two(_: Any, host: str, port: int, **__: Any) -> Any:
        found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        return [found, found]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", two)
    monkeypatch.setattr(download, "reach_of", lambda _: next(reaches))
    message = await refusal(server, tmp_path, redirect("/b.vp"), answer())
    assert "loopback after public" in message


async def test_a_name_that_changes_after_the_check_changes_nothing(
    server: Server, tmp_path: Path, names: dict[str, list[str]]
) -> None:
    names["changing.test"] = ["127.0.0.1", "203.0.113.1"]
    source = f"http://changing.test:{server.port}/a.vp"
    options = {"source": source, "allow_insecure_http": True}
    assert await install(server, tmp_path, answer(), **options) == "example"
    assert names["changing.test"] == ["203.0.113.1"]
    assert f"host: changing.test:{server.port}" in server.requests[0].lower()


async def test_a_name_that_is_not_known(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", unknown)
    message = await refusal(server, tmp_path, answer(), source="https://none.test/a.vp")
    assert "'none.test' could not be resolved: Name or service not known" in message


# --- proxies ---------------------------------------------------------------------------------


@pytest.fixture
def proxied(server: Server, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, as the proxy for everything else."""
    monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{server.port}")
    monkeypatch.setenv("https_proxy", f"http://proxy.test:{server.port}")
    monkeypatch.setenv("no_proxy", "direct.test")
    names["proxy.test"] = ["127.0.0.1"]
    return server


async def test_a_package_comes_through_the_proxy(proxied: Server, tmp_path: Path) -> None:
    source = "http://far.test/a%2Fb.vp?c=%7E"  # a name that only the proxy knows
    options = {"source": source, "allow_insecure_http": True}
    assert await install(proxied, tmp_path, answer(), **options) == "example"
    assert proxied.paths() == [source]
    assert "proxy-authorization: basic bwu6c2vjcmv0" in proxied.requests[0].lower()


async def test_https_goes_through_a_tunnel(proxied: Server, tmp_path: Path) -> None:
    message = await refusal(proxied, tmp_path, answer("403 No"), source="https://far.test/a.vp")
    assert proxied.requests[0].startswith("CONNECT far.test:443 HTTP/1.1")
    words = f"the proxy proxy.test:{proxied.port} of https_proxy responded with status 403"
    assert words in message


@pytest.mark.parametrize(
    ("status", "words", "attempts"),
    [("407 No", "write the credentials into the variable", 1), ("502 No", "(3 attempts)", 3)],
)
async def test_what_a_proxy_answers(
    proxied: Server, tmp_path: Path, status: str, words: str, attempts: int
) -> None:
    message = await refusal(proxied, tmp_path, answer(status), source="https://far.test/a.vp")
    assert words in message
    assert "secret" not in message
    assert len(proxied.requests) == attempts


async def test_a_proxy_that_is_not_there_is_named(
    proxied: Server, tmp_path: Path, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"source": "https://far.test/a.vp"}
    monkeypatch.setenv("https_proxy", "http://gone.test:1")
    message = await refusal(proxied, tmp_path, answer(), **options)
    assert "the proxy gone.test:1 of https_proxy could not be resolved" in message
    names["gone.test"] = ["127.0.0.1"] * 3
    message = await refusal(proxied, tmp_path, answer(), **options)
    assert "the connection to the proxy gone.test:1 of https_proxy failed" in message
    monkeypatch.setenv("https_proxy", "socks5://gone.test:1")
    assert "not supported" in await refusal(proxied, tmp_path, answer(), **options)


async def test_this_machine_and_no_proxy_are_reached_directly(
    proxied: Server, tmp_path: Path, names: dict[str, list[str]]
) -> None:
    names["direct.test"] = ["127.0.0.1"]
    source = f"http://direct.test:{proxied.port}/a.vp"
    await install(proxied, tmp_path, answer(), source=source, allow_insecure_http=True)
    await install(proxied, tmp_path, answer())
    assert proxied.paths() == ["/a.vp", "/a.vp"]


@pytest.mark.parametrize(
    ("target", "addresses", "words"),
    [
        ("http://other.test/b.vp", [], "only followed with https"),
        ("https://127.0.0.1/b.vp", [], "loopback after public"),
        ("https://169.254.169.254/b.vp", ["169.254.169.254"], "link-local"),
        ("https://10.0.0.1/b.vp", ["10.0.0.1"], "private after public"),
        ("https://near.test/b.vp", ["10.0.0.1"], "private after public"),
        ("https://wiki/b.vp", [], "private after public"),
        ("https://x.internal/b.vp", [], "private after public"),
    ],
)
async def test_a_redirect_through_a_proxy_leads_no_closer_either(
    proxied: Server,
    tmp_path: Path,
    names: dict[str, list[str]],
    target: str,
    addresses: list[str],
    words: str,
) -> None:
    if addresses:
        names[target.split("/")[2]] = addresses
    options = {"source": "http://far.test/a.vp", "allow_insecure_http": True}
    message = await refusal(proxied, tmp_path, redirect(target), answer(), **options)
    assert words in message
    assert len(proxied.requests) == 1


async def test_a_redirect_to_a_name_of_the_public_network_is_followed(
    proxied: Server, tmp_path: Path
) -> None:
    options = {"source": "http://far.test/a.vp", "allow_insecure_http": True}
    answers = [redirect("https://further.test/b.vp"), answer("403 No")]
    await refusal(proxied, tmp_path, *answers, **options)
    assert proxied.requests[1].startswith("CONNECT further.test:443")


# --- what servers answer ---------------------------------------------------------------------


async def test_a_servers_error_is_tried_again(server: Server, tmp_path: Path) -> None:
    failed = answer("503 Service Unavailable", b"")
    assert await install(server, tmp_path, failed, failed, answer()) == "example"
    assert len(server.requests) == 3


async def test_in_the_end_a_servers_error_is_told(server: Server, tmp_path: Path) -> None:
    message = await refusal(server, tmp_path, answer("500 Internal Server Error", b""))
    assert "responded with status 500 (3 attempts)" in message
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [204, 206, 304, 400, 404, 410, 418])
async def test_other_answers_are_final(server: Server, tmp_path: Path, status: int) -> None:
    message = await refusal(server, tmp_path, answer(f"{status} X", b""))
    assert f"responded with status {status}" in message
    assert ("check the address" in message) is (status in (404, 410))
    assert len(server.requests) == 1


async def test_a_download_that_broke_off_begins_again_from_nothing(
    server: Server, tmp_path: Path
) -> None:
    cut = answer()[:-5]
    assert await install(server, tmp_path, cut, cut, answer()) == "example"


async def test_what_is_too_large_is_refused_by_its_word_and_by_its_bytes(
    server: Server, tmp_path: Path
) -> None:
    large = b"x" * 5000
    options = {"max_package_bytes": 4000}
    message = await refusal(server, tmp_path, answer(body=large), **options)
    assert "has 5000 bytes; the limit is 4000" in message
    unannounced = answer(body=large, **{"Content-Length": None})
    message = await refusal(server, tmp_path, unannounced, **options)
    assert "more than 4000 bytes" in message


@pytest.mark.parametrize("text", [b"no http at all\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_what_is_no_http_is_final(server: Server, tmp_path: Path, text: bytes) -> None:
    assert "not valid HTTP" in await refusal(server, tmp_path, text)
    assert len(server.requests) == 1


# --- rules without a server ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("127.255.255.255", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("169.254.0.1", Reach.FORBIDDEN),
        ("fe80::1%eth0", Reach.FORBIDDEN),
        ("ff02::1", Reach.FORBIDDEN),
        ("255.255.255.255", Reach.FORBIDDEN),
        ("::127.0.0.1", Reach.FORBIDDEN),
        ("172.16.0.1", Reach.PRIVATE),
        ("172.32.0.1", Reach.PUBLIC),
        ("100.127.255.255", Reach.PRIVATE),
        ("fdff::1", Reach.PRIVATE),
        ("::ffff:8.8.8.8", Reach.PUBLIC),
        ("2001:4860:4860::8888", Reach.PUBLIC),
    ],
)
def test_how_far_away_an_address_is(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


def test_only_what_is_numeric_has_a_reach() -> None:
    with pytest.raises(ValueError, match="localhost"):
        reach_of("localhost")


@pytest.mark.parametrize(
    ("scheme", "target"),
    [
        ("https", "https://h/a"),
        ("http", "https://h/a"),
        ("http", "http://127.0.0.1/a"),
        ("http", "HTTP://localhost/a"),
    ],
)
def test_redirects_that_are_fine(scheme: str, target: str) -> None:
    check_redirect("a.vp", scheme, target, False)


@pytest.mark.parametrize("allowed", [False, True])
def test_from_https_no_redirect_leads_to_http(allowed: bool) -> None:
    with pytest.raises(InstallError, match="from https to http"):
        check_redirect("a.vp", "https", "http://127.0.0.1/a", allowed)
