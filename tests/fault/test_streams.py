"""Followers that stall, come in crowds, vanish and come back, at a real host under load."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from tests.support.lab import PATIENCE_S, Lab, until

from vconnect import AdminClient, AdminError, AdminServer, PluginRuntimeManager
from vconnect.admin.client.server_events import StreamEvent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")

MAX_STREAMS = 64
MAX_GROWTH_BYTES = 64 * 1024 * 1024
FLOOD_S = 3.0

# Two threads: one floods the log, the other answers events.
CHATTY = """
import threading
def talk():
    while True:
        print("x" * 1000)
threading.Thread(target=talk, daemon=True).start()
serve()
"""
# Each line is numbered, so that a gap and a duplicate both show.
COUNTS = """
import threading
def count():
    for number in range(10 ** 9):
        print(f"line {number}", flush=True)
        time.sleep(0.002)
threading.Thread(target=count, daemon=True).start()
serve()
"""


@asynccontextmanager
async def served(manager: PluginRuntimeManager, lab: Lab) -> AsyncIterator[Path]:
    path = lab.directory / "a.sock"
    server = AdminServer(manager, path)
    await server.start()
    try:
        yield path
    finally:
        await server.stop()


@asynccontextmanager
async def following(
    path: Path, topic: str, after: str | None
) -> AsyncIterator[AsyncIterator[StreamEvent]]:
    async with AdminClient(path) as client, aclosing(client.stream([topic], after=after)) as events:
        yield events


def _head(topics: str) -> bytes:
    return f"GET /api/stream?topics={topics} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def _stall(path: Path) -> asyncio.StreamWriter:
    """Ask for everything, and read nothing of it."""
    # A small limit, or the reader itself would take much of it.
    _, writer = await asyncio.open_unix_connection(str(path), limit=1024)
    writer.write(_head("plugins,metrics,passed,host,logs:a,trace"))
    return writer


async def _refused(path: Path) -> tuple[int, str]:
    async with AdminClient(path) as client:
        with pytest.raises(AdminError) as caught:
            await anext(client.stream(["plugins"]))
    return caught.value.status, caught.value.code


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _numbers(event: StreamEvent) -> list[int]:
    if event.kind != "log":
        return []
    assert not event.data["dropped"]
    words = [re.fullmatch(r"line (\d+)", one["text"]) for one in event.data["records"]]
    return [int(word[1]) for word in words if word]


async def test_sixty_four_who_take_nothing_hold_nobody_up(lab: Lab) -> None:
    lab.plugin("a", CHATTY)
    async with lab.manager() as manager:
        await manager.start_all()
        tasks = asyncio.all_tasks()
        async with served(manager, lab) as path:
            before = _resident()
            stalled = [await _stall(path) for _ in range(MAX_STREAMS)]
            await until(lambda: manager.feed.followers == MAX_STREAMS)
            assert await _refused(path) == (503, "too_many_streams")
            loop = asyncio.get_running_loop()
            ends, answered = loop.time() + FLOOD_S, 0
            while loop.time() < ends:
                assert await manager.request("a", "e", answered) == {"echo": answered}
                answered += 1
            assert answered > 100
            assert _resident() - before < MAX_GROWTH_BYTES
            # They vanish without a word, each in the middle of what it was being sent.
            for writer in stalled:
                writer.transport.abort()
            await until(lambda: manager.feed.followers == 0)
        await until(lambda: asyncio.all_tasks() <= tasks)


async def test_who_could_not_keep_up_is_told_that_it_missed_something(lab: Lab) -> None:
    lab.plugin("a", CHATTY)
    async with lab.manager() as manager, served(manager, lab) as path:
        await manager.start_all()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(_head("logs:a"))
        await reader.readuntil(b"event: hello")
        await asyncio.sleep(FLOOD_S)
        seen = b""
        async with asyncio.timeout(PATIENCE_S):
            while not re.search(rb'event: dropped|"dropped":[1-9]', seen):
                seen = seen[-100:] + await reader.read(1 << 16)
        writer.transport.abort()


async def test_who_comes_back_again_and_again_misses_nothing_and_sees_nothing_twice(
    lab: Lab,
) -> None:
    lab.plugin("a", COUNTS)
    chance = random.Random(7)
    lines: list[int] = []
    async with lab.manager() as manager, served(manager, lab) as path:
        await manager.start_all()
        after: str | None = None
        for _ in range(15):
            left = chance.randint(1, 12)
            async with following(path, "logs:a", after) as events:
                async for event in events:
                    after = event.id or after
                    lines += _numbers(event)
                    left -= 1
                    if not left:
                        break
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() / 10)
    assert len(lines) > 40
    assert lines == list(range(lines[0], lines[0] + len(lines)))


@pytest.mark.parametrize("last", ["0-1", "nonsense", "{boot}-999999999"])
async def test_an_id_that_means_nothing_here_is_told_with_a_snapshot(lab: Lab, last: str) -> None:
    lab.plugin("a", COUNTS)
    async with lab.manager() as manager, served(manager, lab) as path:
        await manager.start_all()
        last = last.replace("{boot}", manager.feed.boot)
        async with following(path, "plugins", last) as events:
            hello, snapshot = await anext(events), await anext(events)
    assert (hello.kind, hello.data["resumed"]) == ("hello", False)
    assert snapshot.kind == "snapshot"
    assert [one["name"] for one in snapshot.data["plugins"]] == ["a"]
