"""Hosts, origins, content types and cookies."""

from __future__ import annotations

import pytest

from vconnect.admin.access import Access
from vconnect.admin.asked import Asked
from vconnect.admin.guard import (
    TcpIdentity,
    check_content_type,
    check_host,
    check_origin,
    name_of,
)
from vconnect.admin.problems import Problem

HOSTS = ("localhost", "127.0.0.1", "[::1]", "chat.example")


def asked(**headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Asked("POST", "/", (), named, None, "tcp", "p")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]", "[::1]:80", "chat.example:443"],
)
def test_the_names_of_this_server_are_let_through(host):
    check_host(asked(host=host), HOSTS)


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.test", "localhost.evil.test", "127.0.0.1:80@x", "localhost, evil.test"),
        *("localhost:80:80", "[::1", "::1", "localhost:x", "localhost/", " localhost", "127.0.0.2"),
    ],
)
def test_all_other_names_are_refused(host):
    with pytest.raises(Problem) as caught:
        check_host(asked(host=host), HOSTS)
    assert caught.value.code == "bad_host"


def test_a_request_without_a_host_is_refused():
    with pytest.raises(Problem):
        check_host(asked(), HOSTS)
    assert name_of("a:1") == "a"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, ""),
        ({"origin": "http://localhost:8080"}, ""),
        ({"origin": "https://localhost:8080", "sec_fetch_site": "same-origin"}, ""),
        ({"sec_fetch_site": "none"}, ""),
        ({"origin": "http://localhost"}, "bad_origin"),
        ({"origin": "null"}, "bad_origin"),
        ({"origin": "http://evil.test"}, "bad_origin"),
        ({"sec_fetch_site": "cross-site"}, "cross_site"),
        ({"sec_fetch_site": "same-site"}, "cross_site"),
    ],
)
def test_changes_come_from_this_page_or_from_none(headers, code):
    request = asked(host="localhost:8080", **headers)
    if not code:
        return check_origin(request)
    with pytest.raises(Problem) as caught:
        check_origin(request)
    assert caught.value.code == code
    return None


@pytest.mark.parametrize(
    ("headers", "is_fine"),
    [
        ({"content_type": "application/json"}, True),
        ({"content_type": "Application/JSON; charset=utf-8", "content_length": "2"}, True),
        ({}, True),
        ({"content_type": "application/octet-stream", "content_length": "0"}, True),
        ({"content_length": "2"}, False),
        ({"transfer_encoding": "chunked"}, False),
        ({"origin": "http://localhost"}, False),
        ({"content_type": "text/plain"}, False),
        ({"content_type": "application/x-www-form-urlencoded", "content_length": "0"}, False),
        ({"content_type": "application/jsonp"}, False),
    ],
)
def test_bodies_are_declared_as_json(headers, is_fine):
    if is_fine:
        return check_content_type(asked(**headers))
    with pytest.raises(Problem) as caught:
        check_content_type(asked(**headers))
    assert caught.value.code == "media_type"
    return None


def test_a_sender_is_known_by_a_token_or_a_cookie():
    access = Access({"operate": "o" * 32})
    identify = TcpIdentity(access, "vconnect_80")
    assert identify(asked()) is None
    assert identify(asked(authorization=f"Bearer {'o' * 32}")).role == "operate"
    secret = access.begin(peer="p", token="o" * 32, code=None)
    assert identify(asked(cookie=f"a=b; vconnect_80={secret}")).role == "operate"
    assert identify(asked(cookie=f"vconnect_81={secret}")) is None
    for wrong in ("Basic x", "Bearer", "Bearer wrong", "nonsense"):
        with pytest.raises(Problem):
            identify(asked(authorization=wrong))
