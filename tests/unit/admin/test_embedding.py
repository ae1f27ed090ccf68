"""The interface as a part of another aiohttp application."""

from __future__ import annotations

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


def test_somebody_must_say_who_may():
    with pytest.raises(TypeError, match="authorize"):
        admin_app(FakeManager(), None)
