"""Health, sessions and metrics."""

from __future__ import annotations

import aiohttp
from tests.support.fake_manager import FakeManager, plugin_summary
from tests.unit.admin.test_application import JSON, asking

from vconnect import AdminServer
from vconnect.settings.model import Settings


async def test_a_host_is_ready_once_every_required_plugin_serves() -> None:
    manager = FakeManager(plugin_summary())
    manager.required = ["filter"]
    async with asking(manager) as web:
        code, message = await web.fails("GET", "/readyz", 503)
        assert (code, message) == ("not_ready", "required and not serving: filter")
        assert web.headers["Retry-After"]


async def test_a_session_is_begun_and_ended_by_the_page(tmp_path) -> None:
    server = AdminServer(FakeManager(plugin_summary()), tmp_path / "a.sock", http="127.0.0.1:0")
    await server.start()
    code = server.login_url.rpartition("/")[2]
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        url = server.url
        async with session.get(f"{url}api/plugins") as answer:
            assert (answer.status, (await answer.json())["code"]) == (401, "no_token")
        async with session.post(f"{url}api/session", json={"code": code}) as answer:
            assert answer.status == 204
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly; SameSite=Strict; Path=/" in cookie
        for status in (200, 401):
            async with session.get(f"{url}api/plugins") as answer:
                assert answer.status == status
            async with session.delete(f"{url}api/session", json={}) as answer:
                assert answer.status == 204
        async with session.post(f"{url}api/session", json={"code": code}) as answer:
            assert (await answer.json())["code"] == "bad_token"
    await server.stop()


async def test_a_socket_has_no_sessions_and_gives_no_address() -> None:
    async with asking(FakeManager(plugin_summary())) as web:
        code, _ = await web.fails("POST", "/api/session", 404, json={"token": "x"})
        assert code == "not_found"
        code, _ = await web.fails("POST", "/api/login-url", 409, headers=JSON)
        assert code == "conflict"


async def test_metrics_are_public_if_the_operator_wants_it(tmp_path) -> None:
    for public, status in ((False, 401), (True, 200)):
        manager = FakeManager(settings=Settings(metrics_public=public))
        server = AdminServer(manager, tmp_path / "a.sock", http="127.0.0.1:0")
        await server.start()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{server.url}metrics") as answer,
        ):
            assert answer.status == status
        await server.stop()
