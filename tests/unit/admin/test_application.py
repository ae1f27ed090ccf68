"""The administration interface, over a real server on a real Unix socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.fake_manager import FakeManager, failed, failing, plugin_summary, served
from yarl import URL

from vconnect.errors import (
    IllegalTransitionError,
    ManifestError,
    PluginOverloadedError,
    PluginReplyError,
    PluginStartError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from vconnect.plugins.status import PluginStatus
from vconnect.seeing.summary import PluginSummary
from vconnect.settings.model import Settings

JSON = {"Content-Type": "application/json"}


class Web:
    """A client that sends what it is told, however wrong."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(
        self, method: str, path: str, *, status: int = 200, **options: Any
    ) -> dict[str, Any]:
        url = URL(f"http://localhost{path}", encoded=True)
        async with self._session.request(method, url, **options) as answer:
            assert answer.status == status, await answer.text()
            kind = "application/json" if status == 200 else "application/problem+json"
            assert answer.content_type == kind
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            self.headers = answer.headers
            return await answer.json()

    async def fails(self, method: str, path: str, status: int, **options: Any) -> tuple[str, str]:
        body = await self(method, path, status=status, **options)
        assert body["status"] == status
        assert body["error"] == {"code": body["error"]["code"], "message": body["detail"]}
        assert body["title"]
        return body["error"]["code"], body["error"]["message"]


@asynccontextmanager
async def asking(manager: FakeManager) -> AsyncIterator[Web]:
    async with served(manager) as path:
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Web(session)


def one_plugin(**fields: Any) -> FakeManager:
    return FakeManager(plugin_summary(**fields))


# --- what it answers ----------------------------------------------------------------------------


async def test_the_host_describes_itself() -> None:
    async with asking(one_plugin()) as web:
        host = await web("GET", "/api/host")
    besides = ("id", "name", "role", "boot", "rss_bytes", "loop_lag")
    extra = {key: host.pop(key) for key in besides}
    assert extra["id"] == f"{extra['name']}:99"
    assert (extra["role"], extra["loop_lag"]) == ("operate", None)
    assert extra["rss_bytes"] > 0
    assert host == {
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


async def test_plugins_are_listed_with_all_fields() -> None:
    async with asking(one_plugin()) as web:
        body = await web("GET", "/api/plugins")
    assert list(body) == ["host", "generated_at", "window_s", "plugins"]
    (plugin,) = body["plugins"]
    assert set(plugin) == set(PluginSummary.__struct_fields__)
    assert plugin["status"] == "Running"
    assert plugin["capabilities"] == ["message.incoming"]


@pytest.mark.parametrize(("version", "shown"), [("0.1.0", "0.1.0"), ("", None)])
async def test_the_list_of_the_original_has_its_form(version: str, shown: str | None) -> None:
    async with asking(one_plugin(version=version)) as web:
        body = await web("GET", "/v1/plugins/runtime/list")
    assert body == {"plugins": [{"name": "example", "version": shown, "status": "Running"}]}


@pytest.mark.parametrize("alias", ["example", "wk.plugin.example", "v.plugin.example"])
async def test_status_takes_any_name_of_the_plugin(alias: str) -> None:
    async with asking(one_plugin()) as web:
        assert (await web("GET", f"/api/plugins/{alias}/status"))["name"] == "example"


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
    ],
)
async def test_a_wrong_query_is_refused(query: str, words: str) -> None:
    async with asking(one_plugin()) as web:
        code, message = await web.fails("GET", f"/api/plugins/example/logs?{query}", 400)
    assert code == "bad_request"
    assert words in message


async def test_actions_answer_with_the_summary_after_them() -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        stopped = await web("POST", "/api/plugins/example/stop")
        started = await web("POST", "/api/plugins/wk.plugin.example/start")
        again = await web("POST", "/api/plugins/example/restart", json={})
    assert (stopped["status"], started["status"]) == ("Stopped", "Running")
    assert again["generation"] == 2
    assert manager.calls == [("stop", "example"), ("start", "example"), ("restart", "example")]


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
    body = {"event": "e", "payload": 1, "plugin": "wk.plugin.example"}
    async with asking(manager) as web:
        outcome = await web("POST", "/api/events", json=body)
    (result,) = outcome["results"]
    assert (result["plugin"], result["ok"], result["data"]) == ("example", True, 1)
    assert result["duration_ms"] >= 0
    assert manager.calls == [("request", "e", 1, None)]


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


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PluginStartError("example", "exited: code 2"), 409, "start_failed"),
        (PluginReplyError("example", "no", "plugin_error"), 502, "plugin_error"),
        (PluginTimeoutError("example", "no answer in 5 s"), 504, "deadline_exceeded"),
        (PluginUnavailableError("example", "not connected"), 503, "unavailable"),
        (PluginOverloadedError("example", "queue full"), 503, "overloaded"),
        (ManifestError("plugin.json: name is missing"), 422, "manifest_error"),
        (IllegalTransitionError("example: cannot"), 500, "internal"),
    ],
)
async def test_errors_of_the_manager_keep_their_words(
    error: Exception, status: int, code: str
) -> None:
    async with asking(failing(error)) as web:
        acted = await web.fails("POST", "/api/plugins/example/start", status)
        body = {"event": "e", "plugin": "example"}
        sent = await web.fails("POST", "/api/events", status, json=body)
    assert acted[0] == sent[0] == code
    if code != "internal":  # whose number is another one each time
        assert acted == sent == (code, str(error))


@pytest.mark.parametrize("name", ["nobody", "%2e%2e%2fx", "..%2Fx", "%2E%2E", "%00", "exampl"])
async def test_unknown_names_are_not_found(name: str) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        for method, what in (("GET", "status"), ("POST", "restart")):
            code, message = await web.fails(method, f"/api/plugins/{name}/{what}", 404)
            assert code == "unknown_plugin"
            assert "no such plugin" in message
    assert manager.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere.js",
        "/api",
        "/api/plugins/../x/status",
        "/api/plugins//status",
        "/api/plugins/example",
    ],
)
async def test_unknown_routes_are_not_found(path: str) -> None:
    async with asking(one_plugin()) as web:
        code, message = await web.fails("GET", path, 404)
    assert code == "not_found"
    assert message.startswith("no such route: /")


async def test_get_on_an_action_changes_nothing() -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        code, message = await web.fails("GET", "/api/plugins/example/restart", 405)
        assert web.headers["Allow"] == "POST"
    assert code == "method_not_allowed"
    assert message == "GET is not allowed on /api/plugins/example/restart; allowed: POST"
    assert manager.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": ""},
        {"Host": "localhost, evil.example"},
        {"Host": "127.0.0.1:80@evil.example"},
    ],
)
async def test_other_hosts_are_refused_everywhere(headers: dict[str, str]) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        for method, path in (
            ("GET", "/api/plugins"),
            ("POST", "/api/plugins/example/stop"),
            ("GET", "/nowhere"),
        ):
            code, _ = await web.fails(method, path, 403, headers=headers)
            assert code == "forbidden"
    assert manager.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_pages_of_other_sites_change_nothing(headers: dict[str, str]) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        for action in ("start", "stop", "restart", "kill", "enable", "disable", "release"):
            code, _ = await web.fails(
                "POST", f"/api/plugins/example/{action}", 403, headers={**JSON, **headers}
            )
            assert code == "forbidden"
        await web("GET", "/api/plugins", headers=headers)
        assert not [name for name in web.headers if name.startswith("Access-Control")]
    assert manager.calls == []


async def test_the_page_of_this_host_may_change_something() -> None:
    manager = one_plugin()
    own = {**JSON, "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    async with asking(manager) as web:
        await web("POST", "/api/plugins/example/stop", headers=own)
    assert manager.calls == [("stop", "example")]


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
        code, message = await web.fails(
            "POST", path, 415, data=b'{"event": "e"}', headers={"Content-Type": kind}
        )
        await web.fails("POST", path, 415, data=b"", headers={"Content-Type": kind})
    assert code == "unsupported_media_type"
    assert message == f"the content type is {kind!r}; expected application/json"
    assert manager.calls == []


async def test_a_body_of_very_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vconnect.admin.bodies._MAX_VALUES", 1000)
    body = b'{"event": "e", "payload": [' + b"[]," * 1000 + b"0]}"
    async with asking(one_plugin()) as web:
        _, message = await web.fails("POST", "/api/events", 400, data=body, headers=JSON)
    assert message == (
        "the body cannot be read: payload has 1006 JSON values; the limit is 1000 (a body)"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body cannot be read: "),
        (b'{"event": }', "the body cannot be read: "),
        (b"\xff", "the body cannot be read: "),
        (b"[" * 100_000, "the body cannot be read: "),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "object missing required field `event`"),
        (b'{"event": 1}', "event: expected `str`, got `int`"),
        (b'{"event": ""}', "event: expected `str` of length >= 1"),
        (b'{"event": "e", "mode": "all"}', "mode: invalid enum value 'all'"),
        (b'{"event": "e", "timeout": 0}', "timeout: expected `float` > 0.0"),
        (b'{"event": "e", "plugin": 1}', "plugin: expected `str | null`, got `int`"),
        (b'{"event": "e", "evnt": 1}', "object contains unknown field `evnt`"),
        (
            b'{"event": "e", "mode": "chain", "plugin": "example"}',
            "mode: cannot be combined with plugin",
        ),
    ],
)
async def test_wrong_bodies_are_refused_with_the_field(body: bytes, message: str) -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        code, got = await web.fails("POST", "/api/events", 400, data=body, headers=JSON)
    assert code == "bad_request"
    assert got.startswith(message)
    assert manager.calls == []


async def test_a_body_larger_than_a_frame_is_refused() -> None:
    manager = FakeManager(plugin_summary(), settings=Settings(max_frame_bytes=1024))
    async with asking(manager) as web:
        fits = b'{"event": "e", "payload": "' + b"x" * 900 + b'"}'
        await web("POST", "/api/events", data=fits, headers=JSON)
        code, message = await web.fails("POST", "/api/events", 413, data=b" " * 2000, headers=JSON)
    assert code == "too_large"
    assert message == "the body is larger than 1024 bytes"
    assert len(manager.calls) == 1


async def test_a_fault_of_ours_is_logged_once_and_told_without_its_insides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        async with asking(failing(RuntimeError("a secret detail"))) as web:
            code, message = await web.fails("POST", "/api/plugins/example/stop", 500)
            await web("GET", "/api/plugins")
    assert code == "internal"
    assert "secret" not in message
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "vconnect.admin.problems"
    assert record.exc_info is not None


# --- what happens around it ---------------------------------------------------------------------


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


async def until_served(path: Path) -> None:
    """Ask one question: what was sent before it has been read by now."""
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/api/host") as answer,
    ):
        assert answer.status == 200
