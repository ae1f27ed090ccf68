"""Routes: each request has one, and a name is one segment."""

from __future__ import annotations

import pytest

from vconnect.admin.asked import Asked
from vconnect.admin.problems import Problem
from vconnect.admin.table import Route, Table


def route(method, path):
    return Route(method, path, None, None, path)


TABLE = Table(
    [
        route("GET", "/"),
        route("GET", "/{file}"),
        route("GET", "/api/plugins"),
        route("GET", "/api/plugins/{name}/status"),
        route("POST", "/api/plugins/{name}/stop"),
        route("GET", "/api/hosts/{id}/{rest*}"),
    ]
)


def find(method, path):
    asked = Asked(method, path, (), {}, None, "socket")
    return TABLE.find(asked).path, asked.names


@pytest.mark.parametrize(
    ("path", "found", "names"),
    [
        ("/", "/", {}),
        ("/app.js", "/{file}", {"file": "app.js"}),
        ("/api/plugins", "/api/plugins", {}),
        ("/api/plugins/", "/api/plugins", {}),
        ("/api/plugins/a%2Fb/status", "/api/plugins/{name}/status", {"name": "a/b"}),
        ("/api/plugins/%2e%2e/status", "/api/plugins/{name}/status", {"name": ".."}),
        ("/api/plugins/%252e/status", "/api/plugins/{name}/status", {"name": "%2e"}),
        ("/api/plugins/%ff/status", "/api/plugins/{name}/status", {"name": "\udcff"}),
        ("/api/hosts/w%3A1/api/x/y", "/api/hosts/{id}/{rest*}", {"id": "w:1", "rest": "api/x/y"}),
    ],
)
def test_a_request_has_one_route(path, found, names):
    assert find("GET", path) == find("HEAD", path) == (found, names)


@pytest.mark.parametrize(
    "path", ["/api/plugins//status", "/api/plugins/a/b/status", "/API/plugins", "/api/hosts/x"]
)
def test_others_have_none(path):
    with pytest.raises(Problem) as caught:
        find("GET", path)
    assert caught.value.code == "unknown_route"


def test_a_wrong_method_is_told_the_right_ones():
    for method, path, allowed in (
        ("GET", "/api/plugins/a/stop", "POST"),
        ("DELETE", "/api/plugins", "GET, HEAD"),
    ):
        with pytest.raises(Problem) as caught:
            find(method, path)
        assert (caught.value.code, caught.value.headers["Allow"]) == ("method", allowed)
