"""Who looks at a host in `seeing`: two pages, a scrape each second, four followers of logs.

It reads ``on`` and ``off`` from standard input, and answers each with a line.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp

PAGES = ("plugins,metrics,passed,host", "plugins,metrics,passed,host,trace")
FOLLOWERS = 4
SCRAPE_EVERY_S = 1.0
FOLLOW_EVERY_S = 0.25


async def page(session: aiohttp.ClientSession, topics: str) -> None:
    async with session.get(f"http://localhost/api/stream?topics={topics}") as answer:
        async for _ in answer.content.iter_any():
            pass


async def scrape(session: aiohttp.ClientSession) -> None:
    while True:
        async with session.get("http://localhost/metrics") as answer:
            await answer.read()
        await asyncio.sleep(SCRAPE_EVERY_S)


async def follow(session: aiohttp.ClientSession, plugin: str) -> None:
    after = 0
    while True:
        url = f"http://localhost/api/plugins/{plugin}/logs?lines=1000&after={after}"
        async with session.get(url) as answer:
            after = (await answer.json())["next"]
        await asyncio.sleep(FOLLOW_EVERY_S)


async def look(path: str, plugin: str) -> None:
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.UnixConnector(path, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        works: list[Callable[[], Awaitable[None]]] = [
            *(lambda topics=topics: page(session, topics) for topics in PAGES),
            lambda: scrape(session),
            *(lambda: follow(session, plugin) for _ in range(FOLLOWERS)),
        ]
        await asyncio.gather(*(work() for work in works))


async def main(path: str, plugin: str) -> None:
    loop = asyncio.get_running_loop()
    task: asyncio.Task[None] | None = None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            task = None
        if line.strip() == "on":
            task = asyncio.create_task(look(path, plugin))
            await asyncio.sleep(0.2)
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
