"""The logs of several plugins and of the host as one, over a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, short_directory
from tests.support.web import Web, asking

from vconnect import AdminServer
from vconnect.admin.routes import logs
from vconnect.logs.records import LogRecord
from vconnect.logs.ring import LogRing
from vconnect.names import LogLevel
from vconnect.plugins.runtime import PluginRuntime


def add(manager: FakeManager, name: str) -> None:
    """Install a plugin while the host runs."""
    manager.plugins[name] = plugin_summary(name)
    manager.rings[name] = LogRing(1000)
    manager.registry.add(PluginRuntime(name, None))


def say(
    manager: FakeManager, name: str, text: str, at: float, level: LogLevel = "info", **fields: Any
) -> None:
    """Let a plugin print a line at a moment."""
    ring = manager.rings[name]
    ring.append(LogRecord(ring.last + 1, at, "stdout", level, text, json.dumps(fields).encode()))


@pytest.fixture
def manager() -> FakeManager:
    made = FakeManager(plugin_summary("a"), plugin_summary("b"), plugin_summary("chat-1"))
    say(made, "a", "one", 1.0)
    say(made, "b", "two", 2.0, "warn", x=1)
    say(made, "a", "three", 3.0, "error")
    say(made, "chat-1", "four", 4.0)
    return made


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["text"] for row in rows]


async def read(web: Web, query: str = "") -> list[dict[str, Any]]:
    return (await web("GET", f"/api/logs{query}"))["records"]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?plugin=*", "one two three four"),
        ("?plugin=a", "one three"),
        ("?plugin=a&plugin=b", "one two three"),
        ("?plugin=wk.plugin.b", "two"),
        ("?plugin=chat-*&plugin=b", "two four"),
        ("?plugin=*&lines=2", "three four"),
        ("?plugin=*&level=warn", "two three"),
        ("?plugin=*&since=2", "three four"),
        ("?plugin=*&grep=o&lines=2", "two four"),
    ],
)
async def test_logs_are_merged_by_time(manager: FakeManager, query: str, wanted: str) -> None:
    async with asking(manager) as web:
        assert texts(await read(web, query)) == wanted.split()


async def test_a_record_says_whose_it_is_and_has_its_fields(manager: FakeManager) -> None:
    async with asking(manager) as web:
        (row,) = await read(web, "?plugin=b")
    assert row == {
        "plugin": "b",
        "seq": 1,
        "time": 2.0,
        "stream": "stdout",
        "level": "warn",
        "text": "two",
        "fields": {"x": 1},
    }


async def test_the_host_tells_what_the_logs_do_not(manager: FakeManager) -> None:
    manager.happenings.add(None, "info", "began")
    manager.happenings.add("a", "error", "ended")
    async with asking(manager) as web:
        everything = await read(web)
        assert texts(everything) == [*"one two three four".split(), "began"]
        assert everything[-1]["plugin"] is None
        host = await read(web, "?host=true")
        assert [(row["text"], row["level"]) for row in host] == [
            ("began", "info"),
            ("a: ended", "error"),
        ]
        assert texts(await read(web, "?host=true&plugin=b&level=warn")) == ["two", "a: ended"]
        assert texts(await read(web, "?host=true&grep=beg")) == ["began"]


@pytest.mark.parametrize(
    ("query", "status", "code", "words"),
    [
        ("?plugin=nobody", 404, "unknown_plugin", "nobody: no such plugin"),
        ("?plugin=nobody*", 400, "bad_query", "plugin: no plugin is named like 'nobody*'"),
        ("?lines=0", 400, "bad_query", "lines: "),
        ("?since=soon", 400, "bad_query", "since: "),
        ("?level=loud", 400, "bad_query", "level: "),
        ("?tail=5", 400, "bad_query", "tail"),
        (f"?grep={'x' * 257}", 400, "bad_query", "grep: "),
    ],
)
async def test_what_cannot_be_read_is_told(
    manager: FakeManager, query: str, status: int, code: str, words: str
) -> None:
    async with asking(manager) as web:
        for more in ("", "&follow=true"):
            problem = await web.problem("GET", f"/api/logs{query}{more}", status)
            assert (problem["code"], words in problem["detail"]) == (code, True)
            assert problem["next"]


@asynccontextmanager
async def following(
    web: Web, query: str = "", **headers: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    path = f"/api/logs?follow=true{query}"
    async with web.sent("GET", path, headers=headers) as answer:
        assert answer.status == 200
        yield answer


async def next_row(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(5):
        line = await answer.content.readline()
    row: dict[str, Any] = json.loads(line)
    return row


async def next_event(answer: aiohttp.ClientResponse) -> tuple[str, list[dict[str, Any]]]:
    async with asyncio.timeout(5):
        block = (await answer.content.readuntil(b"\n\n")).decode()
    fields = dict(line.split(": ", 1) for line in block.strip().splitlines())
    assert fields["event"] == "log"
    return fields.get("id", ""), json.loads(fields["data"])["records"]


async def test_lines_are_followed_with_those_of_plugins_that_come(manager: FakeManager) -> None:
    async with asking(manager) as web, following(web, "&lines=1") as answer:
        assert answer.content_type == "application/jsonl"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert (await next_row(answer))["text"] == "four"
        say(manager, "a", "five", 5.0)
        assert (await next_row(answer))["text"] == "five"
        manager.happenings.add(None, "info", "went on")
        assert (await next_row(answer))["text"] == "went on"
        add(manager, "c")
        say(manager, "c", "six", 6.0)
        assert (await next_row(answer))["plugin"] == "c"


async def test_only_what_is_wanted_is_followed(manager: FakeManager) -> None:
    async with asking(manager) as web, following(web, "&plugin=a&grep=x&level=warn") as answer:
        for name, text, level in (("b", "x", "error"), ("a", "x", "info"), ("a", "y", "error")):
            say(manager, name, text, 5.0, level)  # type: ignore[arg-type]
        say(manager, "a", "xx", 6.0, "error")
        assert (await next_row(answer))["text"] == "xx"


async def test_what_was_gone_before_it_could_be_sent_is_told(manager: FakeManager) -> None:
    manager.rings["a"] = ring = LogRing(2)
    async with asking(manager) as web, following(web, "&plugin=a") as answer:
        say(manager, "a", "seen", 1.0)
        assert (await next_row(answer))["text"] == "seen"
        for number in range(5):
            say(manager, "a", str(number), 2.0 + number)
        assert ring.last == 6
        assert await next_row(answer) == {"plugin": "a", "dropped": 3}
        assert [(await next_row(answer))["text"] for _ in range(2)] == ["3", "4"]


async def test_a_plugin_that_is_installed_again_begins_anew(manager: FakeManager) -> None:
    async with asking(manager) as web, following(web, "&plugin=a&lines=1") as answer:
        assert (await next_row(answer))["text"] == "three"
        manager.rings["a"] = LogRing(10)
        say(manager, "a", "again", 9.0)
        row = await next_row(answer)
    assert (row["text"], row["seq"]) == ("again", 1)


async def test_events_go_on_after_the_last_one_that_was_seen(manager: FakeManager) -> None:
    accept = {"Accept": "text/event-stream"}
    async with asking(manager) as web:
        async with following(web, "&plugin=*&lines=2", **accept) as answer:
            assert answer.content_type == "text/event-stream"
            number, rows = await next_event(answer)
            assert (number, texts(rows)) == ("4.0", ["three", "four"])
        for at in (5.0, 6.0, 7.0):
            say(manager, "a", str(at), at)
        resumed = {**accept, "Last-Event-ID": number}
        async with following(web, "&plugin=*&lines=2", **resumed) as answer:
            number, rows = await next_event(answer)
            assert (number, texts(rows)) == ("7.0", ["5.0", "6.0", "7.0"])
        for strange in ("x", "nan", "-inf", ""):
            resumed = {**accept, "Last-Event-ID": strange}
            async with following(web, "&plugin=*&lines=1", **resumed) as answer:
                assert texts((await next_event(answer))[1]) == ["7.0"]


async def test_who_follows_a_silent_plugin_knows_at_once_that_it_is_followed(
    manager: FakeManager,
) -> None:
    async with asking(manager) as web, asyncio.timeout(5), following(web, "&grep=none") as answer:
        assert answer.status == 200


async def test_silence_is_broken_for_events(
    manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_SILENCE_S", 0.0)
    accept = {"Accept": "text/event-stream"}
    async with asking(manager) as web, following(web, "&plugin=b&grep=none", **accept) as answer:
        async with asyncio.timeout(5):
            assert await answer.content.readline() == b": \n"


async def test_too_many_followers_are_refused_and_those_who_leave_make_room(
    manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MAX_FOLLOWERS", 1)
    async with asking(manager) as web:
        async with following(web):
            found = await web.fails("GET", "/api/logs?follow=true", 503)
            assert found[0] == "too_many_streams"
            assert await read(web)

        async def has_room() -> bool:
            async with web.sent("GET", "/api/logs?follow=true") as answer:
                return answer.status == 200

        async with asyncio.timeout(5):
            while not await has_room():
                await asyncio.sleep(0.05)


async def test_the_end_of_the_host_ends_it(manager: FakeManager) -> None:
    with short_directory() as directory:
        server = AdminServer(manager, directory / "admin.sock")
        await server.start()
        connector = aiohttp.UnixConnector(str(directory / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            following(Web(session), "&plugin=b") as answer,
        ):
            assert (await next_row(answer))["text"] == "two"
            await server.stop()
            async with asyncio.timeout(5):
                assert await answer.content.read() == b""
