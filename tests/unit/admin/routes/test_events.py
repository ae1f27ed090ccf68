"""The routes for events, over a real server on a real Unix socket."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.support.fake_manager import FakeManager, answered, failed, failing, plugin_summary
from tests.support.lab import until
from tests.support.paper import plugin
from tests.support.web import JSON, asking, one_plugin

from vconnect.admin.routes import events
from vconnect.errors import (
    PluginOverloadedError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from vconnect.seeing.trace import Hop
from vconnect.settings.events import EventSettings
from vconnect.settings.model import Settings


async def test_an_event_goes_through_the_chain() -> None:
    manager = one_plugin()
    manager.stopped_by = "example"
    async with asking(manager) as web:
        outcome = await web(
            "POST", "/api/events", json={"event": "message.incoming", "payload": {"content": "hi"}}
        )
    assert outcome == {
        "results": [
            {
                "plugin": "example",
                "ok": True,
                "data": {"content": "hi"},
                "error": None,
                "error_code": None,
                "stop": False,
                "is_default": False,
                "duration_ms": 1.5,
                "changed": [],
                "passed_over": None,
            }
        ],
        "stopped_by": "example",
        "payload": {"content": "hi"},
        "reason": None,
        "refusal": None,
    }
    assert manager.calls == [("chain", "message.incoming", {"content": "hi"}, None)]


async def test_an_event_may_be_broadcast_with_a_timeout() -> None:
    manager = one_plugin()
    body = {"event": "e", "payload": [1], "mode": "broadcast", "timeout": 2}
    async with asking(manager) as web:
        await web("POST", "/api/events", json=body)
    assert manager.calls == [("broadcast", "e", [1], 2.0)]


async def test_a_failed_plugin_is_part_of_the_outcome() -> None:
    manager = one_plugin()
    manager.results = [failed("example", "it broke")]
    async with asking(manager) as web:
        outcome = await web("POST", "/api/events", json={"event": "e"})
    assert outcome["results"][0]["error"] == "it broke"


async def test_one_plugin_may_be_asked_alone_by_any_name() -> None:
    manager = one_plugin()
    body = {"event": "e", "payload": 1, "plugin": "wk.plugin.example", "trace": True}
    async with asking(manager) as web:
        outcome = await web("POST", "/api/events", json=body)
    (result,) = outcome["results"]
    assert (result["plugin"], result["ok"], result["data"]) == ("example", True, 1)
    assert outcome["total_ms"] == result["duration_ms"] >= 0
    assert [hop["plugin"] for hop in outcome["hops"]] == ["example"]
    assert manager.calls == [("request", "e", 1, None)]


async def test_a_traced_event_says_what_each_plugin_has_done() -> None:
    manager = FakeManager(*map(plugin_summary, "abc"))
    manager.results = [
        msgspec.structs.replace(answered("a"), changed=("text",)),
        msgspec.structs.replace(failed("b", "late"), error_code="deadline_exceeded"),
        msgspec.structs.replace(answered("c"), stop=True),
    ]
    body = {"event": "e", "payload": {"text": "x"}, "trace": True}
    async with asking(manager) as web:
        outcome = await web("POST", "/api/events", json=body)
    hops = outcome["hops"]
    assert [hop["outcome"] for hop in hops] == ["changed", "late", "stopped"]
    assert [hop["began_ms"] for hop in hops] == [0.0, 1.5, 3.0]
    assert outcome["total_ms"] == 4.5
    assert hops[0]["diff"] == [{"field": "text", "before": "x", "after": "x"}]


async def test_the_names_of_events_are_those_that_somebody_knows() -> None:
    events = {"from.settings": EventSettings(), "all.*": EventSettings()}
    manager = FakeManager(settings=Settings(events=events))
    manager.registry.add(plugin("x"))
    manager.registry.chains.row("was.sent")
    async with asking(manager) as web:
        body = await web("GET", "/api/events/names")
    assert body == {"items": ["from.settings", "was.sent"], "next": None}


@pytest.mark.parametrize(
    ("error", "status", "code", "old"),
    [
        (PluginReplyError("example", "no", "plugin_error"), 502, "plugin_error", "plugin_error"),
        (PluginReplyError("example", "no", "own_code"), 502, "plugin_error", "own_code"),
        (
            PluginTimeoutError("example", "no answer in 5 s"),
            *(504, "deadline_exceeded", "deadline_exceeded"),
        ),
        (PluginUnavailableError("example", "gone"), 503, "unavailable", "unavailable"),
        (PluginOverloadedError("example", "queue full"), 503, "overloaded", "overloaded"),
    ],
)
async def test_errors_of_a_plugin_keep_their_words(
    error: Exception, status: int, code: str, old: str
) -> None:
    async with asking(failing(error)) as web:
        body = {"event": "e", "plugin": "example"}
        problem = await web.problem("POST", "/api/events", status, json=body)
        assert ("Retry-After" in web.headers) == (status == 503)
    assert (problem["code"], problem["error"]["code"]) == (code, old)
    assert (problem["detail"], problem["plugin"]) == (str(error), "example")


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        (b"", "bad_json", "the body cannot be read: "),
        (b'{"event": }', "bad_json", "the body cannot be read: "),
        (b"\xff", "bad_json", "the body cannot be read: "),
        (b"[" * 100_000, "bad_json", "the body cannot be read: "),
        (b"[]", "bad_field", "expected `object`, got `array`"),
        (b"{}", "bad_field", "object missing required field `event`"),
        (b'{"event": 1}', "bad_field", "event: expected `str`, got `int`"),
        (b'{"event": ""}', "bad_field", "event: expected `str` of length >= 1"),
        (b'{"event": "e", "mode": "all"}', "bad_field", "mode: invalid enum value 'all'"),
        (b'{"event": "e", "timeout": 0}', "bad_field", "timeout: expected `float` > 0.0"),
        (b'{"event": "e", "plugin": 1}', "bad_field", "plugin: expected `str | null`, got `int`"),
        (b'{"event": "e", "evnt": 1}', "bad_field", "object contains unknown field `evnt`"),
        (
            b'{"event": "e", "mode": "chain", "plugin": "example"}',
            *("bad_field", "mode: cannot be combined with plugin"),
        ),
        (b'{"event": "' + b"e" * 300 + b'"}', "bad_field", "event: "),
    ],
)
async def test_wrong_bodies_are_refused_with_the_field(body: bytes, code: str, detail: str) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        problem = await web.problem("POST", "/api/events", 400, data=body, headers=JSON)
    assert (problem["code"], problem["error"]["code"]) == (code, "bad_request")
    assert problem["detail"].startswith(detail)
    assert manager.calls == []


async def test_a_body_larger_than_a_frame_is_refused() -> None:
    manager = FakeManager(plugin_summary(), settings=Settings(max_frame_bytes=1024))
    async with asking(manager) as web:
        fits = b'{"event": "e", "payload": "' + b"x" * 900 + b'"}'
        await web("POST", "/api/events", data=fits, headers=JSON)
        problem = await web.problem("POST", "/api/events", 413, data=b" " * 2000, headers=JSON)
    assert problem["code"] == "too_large"
    assert problem["detail"] == "the body has 2000 bytes; at most 1024"
    assert len(manager.calls) == 1


async def test_a_body_of_very_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vconnect.admin.http.bodies._MAX_VALUES", 1000)
    body = b'{"event": "e", "payload": [' + b"[]," * 1000 + b"0]}"
    async with asking(one_plugin()) as web:
        _, message = await web.fails("POST", "/api/events", 400, data=body, headers=JSON)
    assert message == (
        "the body cannot be read: payload has 1006 JSON values; the limit is 1000 (a body)"
    )


def note(manager: FakeManager, event: str, outcome: str = "passed", took: float = 0.01) -> None:
    hop = Hop(plugin="a", outcome="ok", reason="", duration_s=took)
    manager.traces.add(event, "chain", outcome, took, (hop,), {"secret": 1})


async def test_the_last_traces_are_those_that_are_asked_for() -> None:
    manager = one_plugin()
    note(manager, "message.incoming")
    note(manager, "message.outgoing", took=0.3)
    note(manager, "user.online", "refused")
    async with asking(manager) as web:
        for query, wanted in (
            ("", 3),
            ("event=message.*", 2),
            ("plugin=a", 3),
            ("plugin=b", 0),
            ("slow_ms=200", 2),
            ("limit=1", 1),
        ):
            assert len((await web("GET", f"/api/trace?{query}"))["items"]) == wanted, query
        await web.fails("GET", "/api/trace?limit=0", 400)
        await web.fails("GET", "/api/trace?slow_ms=-1", 400)


async def test_whoever_asks_for_traces_first_watches_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "_PATIENCE_S", 0.2)
    manager = one_plugin()
    async with asking(manager) as web:
        asking_now = asyncio.create_task(web("GET", "/api/trace"))
        await until(lambda: manager.is_tracing)
        note(manager, "message.incoming")
        assert len((await asking_now)["items"]) == 1
    assert not manager.is_tracing


async def test_payloads_are_kept_only_if_somebody_asks() -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        note(manager, "e.before")
        assert (await web("POST", "/api/trace/payloads", json={"seconds": 5}))["until"] > 0
        note(manager, "e.after")
        items = (await web("GET", "/api/trace"))["items"]
        await web.fails("POST", "/api/trace/payloads", 400, json={"seconds": 1e9})
    assert [one["payload"] for one in items] == [None, '{"secret":1}']
