"""The routes of the host itself, over a real server."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest
from tests.support.fake_manager import FakeManager, short_directory
from tests.support.web import Web, asking, one_plugin

from vconnect.admin.servers.server import AdminServer


async def test_the_host_describes_itself() -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        host = await web("GET", "/api/host")
    assert host.pop("id").endswith(":99")
    assert host.pop("name")
    assert host.pop("rss_bytes") > 0
    assert host == {
        "role": "operate",
        "boot": manager.feed.boot,
        "loop_lag": None,
        "pid": 99,
        "guardian_pid": 98,
        "version": "0.1.0",
        "loop": "asyncio",
        "uptime_s": 12.0,
        "socket_path": "/run/runtime.sock",
        "admin_path": "/run/admin.sock",
        "plugin_dir": "/plugins",
        "cgroup": None,
        "cgroup_problem": "",
        "plugins": 1,
        "queued_bytes": 0,
        "stalls": 0,
        "longest_stall_s": 0.0,
    }


async def test_the_loop_turns_while_it_answers() -> None:
    async with asking(one_plugin()) as web, web.sent("GET", "/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_a_host_that_ends_says_so(tmp_path: Path) -> None:
    manager = one_plugin()
    with short_directory() as directory:
        server = AdminServer(manager, directory / "admin.sock")
        await server.start()
        server.administration.is_stopping = True
        connector = aiohttp.UnixConnector(str(directory / "admin.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            assert (await Web(session).fails("GET", "/healthz", 503))[0] == "stopping"
        await server.stop()


async def test_it_is_ready_if_every_required_plugin_serves() -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        async with web.sent("GET", "/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        manager.lacking = ["db", "mail"]
        problem = await web.problem("GET", "/readyz", 503)
        assert web.headers["Retry-After"] == "5"
    assert problem["detail"] == "required and not serving: db, mail"
    assert problem["next"] == "vconnect why db"


async def test_happenings_and_the_audit_are_lists() -> None:
    manager = one_plugin()
    manager.happenings.add("example", "error", "exited: code 3")
    async with asking(manager) as web:
        (happening,) = (await web("GET", "/api/happenings"))["items"]
        assert (await web("GET", "/api/audit?since=0"))["items"] == []
        await web.fails("GET", "/api/happenings?since=1", 400)
    assert (happening["plugin"], happening["text"]) == ("example", "exited: code 3")


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0, */*"])
async def test_metrics_come_as_they_are_asked_for(accept: str) -> None:
    async with (
        asking(one_plugin()) as web,
        web.sent("GET", "/metrics", headers={"Accept": accept}) as answer,
    ):
        kind, text = answer.headers["Content-Type"], await answer.text()
    assert kind.startswith("application/openmetrics-text" if accept else "text/plain; version=0.0")
    assert text.endswith("# EOF\n") == bool(accept)


async def test_the_document_is_the_same_each_time() -> None:
    async with asking(one_plugin()) as web:
        first = await web("GET", "/api/openapi.json")
        assert await web("GET", "/api/openapi.json") == first
    assert first["openapi"] == "3.1.0"


async def test_the_socket_has_no_sessions() -> None:
    async with asking(one_plugin()) as web:
        code, _ = await web.fails("POST", "/api/session", 404, json={"token": "x"})
        assert code == "unknown_route"
        await web.fails("DELETE", "/api/session", 404)


async def test_a_session_is_a_cookie_that_scripts_and_other_sites_never_get() -> None:
    with short_directory() as directory:
        server = AdminServer(FakeManager(), directory / "admin.sock", http="127.0.0.1:0")
        await server.start()
        try:
            base = server.url.rstrip("/")
            token = (directory / "admin.token").read_text().strip()
            jar = aiohttp.DummyCookieJar()
            async with aiohttp.ClientSession(cookie_jar=jar) as session:
                web = Web(session, base)
                code = server.login_url.partition("#/login/")[2]
                async with web.sent("POST", "/api/session", json={"code": code}) as answer:
                    assert (answer.status, await answer.read()) == (204, b"")
                    cookie = answer.headers["Set-Cookie"]
                assert (await web.fails("POST", "/api/session", 401, json={"code": code}))[0] == (
                    "bad_token"
                )
                pair, *rest = cookie.split("; ")
                port = base.rpartition(":")[2]
                assert pair.startswith(f"vconnect_{port}=")
                assert rest == ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"]
                has = {"Cookie": pair}
                assert (await web("GET", "/api/host", headers=has))["role"] == "operate"
                proxied = {"X-Forwarded-Proto": "https"}
                body = {"token": token}
                async with web.sent("POST", "/api/session", json=body, headers=proxied) as answer:
                    assert answer.headers["Set-Cookie"].endswith("; Secure")
                async with web.sent("DELETE", "/api/session", headers=has) as answer:
                    assert "Max-Age=0" in answer.headers["Set-Cookie"]
                code, _ = await web.fails("GET", "/api/host", 401, headers=has)
                assert code == "session_ended"
                assert token not in json.dumps(await web.problem("GET", "/api/host", 401))
        finally:
            await server.stop()
