"""The interface as an ASGI application, with and without the final slash, and never by default."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary
from tests.support.lab import until

from vconnect.admin.routes import stream
from vconnect.admin.servers.asgi import asgi_app
from vconnect.settings.model import Settings


class Answer:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_done = False

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert not self.status
            self.status = message["status"]
            for name, value in message["headers"]:
                assert name == name.lower()
                self.headers[name.decode()] = value.decode()
        else:
            assert self.status
            assert not self.is_done
            self.body += message["body"]
            self.is_done = not message.get("more_body", False)


def scope(method: str, path: str, root: str = "", **more: Any) -> dict[str, Any]:
    path, _, query = path.partition("?")
    headers = {"host": "app.example", "content-type": "application/json", **more.pop("headers", {})}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": root,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.1", 1),
        **more,
    }


async def ask(app: Any, asked: dict[str, Any], body: bytes = b"") -> Answer:
    answer = Answer()
    parts = [body[at : at + 10] for at in range(0, len(body), 10)] or [b""]

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    await app(asked, receive, answer.send)
    assert answer.is_done
    return answer


def made(role: Any = "operate") -> tuple[FakeManager, Any]:
    manager = FakeManager(plugin_summary())
    return manager, asgi_app(manager, lambda _: role)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/api/plugins", ""),
        ("/api/plugins/", ""),
        ("/plugins/api/plugins", "/plugins"),
        ("/plugins/api/plugins/", "/plugins"),
        ("/a/b/api/plugins", "/a/b"),
        ("/api/plugins", "/stripped-by-the-server"),
    ],
)
@pytest.mark.parametrize("has_raw", [True, False])
async def test_it_is_found_below_any_prefix(path: str, root: str, has_raw: bool) -> None:
    _, app = made()
    asked = scope("GET", path, root)
    if not has_raw:
        del asked["raw_path"]
    answer = await ask(app, asked)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert json.loads(answer.body)["plugins"][0]["name"] == "example"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/a/plugins", ""])
async def test_without_the_final_slash_it_leads_to_the_page(path: str) -> None:
    _, app = made()
    answer = await ask(app, scope("GET", path, "/a/plugins"))
    assert (answer.status, answer.headers["location"]) == (308, "plugins/")


async def test_a_client_that_goes_in_the_middle_of_its_body_orders_nothing() -> None:
    manager, app = made()
    answer = Answer()
    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    await app(scope("POST", "/api/plugins/example/stop"), receive, answer.send)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_body")
    assert manager.calls == []


async def test_orders_and_events_are_carried_out() -> None:
    manager, app = made()
    assert (await ask(app, scope("POST", "/api/plugins/example/stop"), b"{}")).status == 200
    body = json.dumps({"event": "e", "payload": "x" * 100}).encode()
    assert (await ask(app, scope("POST", "/api/events"), body)).status == 200
    assert [call[0] for call in manager.calls] == ["stop", "chain"]
    assert manager.ordered_by == ["the application"]


async def test_a_page_of_another_site_is_refused_here_too() -> None:
    manager, app = made()
    for headers, status in (
        ({"origin": "http://evil.test"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
    ):
        asked = scope("POST", "/api/plugins/example/stop", headers=headers)
        assert (await ask(app, asked)).status == status
    assert manager.calls == []


async def test_without_somebody_who_decides_it_is_not_mounted() -> None:
    with pytest.raises(TypeError, match="authorize"):
        asgi_app(FakeManager(), None)
    with pytest.raises(TypeError):
        asgi_app(FakeManager())  # type: ignore[call-arg]


async def _later(role: Any) -> Any:
    await asyncio.sleep(0)
    return role


@pytest.mark.parametrize("wrap", [lambda role: role, _later], ids=["at once", "later"])
@pytest.mark.parametrize(
    ("role", "looks", "acts"),
    [
        ("operate", 200, 200),
        ("view", 200, 403),
        (None, 401, 401),
        ("admin", 500, 500),
        (True, 500, 500),
        ("", 500, 500),
    ],
)
async def test_what_the_application_says_is_what_somebody_may_do(
    role: Any, looks: int, acts: int, wrap: Callable[[Any], Any]
) -> None:
    manager = FakeManager(plugin_summary())
    app = asgi_app(manager, lambda _: wrap(role))
    assert (await ask(app, scope("GET", "/api/plugins"))).status == looks
    assert (await ask(app, scope("POST", "/api/plugins/example/stop"), b"{}")).status == acts
    assert len(manager.calls) == (acts == 200)


async def test_who_asks_is_decided_by_the_request() -> None:
    manager = FakeManager(plugin_summary())
    app = asgi_app(manager, lambda asked: "view" if asked["path"] == "/api/host" else None)
    assert (await ask(app, scope("GET", "/api/host"))).status == 200
    assert (await ask(app, scope("GET", "/api/plugins"))).status == 401


async def test_a_body_that_is_too_large_is_refused() -> None:
    _, app = made()
    body = b" " * (17 << 20)
    answer = Answer()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": True}

    await app(scope("POST", "/api/events"), receive, answer.send)
    assert answer.status == 413


async def test_only_the_head_has_no_body() -> None:
    manager, app = made()
    answer = await ask(app, scope("HEAD", "/api/plugins"))
    assert (answer.status, answer.body) == (200, b"")
    async with asyncio.timeout(5):
        answer = await ask(app, scope("HEAD", "/api/stream"))
    assert (answer.status, answer.body) == (200, b"")
    assert manager.feed.followers == 0


async def test_a_stream_ends_when_its_client_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LOOK_S", 0.01)
    manager, app = made()
    gone = asyncio.Event()
    answer = Answer()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    serving = asyncio.create_task(app(scope("GET", "/api/stream"), receive, answer.send))
    await until(lambda: b"event: snapshot" in answer.body)
    assert answer.headers["content-type"] == "text/event-stream"
    assert "content-length" not in answer.headers
    manager.feed.ring.add("plugins", "plugin", b'{"n":1}', "a")
    await until(lambda: b'data: {"n":1}' in answer.body)
    gone.set()
    async with asyncio.timeout(5):
        await serving
    assert manager.feed.followers == 0


async def test_a_websocket_is_not_for_us() -> None:
    _, app = made()
    with pytest.raises(RuntimeError, match="websocket"):
        await app({"type": "websocket"}, None, None)


async def test_a_package_is_read_as_it_comes(tmp_path: Path) -> None:
    body = bytes(100)
    digest = hashlib.sha256(body).hexdigest()
    settings = Settings(plugin_dir=str(tmp_path), max_frame_bytes=1 << 16)
    app = asgi_app(FakeManager(settings=settings), lambda _: "operate")
    headers = {"content-type": "application/octet-stream"}
    answer = await ask(app, scope("PUT", f"/api/blobs/{digest}", headers=headers), body)
    assert (answer.status, json.loads(answer.body)) == (201, {"source": f"sha256:{digest}"})
    assert (tmp_path / "blobs" / digest).read_bytes() == body


async def test_a_client_that_goes_before_the_end_of_a_package_leaves_nothing(
    tmp_path: Path,
) -> None:
    app = asgi_app(FakeManager(settings=Settings(plugin_dir=str(tmp_path))), lambda _: "operate")
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    answer = Answer()
    headers = {"content-type": "application/octet-stream"}
    await app(scope("PUT", f"/api/blobs/{'0' * 64}", headers=headers), receive, answer.send)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_body")
    assert list((tmp_path / "blobs").iterdir()) == []
