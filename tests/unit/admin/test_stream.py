"""Server-sent events, over a real socket around a real manager."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from tests.support.lab import Lab

from vconnect import AdminServer


class Follower:
    """One stream, event by event."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self, kind: str = "") -> tuple[str, str, dict]:
        """Return the kind, the id and the data of the next event; of that kind, if one is given."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            while True:
                line = (await self.answer.content.readline()).decode().rstrip("\n")
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                event = fields.get("event", "")
                if event and kind in ("", event):
                    return event, fields.get("id", ""), json.loads(fields["data"])
                fields = {}


class Host:
    def __init__(self, manager, session) -> None:
        self.manager = manager
        self.session = session

    @asynccontextmanager
    async def follow(self, query: str = "", **headers: str) -> AsyncIterator[Follower]:
        url = f"http://localhost/api/stream{query}"
        async with self.session.get(url, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            yield Follower(answer)


@pytest.fixture
async def host(lab: Lab) -> AsyncIterator[Host]:
    lab.plugin("a", "print('hello', flush=True)\nserve(capabilities=['e'])")
    async with lab.manager() as manager:
        await manager.start_all()
        server = AdminServer(manager, lab.directory / "admin.sock")
        await server.start()
        connector = aiohttp.UnixConnector(str(lab.directory / "admin.sock"), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Host(manager, session)
        await server.stop()
        assert manager.feed.followers == 0


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_it_begins_with_a_snapshot_and_goes_on_without_a_gap(host: Host) -> None:
    async with host.follow() as stream:
        _, _, hello = await stream.next()
        assert (hello["resumed"], hello["role"]) == (False, "operate")
        kind, number, snapshot = await stream.next()
        assert (kind, snapshot["at"]) == ("snapshot", number)
        assert [one["name"] for one in snapshot["plugins"]] == ["a"]
        await host.manager.stop_plugin("a")
        states = []
        while "Stopped" not in states:
            states.append((await stream.next("plugin"))[2]["status"])
        _, later, metrics = await stream.next("metrics")
        assert metrics["names"] == ["a"]
        assert int(later.partition("-")[2]) > int(number.partition("-")[2])


async def test_who_comes_back_goes_on_where_it_was(host: Host) -> None:
    async with host.follow("?topics=host") as stream, host.follow("?topics=host") as other:
        await stream.next("snapshot")
        _, began, _ = await other.next("snapshot")
        for number in range(3):
            host.manager.happenings.add("a", "info", f"number {number}")
        _, first, data = await stream.next("happening")
        assert data["text"] == "number 0"
        assert began != first
        async with host.follow("?topics=host", **{"Last-Event-ID": first}) as again:
            assert (await again.next())[2]["resumed"]
            texts = [(await again.next())[2]["text"] for _ in range(2)]
        assert texts == ["number 1", "number 2"]


@pytest.mark.parametrize(
    "last", ["nonsense", "00000000-1", "{boot}-99999", "{boot}-", "-1", "{boot}-²"]
)
async def test_an_id_that_means_nothing_is_told_with_a_snapshot(host: Host, last: str) -> None:
    number = last.replace("{boot}", host.manager.feed.boot)
    async with host.follow(f"?last_event_id={number}") as stream:
        assert (await stream.next())[2]["resumed"] is False
        assert (await stream.next())[0] == "snapshot"


async def test_logs_come_with_what_the_host_says(host: Host) -> None:
    async with host.follow("?topics=logs:wk.plugin.a") as stream:
        await stream.next("snapshot")
        host.manager.registry.get("a").log.write("stdout", [b"one", b"two"])
        await host.manager.stop_plugin("a")
        lines: list[tuple[str, str]] = []
        while ("host", "stopped: exited: code 0") not in lines and len(lines) < 20:
            records = (await stream.next("log"))[2]["records"]
            lines += [(one["stream"], one["text"]) for one in records]
            if any(stream == "host" for stream, _ in lines):
                break
    assert lines[:2] == [("stdout", "one"), ("stdout", "two")]


async def test_traces_are_made_while_somebody_watches(host: Host) -> None:
    async with host.follow("?topics=trace&event=e") as stream:
        await stream.next("snapshot")
        await host.manager.emit("e", {"secret": 1})
        await host.manager.emit("other", {})
        trace = (await stream.next("trace"))[2]
    assert (trace["event"], trace["outcome"], trace["payload"]) == ("e", "passed", None)
    assert [hop["plugin"] for hop in trace["hops"]] == ["a"]
    await until(lambda: host.manager.feed.followers == 0)
    assert "emit" not in vars(host.manager._dispatcher)


async def test_what_passes_a_plugin_over_is_told(host: Host) -> None:
    await host.manager.stop_plugin("a")
    async with host.follow("?topics=passed") as stream:
        await stream.next("snapshot")
        with pytest.raises(Exception, match="not connected"):
            await host.manager.request("a", "e", {})
        (item,) = (await stream.next("passed"))[2]["items"]
    assert (item["plugin"], item["reason"], item["effect"]) == ("a", "stopped", "refused")
    assert item["count"] == 1


async def test_a_client_that_is_too_slow_is_told_what_it_missed(host: Host) -> None:
    async with host.follow("?topics=host,plugins,metrics") as stream:
        await stream.next("snapshot")
        for number in range(300):
            host.manager.feed.ring.add("metrics", "metrics", b'"' + b"x" * 2000 + b'"')
            host.manager.feed.ring.add("plugins", "plugin", b'{"n":%d}' % number, "a")
        kinds = []
        while "dropped" not in kinds:
            kind, _, data = await stream.next()
            kinds.append(kind)
    assert data == {"topic": "metrics", "count": 300}
    assert kinds.count("plugin") == 1


@pytest.mark.parametrize(
    "query", ["?topics=nonsense", "?topics=logs:nobody", "?more=1", "?level=x"]
)
async def test_what_nobody_can_follow_is_refused(host: Host, query: str) -> None:
    async with host.session.get(f"http://localhost/api/stream{query}") as answer:
        assert answer.status in (400, 404)
        assert (await answer.json())["next"]


async def test_there_is_a_limit_and_it_says_when_to_come_again(host: Host) -> None:
    streams = [await host.session.get("http://localhost/api/stream?topics=host") for _ in range(64)]
    await until(lambda: host.manager.feed.followers == 64)
    async with host.session.get("http://localhost/api/stream") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert (await answer.json())["code"] == "too_many_streams"
    for one in streams:
        one.close()
    host.manager.happenings.add("a", "info", "something")
    await until(lambda: host.manager.feed.followers == 0)
