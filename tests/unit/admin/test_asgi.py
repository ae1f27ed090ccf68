"""The interface as an ASGI application, asked as a server asks it."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary

from vconnect.admin.asgi import asgi_app


async def call(
    app, method="GET", path="/api/host", *, root="", body=b"", query=b"", leaves=False, **headers
):
    """Return the status, the headers and the body of an answer."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": root,
        "query_string": query,
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
        "client": ("127.0.0.1", 1),
    }
    sent: list[dict] = []
    asked = [{"type": "http.request", "body": body}]

    async def receive():
        if asked:
            return asked.pop()
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], named, b"".join(one.get("body", b"") for one in sent[1:])


def app_for(role="operate"):
    manager = FakeManager(plugin_summary())
    return manager, asgi_app(manager, lambda _: role)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/api/plugins/example/status", ""),
        ("/api/plugins/example/status/", ""),
        ("/plugins/api/plugins/example/status", "/plugins"),
    ],
)
async def test_it_answers_below_any_path(path, root):
    status, headers, body = await call(app_for()[1], path=path, root=root)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["name"] == "example"


async def test_the_page_is_there_and_strict():
    status, headers, body = await call(app_for()[1], path="/plugins/", root="/plugins")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert body.startswith(b"<!doctype html>")


async def test_the_application_decides_who_may_do_what():
    json_type = {"content_type": "application/json"}
    for role, status in (("operate", 200), ("view", 403), (None, 401)):
        manager, app = app_for(role)
        found, _, _ = await call(app, "POST", "/api/plugins/example/stop", **json_type)
        assert (found, bool(manager.calls)) == (status, status == 200)
    with pytest.raises(TypeError, match="authorize"):
        asgi_app(FakeManager(), None)


async def test_a_body_has_a_limit():
    manager, app = app_for()
    status, _, body = await call(
        app, "POST", "/api/events", body=b" " * (17 << 20), content_type="application/json"
    )
    assert (status, json.loads(body)["code"]) == (413, "too_large")
    assert manager.calls == []


async def test_head_has_no_body_and_a_query_is_read():
    app = app_for()[1]
    status, headers, body = await call(app, "HEAD", "/api/plugins")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 100
    status, _, body = await call(app, path="/api/plugins", query=b"sort=nonsense")
    assert (status, json.loads(body)["code"]) == (400, "bad_query")


async def test_a_stream_ends_when_its_client_leaves():
    manager, app = app_for()
    async with asyncio.timeout(5):
        task = asyncio.create_task(call(app, path="/api/stream", leaves=True))
        await asyncio.sleep(0.05)
        manager.feed.ring.add("plugins", "plugin", b"{}")
        status, headers, body = await task
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert b"event: hello" in body
    await asyncio.sleep(0)
    assert manager.feed.followers == 0


async def test_websockets_are_not_served():
    with pytest.raises(RuntimeError, match="only http"):
        await app_for()[1]({"type": "websocket"}, None, None)
