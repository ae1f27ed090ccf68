"""Hosts, origins, content types, and who somebody is over TCP."""

from __future__ import annotations

import pytest

from vconnect.admin.access.guard import (
    TcpIdentity,
    check_content_type,
    check_host,
    check_origin,
    checked_names,
    name_of,
)
from vconnect.admin.access.tokens import Access
from vconnect.admin.http.asked import Asked
from vconnect.admin.http.problems import Problem
from vconnect.errors import ConfigError

HOSTS = ("localhost", "127.0.0.1", "[::1]", "plugins.example")


def asked(**headers: str) -> Asked:
    async def read() -> bytes:
        return b""

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Asked("POST", "/", (), named, read, "tcp", peer="127.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8080", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "[::1]"),
        *("[::1]:80", "plugins.example", "Plugins.Example:443"),
    ],
)
def test_a_host_of_ours_is_let_in(host: str) -> None:
    check_host(asked(host=host), HOSTS)


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.test", "localhost.evil.test", "evil.localhost", "localhost, evil.test"),
        *("127.0.0.1:80@x", "x@127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "::1", "[::1", "[::1]x"),
        *("127.0.0.1:80:80", "localhost\x00", "localhost/", "localhost:-1", " localhost", "[]"),
        *("127.0.0.1.", "2130706433", "0.0.0.0", "[::]", "http://localhost", "localhost#", "."),
    ],
)
def test_any_other_host_is_refused_with_those_that_are_ours(host: str) -> None:
    with pytest.raises(Problem) as caught:
        check_host(asked(host=host), HOSTS)
    assert caught.value.code == "bad_host"
    assert "plugins.example" in caught.value.detail


def test_no_host_is_refused() -> None:
    with pytest.raises(Problem):
        check_host(asked(), HOSTS)
    assert name_of("") == ""


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, ""),
        ({"origin": "http://h:1"}, ""),
        ({"origin": "https://h:1"}, ""),
        ({"origin": "HTTP://H:1"}, ""),
        ({"origin": "http://h"}, "bad_origin"),
        ({"origin": "http://h:2"}, "bad_origin"),
        ({"origin": "null"}, "bad_origin"),
        ({"origin": ""}, "bad_origin"),
        ({"origin": "http://h:1.evil.test"}, "bad_origin"),
        ({"origin": "http://h:1, http://evil.test"}, "bad_origin"),
        ({"sec_fetch_site": "same-origin"}, ""),
        ({"sec_fetch_site": "none"}, ""),
        ({"sec_fetch_site": "same-site"}, "cross_site"),
        ({"sec_fetch_site": "cross-site", "origin": "http://h:1"}, "cross_site"),
        ({"sec_fetch_site": ""}, "cross_site"),
    ],
)
def test_changes_come_from_our_own_page_or_from_none(headers: dict[str, str], code: str) -> None:
    one = asked(host="h:1", **headers)
    if not code:
        check_origin(one)
        return
    with pytest.raises(Problem) as caught:
        check_origin(one)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("headers", "is_fine"),
    [
        ({"content_type": "application/json"}, True),
        ({"content_type": "Application/JSON; charset=utf-8"}, True),
        ({"content_type": "text/plain"}, False),
        ({"content_type": "application/jsonp"}, False),
        ({"content_type": "text/plain, application/json"}, False),
        ({"content_type": ""}, False),
        ({}, True),
        ({"content_length": "0"}, True),
        ({"content_type": "application/octet-stream", "content_length": "0"}, True),
        ({"content_type": "application/octet-stream", "content_length": "2"}, False),
        ({"content_type": "application/octet-stream", "origin": "http://h:1"}, False),
        ({"content_type": "text/plain", "content_length": "0"}, False),
        ({"content_length": "2"}, False),
        ({"transfer_encoding": "chunked"}, False),
        ({"origin": "http://h:1"}, False),
    ],
)
def test_a_body_is_declared_as_json(headers: dict[str, str], is_fine: bool) -> None:
    if is_fine:
        check_content_type(asked(**headers))
        return
    with pytest.raises(Problem) as caught:
        check_content_type(asked(**headers))
    assert caught.value.code == "media_type"


TOKEN = "t" * 32


def identity() -> TcpIdentity:
    return TcpIdentity(Access({"operate": TOKEN, "view": "v" * 32}), "vconnect_1")


def test_a_token_says_who_it_is() -> None:
    one = identity()
    who = one(asked(authorization=f"Bearer {TOKEN}"))
    assert (who.role, who.via) == ("operate", "tcp")
    assert one(asked(authorization=f"bearer  {'v' * 32} ")).role == "view"
    assert one(asked()) is None


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \udcff"]
)
def test_a_wrong_token_is_refused_and_not_repeated(header: str) -> None:
    with pytest.raises(Problem) as caught:
        identity()(asked(authorization=header))
    assert caught.value.code == "bad_token"
    assert TOKEN not in caught.value.detail


def test_a_session_is_found_among_the_cookies_of_others() -> None:
    one = identity()
    secret = one.access.begin(peer="x", token=TOKEN, code=None)
    for cookie in (
        f"vconnect_1={secret}",
        f'theme={{"a": 1}}; vconnect_2=no; vconnect_1={secret}; more=[1]',
        f'@bad name; vconnect_1="{secret}"',
        f"a=b, vconnect_1={secret}",
    ):
        assert one.secret_in(asked(cookie=cookie)) == secret
        assert one(asked(cookie=cookie)).role == "operate"
    assert one.secret_in(asked(cookie=f"xvconnect_1={secret}")) is None
    with pytest.raises(Problem) as caught:
        one(asked(cookie="vconnect_1=made-up"))
    assert caught.value.code == "session_ended"


def test_further_names_are_names() -> None:
    assert checked_names(["Chat.Example", "[::1]", "10.0.0.1"]) == (
        *("chat.example", "[::1]", "10.0.0.1"),
    )


@pytest.mark.parametrize("name", ["https://x", "x:8443", "*.example", "x/ops", "", "a b"])
def test_what_no_request_would_match_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected a name without scheme, port or wildcard"):
        checked_names(["x", name])
