"""The interface as a part of another aiohttp application."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.fake_manager import FakeManager, plugin_summary

from vconnect import admin_app


@pytest.mark.parametrize(("role", "status"), [("operate", 200), ("view", 403), (None, 401)])
async def test_it_is_mounted_below_a_path_and_asks_the_application_who_may(role, status):
    manager = FakeManager(plugin_summary())
    app = web.Application()
    app.add_subapp("/plugins", admin_app(manager, lambda _: role))
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = server.make_url("/plugins/api/plugins/example/stop")
        async with session.post(url, json={}) as answer:
            assert answer.status == status
        async with session.get(server.make_url("/plugins/")) as answer:
            assert "<title>vconnect</title>" in await answer.text()
        async with session.get(server.make_url("/plugins/app.js")) as answer:
            assert answer.status == 200
    assert bool(manager.calls) is (role == "operate")


async def test_the_application_may_wait_and_name_who_asks():
    async def authorize(request):
        await asyncio.sleep(0)
        if "x-user" not in request.headers:
            raise web.HTTPUnauthorized
        return "operate", request.headers["x-user"]

    manager = FakeManager(plugin_summary())
    app = web.Application()
    app.add_subapp("/plugins", admin_app(manager, authorize))
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = server.make_url("/plugins/api/plugins/example/stop")
        async with session.post(url, json={}) as answer:
            assert answer.status == 401
        async with session.post(url, json={}, headers={"X-User": "alice"}) as answer:
            assert answer.status == 200
        url = server.make_url("/plugins/api/audit")
        async with session.get(url, headers={"X-User": "bob"}) as answer:
            (record,) = (await answer.json())["items"]
    assert (record["who"], record["via"]) == ("alice", "application")
    assert manager.ordered_by == ["alice"]


@pytest.mark.parametrize("prefix", ["/plugins", "/deep/er/plugins"])
async def test_without_the_final_slash_it_leads_to_the_page(prefix):
    app = web.Application()
    app.add_subapp(prefix, admin_app(FakeManager(), lambda _: "view"))
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as session,
        session.get(server.make_url(prefix)) as answer,
    ):
        assert answer.url.path == f"{prefix}/"
        assert "<title>vconnect</title>" in await answer.text()


def test_somebody_must_say_who_may():
    with pytest.raises(TypeError, match="authorize"):
        admin_app(FakeManager(), None)
