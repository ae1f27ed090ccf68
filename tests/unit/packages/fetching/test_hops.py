"""The way to a package: redirects and addresses, proxies, and what is sent on it."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.support.download_kit import Server, answer, install, redirect, refusal

from vconnect.errors import InstallError
from vconnect.packages.fetching import addresses
from vconnect.packages.fetching.addresses import Reach
from vconnect.packages.fetching.hops import as_given, check_redirect


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
    monkeypatch.setattr(addresses, "reach_of", lambda _: next(reaches))
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
    monkeypatch.setattr(addresses, "reach_of", lambda _: next(reaches))
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
    monkeypatch.setattr(addresses, "reach_of", lambda _: next(reaches))
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


# --- private servers -------------------------------------------------------------------------


TOKEN = "hunter2hunter2"


def authorizations(server: Server) -> list[str]:
    found = []
    for request in server.requests:
        lines = [line for line in request.split("\r\n") if line.startswith("Authorization: ")]
        found.append(lines[0].removeprefix("Authorization: ") if lines else "")
    return found


def variable(server: Server, host: str = "127_0_0_1") -> str:
    return f"VCONNECT_TOKEN_{host}_{server.port}"


@pytest.fixture
def token(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token for the server, and another one for it by its name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable(server), TOKEN)
    monkeypatch.setenv(variable(server, "LOCALHOST"), "another")
    return TOKEN


async def test_a_token_goes_along_on_its_own_server(
    server: Server, tmp_path: Path, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await install(server, tmp_path, redirect("/b.vp"), answer())
    assert authorizations(server) == [f"Bearer {token}"] * 2
    assert token not in caplog.text
    private = [path for path in (tmp_path / "plugins").rglob("*") if path.is_file()]
    assert len(private) > 5
    assert [path for path in private if token.encode() in path.read_bytes()] == []


async def test_a_token_is_dropped_at_a_redirect_to_another_host_and_stays_so(
    server: Server, tmp_path: Path, token: str
) -> None:
    there = redirect(f"http://localhost:{server.port}/b.vp")
    back = redirect(f"http://127.0.0.1:{server.port}/c.vp")
    await install(server, tmp_path, there, back, answer())
    assert authorizations(server) == [f"Bearer {token}", "", ""]


async def test_a_token_is_dropped_at_a_redirect_to_another_port(
    server: Server, tmp_path: Path, token: str
) -> None:
    other = Server()
    other.answers = [answer()]
    async with await asyncio.start_server(other.accept, "127.0.0.1", 0) as listening:
        other.port = listening.sockets[0].getsockname()[1]
        await install(server, tmp_path, redirect(f"{other.base}/b.vp"))
    assert authorizations(server) == [f"Bearer {token}"]
    assert authorizations(other) == [""]


async def test_a_login_of_netrc_is_sent_and_dropped_alike(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".netrc"
    file.write_text(f"machine 127.0.0.1 login me password {TOKEN}\n"
                    f"machine localhost login me password other\n")  # fmt: skip
    file.chmod(0o600)
    there = redirect(f"http://localhost:{server.port}/b.vp")
    await install(server, tmp_path, there, answer())
    assert authorizations(server) == ["Basic bWU6aHVudGVyMmh1bnRlcjI=", ""]
    file.chmod(0o644)
    message = await refusal(server, tmp_path, answer("401 No"))
    assert authorizations(server)[2:] == [""]
    assert f"others may read or change it (mode 0644); use: chmod 600 {file}" in message
    assert TOKEN not in message


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refusal_says_what_was_sent_and_how_to_give_a_token(
    server: Server, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    message = await refusal(server, tmp_path, answer(status))
    assert message.endswith(
        f"status {status[:3]}; check the token in {variable(server)}, which it was sent"
    )
    monkeypatch.delenv(variable(server))
    message = await refusal(server, tmp_path, answer(status))
    assert message.endswith(
        f"status {status[:3]}; it was sent no credentials: {variable(server)} is not set, and "
        f"{tmp_path}/.netrc does not exist; to give a token, set {variable(server)} in the "
        "environment of the host"
    )
    elsewhere = redirect(f"http://localhost:{server.port}/b.vp")
    message = await refusal(server, tmp_path, elsewhere, answer(status))
    assert "; 127.0.0.1 redirects to localhost, which is sent no credentials" in message


async def test_a_token_that_a_server_sends_back_is_not_repeated(
    server: Server, tmp_path: Path, token: str
) -> None:
    for location in (f"ftp://x/{token}", f"http://{token}.test/b.vp", f"http://x.test/{token}"):
        message = await refusal(server, tmp_path, redirect(location))
        assert token not in message
    assert len(server.requests) == 3


async def test_a_token_that_cannot_be_sent_is_an_error(
    server: Server, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(server), f"{token}\r\nX: y")
    message = await refusal(server, tmp_path, answer())
    assert f"the token in {variable(server)} cannot be sent" in message
    assert token not in message
    assert server.requests == []


async def test_a_proxy_gets_no_token(
    proxied: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCONNECT_TOKEN_FAR_TEST", TOKEN)
    options = {"source": "http://far.test/a.vp", "allow_insecure_http": True}
    message = await refusal(proxied, tmp_path, answer("401 No"), **options)
    assert "it was sent no credentials, because without https anybody could read them" in message
    await refusal(proxied, tmp_path, answer("403 No"), source="https://far.test/a.vp")
    assert proxied.requests[1].startswith("CONNECT far.test:443")
    assert TOKEN not in "".join(proxied.requests)


# --- rules without a server ------------------------------------------------------------------


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
