"""What the servers of one manager share."""

from __future__ import annotations

from tests.support.fake_manager import FakeManager, plugin_summary

from vconnect.admin.administration import Administration
from vconnect.admin.asked import Asked, Who
from vconnect.settings.model import Settings


def who(_):
    return Who("ann", "operate", "application")


async def ask(administration, method, path):
    async def read():
        return b""

    asked = Asked(method, path, (), {"host": "x"}, read, "application")
    return await administration.application.answer(asked, who, None)


async def test_a_change_is_audited_whatever_comes_of_it():
    manager = FakeManager(plugin_summary())
    administration = Administration(manager, "here")
    await ask(administration, "POST", "/api/plugins/example/stop")
    await ask(administration, "POST", "/api/plugins/nobody/stop")
    await ask(administration, "GET", "/api/plugins")
    reply = await ask(administration, "GET", "/api/audit")
    assert reply.body.count(b'"order":"stop"') == 2
    assert b'"result":"ok"' in reply.body
    assert b'"result":"unknown_plugin"' in reply.body


async def test_answers_are_counted_by_route_and_not_by_name():
    administration = Administration(FakeManager(plugin_summary()))
    for path in ("/api/plugins/example/why", "/api/plugins/nobody/why", "/made/up/by/somebody"):
        await ask(administration, "GET", path)
    metrics = (await ask(administration, "GET", "/metrics")).body.decode()
    assert 'requests_total{route="/api/plugins/{name}/why",code="200"} 1' in metrics
    assert 'requests_total{route="/api/plugins/{name}/why",code="404"} 1' in metrics
    assert 'requests_total{route="-",code="404"} 1' in metrics
    assert "somebody" not in metrics


def test_a_host_has_a_name():
    named = FakeManager(settings=Settings(host_name="chat-1"))
    assert Administration(named).name == "chat-1"
    assert Administration(named, "mine").name == "mine"
    assert Administration(FakeManager()).name
