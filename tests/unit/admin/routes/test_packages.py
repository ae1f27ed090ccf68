"""The routes for packages, over a real server on a real Unix socket."""

from __future__ import annotations

import getpass
import os
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, served

from vconnect.admin.client.client import AdminClient
from vconnect.errors import AdminError

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
