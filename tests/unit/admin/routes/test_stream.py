"""The stream: a snapshot, what comes after it, and what becomes of slow and lost clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served
from tests.support.lab import until
from tests.support.paper import moved, plugin
from tests.support.web import Web

from vconnect.admin.routes import stream
from vconnect.admin.servers import face
from vconnect.plugins.status import PluginStatus
from vconnect.seeing.ring import Ring
from vconnect.seeing.trace import Hop


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LOOK_S", 0.02)


class Follower:
    """One that reads a stream; comments are events without a kind."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> tuple[str, str, Any]:
        """Return the kind, the number and the data of the next event."""
        kind = number = ""
        data = None
        async with asyncio.timeout(10):
            while (line := (await self.answer.content.readline()).decode().rstrip("\n")) or (
                kind == "" and data is None
            ):
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    number = value
                elif name == "data":
                    data = json.loads(value)
                elif line.startswith(":"):
                    return "", "", None
                assert line or not self.answer.content.at_eof(), "the stream has ended"
        return kind, number, data

    async def until(self, kind: str) -> tuple[str, Any]:
        while (found := await self.next())[0] != kind:
            pass
        return found[1], found[2]


class Made:
    def __init__(self, web: Web, manager: FakeManager, path: Path) -> None:
        self.web = web
        self.path = path
        self.manager = manager
        self.feed = manager.feed
        self.plugin = moved(plugin("example"), PluginStatus.STARTING)
        manager.registry.add(self.plugin)

    @asynccontextmanager
    async def follow(self, query: str = "", last: str | None = None) -> AsyncIterator[Follower]:
        headers = {} if last is None else {"Last-Event-ID": last}
        async with self.web.sent("GET", f"/api/stream?{query}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "text/event-stream"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Accel-Buffering"] == "no"
            assert "Content-Encoding" not in answer.headers
            yield Follower(answer)

    def add(self, topic: str = "plugins", kind: str = "plugin", key: str = "", size: int = 0):
        self.feed.ring.add(topic, kind, json.dumps({"n": "x" * size}).encode(), key)
        return f"{self.feed.boot}-{self.feed.ring.last}"


@asynccontextmanager
async def streaming() -> AsyncIterator[Made]:
    manager = FakeManager(plugin_summary())
    async with served(manager) as path:
        connector = aiohttp.UnixConnector(str(path), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Made(Web(session), manager, path)


async def test_it_begins_with_who_we_are_and_how_things_stand() -> None:
    async with streaming() as made, made.follow() as one:
        kind, number, hello = await one.next()
        assert (kind, number) == ("hello", "")
        assert hello["boot"] == made.feed.boot
        assert (hello["role"], hello["resumed"]) == ("operate", False)
        kind, number, snapshot = await one.next()
        assert (kind, number) == ("snapshot", snapshot["at"])
        assert [plugin["name"] for plugin in snapshot["plugins"]] == ["example"]
        assert snapshot["host"]["pid"] == 99
        number = made.add()
        assert await one.next() == ("plugin", number, {"n": ""})


async def test_who_comes_back_goes_on_without_gap_or_duplicate() -> None:
    async with streaming() as made, made.follow():
        async with made.follow() as one:
            await one.until("snapshot")
            last = made.add(key="1")
            assert (await one.until("plugin"))[0] == last
        made.add(key="2")
        made.add(key="3")
        for query, header in (("", last), (f"last_event_id={last}", None)):
            async with made.follow(query, header) as one:
                assert (await one.next())[2]["resumed"] is True
                found = [(await one.next())[1] for _ in range(2)]
                seq = int(last.partition("-")[2])
                assert found == [f"{made.feed.boot}-{seq + more}" for more in (1, 2)]


@pytest.mark.parametrize(
    "last",
    [
        *("00000000-1", "nonsense", "-", "", "BOOT-", "BOOT-x", "BOOT--1", "BOOT-1.5", "BOOT-0"),
        *("BOOT-999999999999999999999", "BOOT-\u00b2", "x" * 5000),
    ],
)
async def test_what_cannot_be_gone_on_from_is_told_and_begins_anew(last: str) -> None:
    async with streaming() as made, made.follow():
        made.feed.ring = Ring(max_entries=2)
        for _ in range(9):
            made.add()
        async with made.follow(last=last.replace("BOOT", made.feed.boot)) as one:
            assert (await one.next())[2]["resumed"] is False
            assert (await one.next())[0] == "snapshot"


async def test_what_happened_while_nobody_followed_is_no_gap() -> None:
    async with streaming() as made:
        async with made.follow() as one:
            await one.until("snapshot")
            last = made.add()
            await one.until("plugin")
        await until(lambda: not made.feed.followers)
        made.plugin.move(PluginStatus.STOPPED, made.plugin.substate)
        async with made.follow(last=last) as one:
            assert (await one.next())[2]["resumed"] is False
            assert (await one.next())[2]["plugins"][0]["status"] == "Stopped"


async def test_a_client_gets_its_topics_and_no_others() -> None:
    async with streaming() as made, made.follow("topics=host,logs:wk.plugin.example") as one:
        await one.until("snapshot")
        made.add("plugins")
        made.add("metrics", "metrics")
        made.add("logs:other", "log")
        log = made.add("logs:example", "log")
        happening = made.add("host", "happening")
        assert [(await one.next())[:2] for _ in range(2)] == [
            ("log", log),
            ("happening", happening),
        ]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("topics=everything", 400),
        ("topics=logs:nobody", 404),
        ("topics=logs:", 404),
        ("level=loud", 400),
        ("slow_ms=-1", 400),
        ("topic=plugins", 400),
        (f"topics={'plugins,' * 1000}", 400),
    ],
)
async def test_a_wrong_query_is_refused_and_nobody_follows(query: str, status: int) -> None:
    async with streaming() as made:
        await made.web.fails("GET", f"/api/stream?{query}", status)
        assert made.feed.followers == 0


async def test_logs_come_from_a_level_on() -> None:
    async with streaming() as made, made.follow("topics=logs:example&level=warn") as one:
        await one.until("snapshot")
        for level in ("info", "error"):
            record = {"level": level, "text": level}
            data = {"plugin": "example", "records": [record], "dropped": 0}
            made.feed.ring.add("logs:example", "log", json.dumps(data).encode(), "example")
        _, page = await one.until("log")
        assert [record["text"] for record in page["records"]] == ["error"]


async def test_traces_are_those_that_are_wanted() -> None:
    async with streaming() as made:
        query = "topics=trace&event=message.*&plugin=a&slow_ms=100"
        async with made.follow(query) as one:
            await one.until("snapshot")
            assert made.manager.is_tracing
            for event, plugin_name, took in (
                ("user.online", "a", 1.0),
                ("message.x", "b", 1.0),
                ("message.x", "a", 0.01),
                ("message.incoming", "a", 0.5),
            ):
                hop = Hop(plugin=plugin_name, outcome="ok", reason="", duration_s=took)
                made.manager.traces.add(event, "chain", "passed", took, (hop,), {})
            _, trace = await one.until("trace")
            assert trace["event"] == "message.incoming"
        await until(lambda: not made.manager.is_tracing)


async def test_silence_is_filled_also_if_others_hear_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "_SILENCE_S", 0.1)
    async with streaming() as made, made.follow("topics=host") as one:
        await one.until("snapshot")
        for _ in range(20):
            made.add()
            await asyncio.sleep(0.02)
        assert (await one.next())[0] == ""


async def test_a_slow_client_misses_what_it_can_do_without_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "_MAX_BEHIND", 5000)
    topics = "topics=plugins,metrics,logs:example,host"
    async with streaming() as made, made.follow(topics) as one:
        await one.until("snapshot")
        for number in range(10):
            made.add("metrics", "metrics", size=300)
            made.add("logs:example", "log", "example", size=300)
            made.add("plugins", "plugin", "ab"[number % 2], size=300)
        happening = made.add("host", "happening")
        found = [await one.next() for _ in range(5)]
        assert [kind for kind, _, _ in found] == ["plugin"] * 2 + ["happening"] + ["dropped"] * 2
        assert found[2][1] == happening
        dropped = {data["topic"]: data["count"] for _, _, data in found[3:]}
        assert dropped == {"metrics": 10, "logs:example": 10}
        async with made.web.sent("GET", "/metrics") as answer:
            text = await answer.text()
        assert 'vconnect_stream_dropped_total{topic="logs"} 10' in text


async def test_a_client_that_is_overtaken_by_the_ring_begins_anew() -> None:
    async with streaming() as made, made.follow() as one:
        await one.until("snapshot")
        made.feed.ring._max_entries = 3
        for _ in range(9):
            made.add()
        kind, _, data = await one.next()
        assert (kind, data) == ("dropped", {"topic": "all", "count": None})
        assert (await one.next())[0] == "snapshot"


async def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "_STALLED_S", 0.2)
    async with streaming() as made:
        reader, writer = await asyncio.open_unix_connection(made.path, limit=1)
        writer.write(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: made.feed.followers == 1)
        before = asyncio.all_tasks()
        for _ in range(40):
            made.add("host", "happening", size=100_000)
            await asyncio.sleep(0.01)
        await until(lambda: made.feed.followers == 0)
        await until(lambda: len(asyncio.all_tasks()) < len(before))
        writer.transport.abort()
        assert reader is not None


async def test_the_sixty_fifth_is_refused_and_none_is_left_behind() -> None:
    async with streaming() as made:
        before = len(asyncio.all_tasks())
        open_ones = [await asyncio.open_unix_connection(made.path) for _ in range(70)]
        for _, writer in open_ones:
            writer.write(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heads = [await reader.readline() for reader, _ in open_ones]
        assert sum(b" 200 " in head for head in heads) == stream.MAX_STREAMS == 64
        assert sum(b" 503 " in head for head in heads) == 6
        assert made.feed.followers == 64
        problem = await made.web.problem("GET", "/api/stream", 503)
        assert problem["code"] == "too_many_streams"
        assert made.web.headers["Retry-After"] == "5"
        for _, writer in open_ones:
            writer.transport.abort()
        await until(lambda: made.feed.followers == 0)
        await until(lambda: len(asyncio.all_tasks()) <= before + 2)


async def test_asking_only_for_the_head_begins_no_stream() -> None:
    async with streaming() as made:
        async with asyncio.timeout(5), made.web.sent("HEAD", "/api/stream") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        await until(lambda: made.feed.followers == 0)


async def test_a_stream_ends_with_its_host() -> None:
    async with streaming() as made:
        async with made.follow() as one:
            await one.until("snapshot")
            closing = asyncio.create_task(made.web._session.close())
            await closing
        await until(lambda: made.feed.followers == 0)
