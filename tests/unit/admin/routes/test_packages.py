"""The routes for packages, over a real server on a real Unix socket."""

from __future__ import annotations

import getpass
import os
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served
from tests.support.web import asking

from vconnect.admin.client.client import AdminClient
from vconnect.errors import AdminError
from vconnect.operations.changes import Change

BY = f"uid {os.geteuid()} ({getpass.getuser()}) over the administration socket"


@pytest.mark.parametrize(
    ("route", "body", "method", "arguments", "options"),
    [
        (
            "/api/install",
            {"sources": ["/x.vp"], "upgrade": True},
            "install",
            (["/x.vp"],),
            {
                "upgrade": True,
                "start": True,
                "frozen": False,
                "allow_similar": False,
                "grant": None,
                "dry_run": False,
                "by": BY,
            },
        ),
        (
            "/api/upgrade",
            {"names": ["a"], "grant": ["log"], "digests": {"a": "0"}},
            "upgrade",
            (["a"],),
            {"grant": ["log"], "digests": {"a": "0"}, "dry_run": False, "by": BY},
        ),
        (
            "/api/plugins/a/rollback",
            {"version": "1", "dry_run": True},
            "rollback",
            ("a", "1"),
            {"dry_run": True, "by": BY},
        ),
        ("/api/plugins/a/rollback", None, "rollback", ("a", ""), {"dry_run": False, "by": BY}),
        (
            "/api/uninstall",
            {"names": ["a", "b"], "purge": True},
            "uninstall",
            (["a", "b"],),
            {"purge": True, "force": False, "dry_run": False, "by": BY},
        ),
        ("/api/rescan", None, "rescan", (), {"dry_run": False, "by": BY}),
    ],
)
async def test_a_change_is_asked_for_with_who_asks(
    route: str, body: Any, method: str, arguments: tuple, options: dict
) -> None:
    manager = FakeManager()
    async with served(manager) as path, AdminClient(path) as client:
        assert list(await client.post(route, body)) == ["changes"]
    assert manager.packages.asked == [(method, arguments, options)]


async def test_versions_and_what_became_of_them() -> None:
    manager = FakeManager()
    async with served(manager) as path, AdminClient(path) as client:
        assert await client.get("/api/plugins/a/versions") == {"versions": []}
        assert await client.post("/api/verify", {"names": ["a"]}) == {"versions": []}
    assert manager.packages.asked == [("versions", ("a",), {}), ("verify", (["a"],), {})]


async def test_indexes_are_asked_for_a_word_or_a_name() -> None:
    manager = FakeManager()
    async with served(manager) as path, AdminClient(path) as client:
        for body in (None, {"word": "hello"}):
            assert await client.post("/api/search", body) == []
        assert await client.post("/api/info", {"name": "a@^1"}) == []
    assert manager.packages.asked == [
        ("search", ("",), {}),
        ("search", ("hello",), {}),
        ("info", ("a@^1",), {}),
    ]


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("/api/search", {"word": 1}, "word: expected `str`, got `int`"),
        ("/api/info", {}, "name"),
        ("/api/install", {}, "sources"),
        ("/api/install", {"sources": "x"}, "sources: expected `array`, got `str`"),
        ("/api/upgrade", {"names": [], "more": True}, "more"),
        ("/api/plugins/a/rollback", {"version": 1}, "version: expected `str`, got `int`"),
        ("/api/uninstall", {"names": ["a"], "purge": 1}, "purge: expected `bool`, got `int`"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_asked(
    route: str, body: Any, words: str
) -> None:
    manager = FakeManager()
    async with served(manager) as path, AdminClient(path) as client:
        with pytest.raises(AdminError) as caught:
            await client.post(route, body)
    assert (caught.value.status, caught.value.code) == (400, "bad_field")
    assert words in str(caught.value)
    assert manager.packages.asked == []


@pytest.mark.parametrize(
    ("route", "method", "arguments"),
    [
        ("/api/outdated", "outdated", ([],)),
        ("/api/outdated?name=a&name=b", "outdated", (["a", "b"],)),
        ("/api/search", "search", ("",)),
        ("/api/search?word=hello", "search", ("hello",)),
        ("/api/info?name=a%40%5E1", "info", ("a@^1",)),
    ],
)
async def test_a_question_can_be_asked_by_get(route: str, method: str, arguments: tuple) -> None:
    manager = FakeManager()
    async with served(manager) as path, AdminClient(path) as client:
        await client.get(route)
    assert manager.packages.asked == [(method, arguments, {})]


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("/api/search?word=a&word=b", "word: it is given twice"),
        ("/api/info", "name"),
        ("/api/outdated?names=a", "names"),
        ("/api/plugins/example?purge=yes", "purge"),
    ],
)
async def test_a_wrong_key_is_named_and_nothing_is_asked(route: str, words: str) -> None:
    manager = FakeManager(plugin_summary())
    async with asking(manager) as web:
        method = "DELETE" if "plugins" in route else "GET"
        problem = await web.problem(method, route, 400)
    assert problem["code"] == "bad_query"
    assert words in problem["errors"][0]["detail"] + problem["detail"]
    assert problem["next"]
    assert manager.packages.asked == []


async def test_deleting_a_plugin_uninstalls_it_by_its_own_name() -> None:
    manager = FakeManager(plugin_summary())
    async with asking(manager) as web:
        answer = await web("DELETE", "/api/plugins/wk.plugin.example?purge=true&dry_run=true")
        assert answer == {"changes": []}
        (record,) = (await web("GET", "/api/audit"))["items"]
    assert (record["order"], record["result"]) == ("uninstall", "ok")
    options = {"purge": True, "force": False, "dry_run": True, "by": BY}
    assert manager.packages.asked == [("uninstall", (["example"],), options)]


async def test_a_plugin_that_is_not_there_cannot_be_deleted() -> None:
    manager = FakeManager()
    async with asking(manager) as web:
        assert (await web.fails("DELETE", "/api/plugins/nobody", 404))[0] == "unknown_plugin"
    assert manager.packages.asked == []


class Failing:
    """Packages of which one cannot be installed."""

    async def install(self, sources: list[str], **_: Any) -> list[Change]:
        made = Change(action="install", name="a", result="installed")
        lost = Change(action="install", name="b", result="failed", code="conflict")
        return [made, lost] if "b" in sources else [made]


@pytest.mark.parametrize("accept", ["application/json", "application/jsonl"])
async def test_the_audit_says_what_came_of_a_change(accept: str) -> None:
    manager = FakeManager()
    manager.packages = Failing()  # type: ignore[assignment]
    async with asking(manager) as web:
        for sources in (["a"], ["a", "b"]):
            headers = {"Accept": accept}
            async with web.sent(
                "POST", "/api/install", json={"sources": sources}, headers=headers
            ) as answer:
                assert answer.status == 200
                await answer.read()
        audit = await web("GET", "/api/audit")
    assert [record["result"] for record in audit["items"]] == ["ok", "conflict"]
