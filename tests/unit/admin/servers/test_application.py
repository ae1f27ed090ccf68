"""What holds for every request: hosts, origins, content types, roles, headers, problems."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
import pytest
from tests.support.fake_manager import FakeManager, failing, plugin_summary, served
from tests.support.web import asking, one_plugin

from vconnect.admin.http.asked import Asked, Reply, Who
from vconnect.admin.http.audit import Audit
from vconnect.admin.http.orders import Orders
from vconnect.admin.http.table import Route, Table
from vconnect.admin.servers.application import HEADERS, Application
from vconnect.plugins.status import PluginStatus

VIEWER = Who("v", "view", "tcp")
OPERATOR = Who("o", "operate", "tcp")


async def fine(asked: Asked) -> Reply:
    return Reply(asked.by.encode())


async def broken(_: Asked) -> Reply:
    raise RuntimeError("a secret detail")


ROUTES = [
    Route("GET", "/open", None, fine, "Open"),
    Route("GET", "/look", "view", fine, "Look"),
    Route("POST", "/act/{name}", "operate", fine, "Act", order="act"),
    Route("POST", "/break", "operate", broken, "Break", order="break"),
]


def asked(method: str, path: str, **headers: str) -> Asked:
    async def read() -> bytes:
        return b""

    return Asked(method, path, (), {"host": "localhost", **headers}, read, "tcp")


class Made:
    def __init__(self) -> None:
        self.audit = Audit()
        self.counted: list[tuple[str, int]] = []
        table = Table(ROUTES)
        self.one = Application(table, self.audit, Orders(), lambda *what: self.counted.append(what))

    async def __call__(self, who: Who | None, method: str, path: str, **headers: str) -> Reply:
        return await self.one.answer(asked(method, path, **headers), lambda _: who, ["localhost"])


@pytest.mark.parametrize(
    ("who", "method", "path", "status", "code"),
    [
        (None, "GET", "/open", 200, ""),
        (None, "GET", "/look", 401, "no_token"),
        (VIEWER, "GET", "/look", 200, ""),
        (OPERATOR, "HEAD", "/look", 200, ""),
        (None, "POST", "/act/x", 401, "no_token"),
        (VIEWER, "POST", "/act/x", 403, "role"),
        (OPERATOR, "POST", "/act/x", 200, ""),
        (OPERATOR, "GET", "/act/x", 405, "method"),
        (OPERATOR, "BREW", "/look", 405, "method"),
        (OPERATOR, "POST", "/nowhere", 404, "unknown_route"),
        (OPERATOR, "POST", "/break", 500, "internal"),
    ],
)
async def test_who_may_do_what(
    who: Who | None, method: str, path: str, status: int, code: str
) -> None:
    made = Made()
    reply = await made(who, method, path)
    assert (reply.status, reply.code) == (status, code)
    assert reply.headers.items() >= HEADERS.items()
    assert made.counted[0][1] == status
    assert b"secret" not in reply.body


async def test_every_change_is_in_the_audit_and_nothing_else() -> None:
    made = Made()
    for who, method, path in (
        (OPERATOR, "POST", "/act/x"),
        (OPERATOR, "POST", "/break"),
        (OPERATOR, "GET", "/look"),
        (VIEWER, "POST", "/act/y"),
        (None, "GET", "/open"),
    ):
        await made(who, method, path)
    found = [(one.order, one.plugin, one.result) for one in made.audit.since(0)]
    assert found == [("act", "x", "ok"), ("break", None, "internal")]


async def test_answers_are_counted_by_their_route_and_never_by_what_was_sent() -> None:
    made = Made()
    for name in ("a", "b", "c"):
        await made(OPERATOR, "POST", f"/act/{name}")
        await made(OPERATOR, "GET", f"/nowhere/{name}")
    assert set(made.counted) == {("/act/{name}", 200), ("-", 404)}


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/plugins/../x/status", "/api/plugins//status", "/api/plugin/example"],
)
async def test_unknown_routes_are_not_found(path: str) -> None:
    async with asking(one_plugin()) as web:
        problem = await web.problem("GET", path, 404)
    assert (problem["code"], problem["error"]["code"]) == ("unknown_route", "not_found")
    assert problem["detail"].startswith("no such route: /")


async def test_get_on_an_action_changes_nothing() -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        problem = await web.problem("GET", "/api/plugins/example/restart", 405)
        assert web.headers["Allow"] == "POST"
    assert (problem["code"], problem["error"]["code"]) == ("method", "method_not_allowed")
    detail = "GET is not allowed on /api/plugins/example/restart; allowed: POST"
    assert problem["detail"] == detail
    assert manager.calls == []


@pytest.mark.parametrize(
    ("headers", "code", "methods"),
    [
        ({"Host": "evil.example"}, "bad_host", ("GET", "POST")),
        ({"Host": "localhost.evil.example"}, "bad_host", ("GET", "POST")),
        ({"Host": ""}, "bad_host", ("GET", "POST")),
        ({"Origin": "http://evil.example"}, "bad_origin", ("POST",)),
        ({"Origin": "http://localhost:81"}, "bad_origin", ("POST",)),
        ({"Origin": "null"}, "bad_origin", ("POST",)),
        ({"Sec-Fetch-Site": "cross-site"}, "cross_site", ("POST",)),
        ({"Sec-Fetch-Site": "same-site"}, "cross_site", ("POST",)),
    ],
)
async def test_pages_of_other_sites_are_refused(
    headers: dict[str, str], code: str, methods: tuple[str, ...]
) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        for method, path in (
            ("GET", "/api/plugins"),
            ("POST", "/api/plugins/example/stop"),
            ("GET", "/nowhere"),
        ):
            if method in methods:
                problem = await web.problem(method, path, 403, headers=headers)
                assert (problem["code"], problem["error"]["code"]) == (code, "forbidden")
                assert not [one for one in web.headers if "access-control" in one.lower()]
    assert manager.calls == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost:80", "vconnect"])
async def test_our_own_hosts_are_served(host: str) -> None:
    async with asking(one_plugin()) as web:
        await web("GET", "/api/plugins", headers={"Host": host})


@pytest.mark.parametrize("path", ["/api/events", "/api/plugins/example/stop"])
@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
)
async def test_bodies_that_are_not_json_are_refused(path: str, kind: str) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        headers = {"Content-Type": kind}
        problem = await web.problem("POST", path, 415, data=b'{"event": "e"}', headers=headers)
        await web.fails("POST", path, 415, data=b"", headers=headers)
    assert (problem["code"], problem["error"]["code"]) == ("media_type", "unsupported_media_type")
    assert problem["detail"] == f"the content type is {kind!r}; expected application/json"
    assert manager.calls == []


async def test_a_fault_of_ours_is_logged_once_and_told_without_its_insides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        async with asking(failing(RuntimeError("a secret detail"))) as web:
            problem = await web.problem("POST", "/api/plugins/example/stop", 500)
            await web("GET", "/api/plugins")
    assert problem["code"] == "internal"
    assert "secret" not in str(problem)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert problem["id"] in record.getMessage()
    assert record.exc_info is not None


async def test_a_client_that_goes_away_cancels_nothing() -> None:
    manager = one_plugin()
    manager.gate = asyncio.Event()
    async with served(manager) as path:
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /api/plugins/example/stop HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        await until_served(path)
        writer.close()
        await writer.wait_closed()
        await until_served(path)
        manager.gate.set()
        async with asyncio.timeout(5):
            while manager.plugins["example"].status is not PluginStatus.STOPPED:
                await asyncio.sleep(0.005)


async def test_it_stops_while_a_request_is_in_flight() -> None:
    manager = one_plugin()
    manager.gate = asyncio.Event()
    async with served(manager) as path:
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /api/plugins/example/stop HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until_served(path)
    writer.close()
    await writer.wait_closed()
    assert manager.calls == []
    assert not path.exists()


async def test_the_words_of_who_asks_are_in_the_audit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with asking(FakeManager(plugin_summary())) as web:
        await web("POST", "/api/plugins/example/stop")
        (record,) = (await web("GET", "/api/audit"))["items"]
        await web.fails("POST", "/api/plugins/a%0aaudit%20who=root/stop", 404)
    assert (record["order"], record["plugin"], record["result"]) == ("stop", "example", "ok")
    told = [text for text in caplog.messages if text.startswith("audit ")]
    assert " via=socket role=operate order=stop plugin=example result=ok" in told[0]
    assert len(told) == 2
    assert "\n" not in told[1]


async def until_served(path: Path) -> None:
    """Ask one question: what was sent before it has been read by now."""
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/api/host") as answer,
    ):
        assert answer.status == 200
