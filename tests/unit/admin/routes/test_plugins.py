"""The routes for plugins, over a real server on a real Unix socket."""

from __future__ import annotations

import json

import pytest
from tests.support.fake_manager import FakeManager, failing, plugin_summary
from tests.support.paper import plugin, report
from tests.support.web import asking, one_plugin

from vconnect.admin.http.asked import Asked, Role, Who
from vconnect.admin.routes.plugins import ACTIONS, PluginRoutes
from vconnect.errors import PluginStartError
from vconnect.plugins.crashes import QuarantinedEvent
from vconnect.plugins.latency import Latency
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.seeing.summary import PluginSummary


async def test_plugins_are_listed_with_all_fields() -> None:
    async with asking(one_plugin()) as web:
        body = await web("GET", "/api/plugins")
    assert list(body) == ["host", "generated_at", "window_s", "plugins"]
    (plugin,) = body["plugins"]
    assert set(plugin) == set(PluginSummary.__struct_fields__)
    assert plugin["status"] == "Running"
    assert plugin["capabilities"] == ["message.incoming"]


async def test_a_plugin_has_an_address_of_its_own() -> None:
    async with asking(one_plugin()) as web:
        one = await web("GET", "/api/plugins/example")
        assert one == await web("GET", "/api/plugins/example/status")
        assert (await web.fails("GET", "/api/plugins/nobody", 404))[0] == "unknown_plugin"


async def test_the_list_is_filtered_and_sorted() -> None:
    manager = FakeManager(
        plugin_summary("c", events_per_s=1.0, rss_bytes=5),
        plugin_summary("a", latency=Latency(0.1, 0.2, 9), state="circuit open"),
        plugin_summary("b", latency=Latency(0.1, 0.5, 9), events_per_s=7.0),
    )
    async with asking(manager) as web:
        for query, wanted in (
            ("", "cab"),
            ("sort=trouble", "cab"),
            ("sort=name", "abc"),
            ("sort=p99", "bac"),
            ("sort=events", "bca"),
            ("sort=memory", "cab"),
            ("state=running", "cb"),
            ("state=circuit%20open", "a"),
            ("state=crash+loop", ""),
        ):
            body = await web("GET", f"/api/plugins?{query}")
            assert "".join(one["name"] for one in body["plugins"]) == wanted, query
        for key, value in (("sort", "color"), ("state", "RUNNING")):
            code, detail = await web.fails("GET", f"/api/plugins?{key}={value}", 400)
            assert code == "bad_query"
            assert detail.startswith(f"{key}: got {value!r}; expected one of: ")


@pytest.mark.parametrize(("version", "shown"), [("0.1.0", "0.1.0"), ("", None)])
async def test_the_list_of_the_original_has_its_form(version: str, shown: str | None) -> None:
    async with asking(one_plugin(version=version)) as web:
        body = await web("GET", "/v1/plugins/runtime/list")
    assert body == {"plugins": [{"name": "example", "version": shown, "status": "Running"}]}


@pytest.mark.parametrize("alias", ["example", "wk.plugin.example", "v.plugin.example"])
async def test_status_takes_any_name_of_the_plugin(alias: str) -> None:
    async with asking(one_plugin()) as web:
        assert (await web("GET", f"/api/plugins/{alias}/status"))["name"] == "example"


async def test_why_has_the_cause_and_the_next_step() -> None:
    manager = one_plugin(breaker="open", serving=False, failures_in_a_row=3, next_probe_s=2.0)
    async with asking(manager) as web:
        why = await web("GET", "/api/plugins/example/why")
    assert (why["plugin"], why["serving"], why["code"]) == ("example", False, "circuit_open")
    assert why["cause"].startswith("circuit open: 3 answers in a row were errors")
    assert why["next"].endswith("the next probe is in 2 s")


async def test_logs_have_the_plugins_states_if_asked_for() -> None:
    manager = one_plugin()
    manager.says("example", "hello")
    manager.says("example", "exited: code 3", "error", "state")
    async with asking(manager) as web:
        for query, text in (("", "hello"), ("&states=false", "hello"), ("&states=true", "exited")):
            page = await web("GET", f"/api/plugins/example/logs?lines=9{query}")
            (record,) = page["records"]
            assert (record["seq"], record["text"].partition(":")[0]) == (1, text)


async def test_logs_are_records_by_number() -> None:
    manager = one_plugin()
    manager.says("example", "hello", n=1)
    manager.says("example", "<script>\x85", "error")
    async with asking(manager) as web:
        page = await web("GET", "/api/plugins/wk.plugin.example/logs")
        errors = await web("GET", "/api/plugins/example/logs?lines=5&level=warn")
        more = await web("GET", "/api/plugins/example/logs?after=1&lines=1")
        none = await web("GET", f"/api/plugins/example/logs?after={more['next']}")
    first, second = page["records"]
    assert first == {
        "seq": 1,
        "time": 1e9,
        "stream": "stdout",
        "level": "info",
        "text": "hello",
        "fields": {"n": 1},
    }
    assert (page["next"], page["dropped"]) == (2, 0)
    assert errors["records"] == more["records"] == [second]
    assert (none["records"], none["next"]) == ([], 2)


async def test_what_is_looked_for_in_a_log_is_text_and_no_expression() -> None:
    manager = one_plugin()
    for text in ("aaaa (a+)+$ b", "a" * 40, "b"):
        manager.says("example", text)
    async with asking(manager) as web:
        page = await web("GET", "/api/plugins/example/logs?grep=(a%2B)%2B$")
        assert [record["seq"] for record in page["records"]] == [1]
        last = await web("GET", "/api/plugins/example/logs?grep=a&lines=1")
        assert [record["seq"] for record in last["records"]] == [2]
        first = await web("GET", "/api/plugins/example/logs?grep=a&lines=1&after=0")
        assert [record["seq"] for record in first["records"]] == [1]
        assert first["next"] == 1, "or the second one would be lost"
        none = await web("GET", "/api/plugins/example/logs?since=2000000000")
        assert none["records"] == []
        await web.fails("GET", f"/api/plugins/example/logs?grep={'a' * 257}", 400)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("lines=0", "lines: expected `int` >= 1"),
        ("lines=many", "lines: expected `int`"),
        ("level=loud", "level: invalid enum value 'loud'"),
        ("after=-1", "after: expected `int` >= 0"),
        (f"lines={10**30}", "lines: "),
        (f"after={10**30}", "after: "),
        (f"after={1 << 53}", "after: "),
        ("line=5", "unknown field `line`"),
        ("lines=5&lines=6", "lines: it is given twice"),
    ],
)
async def test_a_wrong_query_is_refused(query: str, words: str) -> None:
    async with asking(one_plugin()) as web:
        problem = await web.problem("GET", f"/api/plugins/example/logs?{query}", 400)
    assert (problem["code"], problem["error"]["code"]) == ("bad_query", "bad_request")
    assert words in problem["detail"]


async def test_crashes_may_begin_at_a_moment() -> None:
    crashes = tuple(report(at=at) for at in (10.0, 20.0))
    async with asking(one_plugin(crashes=crashes)) as web:
        every = await web("GET", "/api/plugins/example/crashes")
        later = await web("GET", "/api/plugins/example/crashes?since=10")
    assert [one["at"] for one in every["items"]] == [10.0, 20.0]
    assert [one["at"] for one in later["items"]] == [20.0]
    assert every["next"] is None


async def test_what_passed_a_plugin_over_is_told_with_words() -> None:
    manager = one_plugin()
    runtime = plugin("example")
    manager.registry.add(runtime)
    for _ in range(3):
        runtime.passed_over.add("message", Reason.CIRCUIT_OPEN, Effect.REFUSED)
    async with asking(manager) as web:
        body = await web("GET", "/api/plugins/example/passed-over")
        none = await web("GET", "/api/plugins/example/passed-over?since=99999999999")
    (row,) = body["items"]
    assert (row["event"], row["reason"], row["effect"]) == ("message", "circuit_open", "refused")
    assert (row["count"], row["words"]) == (3, "circuit open")
    assert none["items"] == []


async def test_orders_answer_with_the_summary_after_them() -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        stopped = await web("POST", "/api/plugins/example/stop")
        started = await web("POST", "/api/plugins/wk.plugin.example/start")
        again = await web("POST", "/api/plugins/example/restart", json={})
    assert (stopped["status"], started["status"]) == ("Stopped", "Running")
    assert again["generation"] == 2
    assert manager.calls == [("stop", "example"), ("start", "example"), ("restart", "example")]


@pytest.mark.parametrize("action", ACTIONS)
async def test_each_order_reaches_the_manager_with_who_gave_it(action: str) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        await web("POST", f"/api/plugins/example/{action}/")
        assert manager.calls == [(action, "example")]
        assert all(manager.ordered_by)
        await web("POST", f"/api/plugins/example/{action}", json={"dry_run": True})
        await web.fails("POST", f"/api/plugins/example/{action}", 400, json={"dryrun": True})
        assert len(manager.calls) == 1


async def test_a_start_that_fails_says_why() -> None:
    manager = failing(PluginStartError("example", "exited: code 2; see its log"))
    async with asking(manager) as web:
        problem = await web.problem("POST", "/api/plugins/example/start", 409)
    assert (problem["code"], problem["plugin"]) == ("start_failed", "example")
    assert problem["next"] == "see its log"


async def test_a_name_that_is_not_utf8_hides_nothing() -> None:
    async with asking(one_plugin(path="/plugins/\udcff")) as web:
        (plugin,) = (await web("GET", "/api/plugins"))["plugins"]
    assert plugin["path"] == "/plugins/?"
    assert plugin["status"] == "Running"


async def test_markup_of_a_plugin_stays_text() -> None:
    script = "<script>alert(1)</script>"
    manager = one_plugin(description=script, reason=script, last_stderr=(script,))
    async with asking(manager) as web:
        plugin = await web("GET", "/api/plugins/example/status")
    assert (plugin["description"], plugin["reason"]) == (script, script)
    assert plugin["last_stderr"] == [script]


NAMES = ["nobody", "%2e%2e%2fx", "..%2Fx", "%2E%2E", "%00", "exampl", "x" * 4096, "%ff", "..%5c"]


async def read() -> bytes:
    return b""


async def test_payloads_in_quarantine_are_for_those_who_operate() -> None:
    event = QuarantinedEvent(fingerprint="f", event="e", payload='"secret"')
    plugin = plugin_summary(quarantine=(event,))
    asked = Asked("GET", "/", (), {}, read, "tcp")
    routes = PluginRoutes(FakeManager(plugin), "h")
    roles: dict[Role, bool] = {"view": False, "operate": True}
    for role, is_shown in roles.items():
        asked.who, asked.names = Who("w", role, "tcp"), {"name": "example"}
        for reply in (await routes.status(asked), await routes.plugins(asked)):
            assert (b"secret" in reply.body) is is_shown
            assert b'"fingerprint":"f"' in reply.body


@pytest.mark.parametrize("name", NAMES)
async def test_unknown_names_are_not_found(name: str) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        for method, what in (("GET", "status"), ("POST", "restart")):
            code, detail = await web.fails(method, f"/api/plugins/{name}/{what}", 404)
            assert code == "unknown_plugin"
            assert "no such plugin" in detail
            assert len(json.dumps(detail)) < 10_000
    assert manager.calls == []
