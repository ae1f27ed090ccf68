"""Routes are found by their segments, and a name is one segment."""

from __future__ import annotations

import pytest

from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.problems import Problem
from vconnect.admin.http.table import Route, Table


async def nothing(_: Asked) -> Reply:
    return Reply()


def route(method: str, path: str) -> Route:
    return Route(method, path, "view", nothing, path)


TABLE = Table(
    [
        route("GET", "/"),
        route("GET", "/{file}"),
        route("GET", "/api/plugins"),
        route("GET", "/api/plugins/{name}/config"),
        route("PUT", "/api/plugins/{name}/config"),
        route("POST", "/api/plugins/{name}/stop"),
        route("POST", "/api/plugins/all/stop"),
    ]
)


def asked(method: str, path: str) -> Asked:
    async def read() -> bytes:
        return b""

    return Asked(method, path, (), {}, read, "socket")


@pytest.mark.parametrize(
    ("method", "path", "wanted", "names"),
    [
        ("GET", "/", "/", {}),
        ("GET", "/app.js", "/{file}", {"file": "app.js"}),
        ("GET", "/api/plugins", "/api/plugins", {}),
        ("GET", "/api/plugins/", "/api/plugins", {}),
        ("HEAD", "/api/plugins", "/api/plugins", {}),
        ("PUT", "/api/plugins/a/config", "/api/plugins/{name}/config", {"name": "a"}),
        ("POST", "/api/plugins/a/stop", "/api/plugins/{name}/stop", {"name": "a"}),
        ("POST", "/api/plugins/all/stop", "/api/plugins/all/stop", {}),
        ("POST", "/api/plugins/%2e%2e%2fx/stop", "/api/plugins/{name}/stop", {"name": "../x"}),
        ("POST", "/api/plugins/a%252fb/stop", "/api/plugins/{name}/stop", {"name": "a%2fb"}),
        ("POST", "/api/plugins/%ff/stop", "/api/plugins/{name}/stop", {"name": "\udcff"}),
    ],
)
def test_a_route_is_found(method: str, path: str, wanted: str, names: dict[str, str]) -> None:
    one = asked(method, path)
    assert TABLE.find(one).path == wanted
    assert one.names == names


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/plugins/a",
        "/api/plugins//config",
        "/api/plugins/a/b/config",
        "/api%2fplugins/a/config",
        "/API/plugins",
        "/api/./plugins",
        "/api/plugins/../plugins/a/config",
    ],
)
def test_what_is_spelled_otherwise_is_no_second_route(path: str) -> None:
    if path == "/api":
        assert TABLE.find(asked("GET", path)).path == "/{file}"
        return
    with pytest.raises(Problem) as caught:
        TABLE.find(asked("GET", path))
    assert caught.value.code == "unknown_route"


def test_another_method_is_told_which_ones_there_are() -> None:
    with pytest.raises(Problem) as caught:
        TABLE.find(asked("DELETE", "/api/plugins/a/config"))
    assert caught.value.code == "method"
    assert caught.value.headers == {"Allow": "GET, PUT, HEAD"}
