"""The routes for events and traces, with real plugins."""

from __future__ import annotations

import json

from tests.support.fake_manager import FakeManager, plugin_summary
from tests.support.lab import Lab

from vconnect.admin.administration import Administration
from vconnect.admin.asked import Asked, Who

CHANGES = (
    "serve(lambda event: {'status': 'ok', 'payload': "
    "{**event['payload'], 'content': 'masked'}}, capabilities=['e.x'])"
)


async def ask(manager, method, path, body=None, role="operate", query=()):
    async def read():
        return b"" if body is None else json.dumps(body).encode()

    headers = {"content-type": "application/json"}
    asked = Asked(method, path, tuple(query), headers, read, "application")
    administration = Administration(manager)
    answer = administration.application.answer
    reply = await answer(asked, lambda _: Who("ann", role, "application"), None)
    return reply.status, json.loads(reply.body)


async def test_a_trace_shows_what_each_plugin_has_done(lab: Lab) -> None:
    lab.plugin("a", CHANGES)
    async with lab.manager() as manager:
        await manager.start_all()
        sent = {"event": "e.x", "payload": {"content": "bad", "n": 1}, "trace": True}
        _, outcome = await ask(manager, "POST", "/api/events", sent)
        (hop,) = outcome["hops"]
        assert (hop["plugin"], hop["outcome"], hop["changed"]) == ("a", "changed", ["content"])
        assert hop["diff"] == [{"field": "content", "before": "bad", "after": "masked"}]
        assert outcome["total_ms"] >= hop["duration_ms"] > 0
        _, names = await ask(manager, "GET", "/api/events/names")
        assert "e.x" in names["items"]


async def test_payloads_are_for_those_who_operate(lab: Lab) -> None:
    lab.plugin("a", "serve(capabilities=['e'])")
    async with lab.manager() as manager:
        await manager.start_all()
        leave = manager.traces.watch(lambda _: None)
        _, until = await ask(manager, "POST", "/api/trace/payloads", {"seconds": 60})
        assert until["until"] > 0
        await manager.emit("e", {"secret": 1})
        for role, payload in (("operate", '{"secret":1}'), ("view", None)):
            _, found = await ask(manager, "GET", "/api/trace", role=role)
            assert found["items"][0]["payload"] == payload
        status, _ = await ask(manager, "POST", "/api/trace/payloads", role="view")
        assert status == 403
        leave()


async def test_who_asks_for_traces_waits_for_the_first(lab: Lab) -> None:
    async with lab.manager() as manager:
        status, found = await ask(manager, "GET", "/api/trace", query=[("limit", "5")])
    assert (status, found["items"]) == (200, [])


async def test_one_plugin_can_be_asked_alone() -> None:
    manager = FakeManager(plugin_summary())
    body = {"event": "e", "plugin": "example", "trace": True}
    _, outcome = await ask(manager, "POST", "/api/events", body)
    assert [hop["plugin"] for hop in outcome["hops"]] == ["example"]
