"""What it costs to look at a host: ``python -m benchmarks.seeing``.

A host sends events to an echo plugin in C, 64 at a time, and a second plugin prints 200 lines a
second. In turns nobody looks, and two pages, a scrape each second and four followers of logs do
from another process. What counts is the host's own processor time per event: with fewer than four
cores, those who look take the processor from the plugin. Then a hundred plugins of three
events each is scraped, and the size and the time of the page's files are told.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import aiohttp
import uvloop

import vconnect
from vconnect import AdminServer, PluginRuntimeManager
from vconnect.seeing.exposition import Exposition

from .supervision import Ground, ground

ROUNDS = 10
TURN_S = 3.0
IN_FLIGHT = 64
EVENT = "message.incoming"
PLUGINS = 100
SCRAPES = 20
CHATTY = """\
#!{python}
import os, socket, struct, sys, time, threading
host = socket.socket(socket.AF_UNIX)
host.connect(sys.argv[sys.argv.index("--socket") + 1])
hello = b'{{"name":"chatty","capabilities":["never"]}}'
host.sendall(struct.pack(">I", len(hello)) + hello)
threading.Thread(target=lambda: [os._exit(0) for _ in iter(lambda: host.recv(65536), b"")],
                 daemon=True)
while True:
    print("a line that somebody may want to read", flush=True)
    time.sleep(0.005)
"""


async def load(runtime: PluginRuntimeManager, seconds: float) -> tuple[float, float]:
    """Send for a while; return the processor seconds per event, and the events per second."""
    ends, sent = time.perf_counter() + seconds, 0

    async def send() -> None:
        nonlocal sent
        while time.perf_counter() < ends:
            await runtime.request("echo", EVENT, {"content": "hello"})
            sent += 1

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))
    return (time.process_time() - used) / sent, sent / (time.perf_counter() - began)


async def looked_at(made: Ground) -> None:
    plugins = made.plugins(0)
    for name in ("echo", "chatty"):
        (plugins / name).mkdir()
    shutil.copy2(made.echo, plugins / "echo" / "echo")
    program = plugins / "chatty" / "chatty"
    program.write_text(CHATTY.format(python=sys.executable))
    program.chmod(0o755)
    async with made.manager(plugins) as runtime:
        await runtime.start_all()
        path = made.directory / "look.sock"
        server = AdminServer(runtime, path)
        await server.start()
        watchers = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.watchers",
            str(path),
            "chatty",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        await load(runtime, 1.0)
        pairs = []
        for _ in range(ROUNDS):
            figures = []
            for word in ("off", "on"):
                watchers.stdin.write(f"{word}\n".encode())
                await watchers.stdout.readline()
                figures.append(await load(runtime, TURN_S))
            pairs.append(figures)
        watchers.kill()
        await watchers.wait()
        await server.stop()
    for title, place, bar in (
        ("processor time per event", 0, "at most 1.05"),
        ("events per second", 1, "at least 0.95 on four cores or more"),
    ):
        ratios = sorted(on[place] / off[place] for off, on in pairs)
        low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4 - 1]
        print(
            f"{title:<26} looked at / not {median(ratios):.3f} ({low:.3f} to {high:.3f}; {bar})",
            flush=True,
        )


async def scraped(made: Ground) -> None:
    plugins = made.plugins(0)
    names = [f"plugin{number:03}" for number in range(PLUGINS)]
    for name in names:
        (plugins / name).mkdir()
        shutil.copy2(made.echo, plugins / name / name)
    async with made.manager(plugins) as runtime:
        await runtime.start_all()
        for event in ("a.b", "c.d", "e.f"):
            for name in names:
                await runtime.request(name, event, {})
        await told(runtime)
        server = AdminServer(runtime, made.directory / "scrape.sock")
        await server.start()
        await sent(made.directory / "scrape.sock")
        await server.stop()


async def told(runtime: PluginRuntimeManager) -> None:
    """Write the metrics down, as each scrape does."""
    exposition = Exposition(runtime.registry, runtime.overview, runtime.loop_name, bool)
    took, text = [], b""
    for _ in range(SCRAPES):
        began = time.perf_counter()
        text = await exposition.render()
        took.append(time.perf_counter() - began)
    print(
        f"/metrics of {PLUGINS} plugins   {median(took) * 1000:.1f} ms to write (at most 10), "
        f"{len(text) / 1e6:.2f} MB",
        flush=True,
    )


async def sent(path: Path) -> None:
    """Scrape, and load the page, as clients of the same process do."""
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        took = []
        for _ in range(SCRAPES):
            began = time.perf_counter()
            await fetched(session, "/metrics", "identity")
            took.append(time.perf_counter() - began)
        print(f"the same with its client  {median(took) * 1000:.1f} ms", flush=True)
        page = Path(vconnect.__file__).parent / "admin" / "page"
        files = ["/", *(f"/{one.name}" for one in page.iterdir() if one.suffix != ".html")]
        for coding in ("gzip", "identity"):
            total = sum([await fetched(session, file, coding) for file in files])
            print(
                f"the page, {coding:<15} {total / 1024:.1f} KiB in {len(files)} files"
                + (" (at most 100)" if coding == "gzip" else ""),
                flush=True,
            )


async def fetched(session: aiohttp.ClientSession, path: str, coding: str) -> int:
    """Return how many bytes of body come over the wire."""
    headers = {"Accept-Encoding": coding}
    async with session.get(f"http://localhost{path}", headers=headers) as answer:
        answer.raise_for_status()
        return len(await answer.read())


def main() -> int:
    if shutil.which("cc") is None:
        print("needs a C compiler (cc)", file=sys.stderr)
        return 1
    logging.disable()
    with ground() as made, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(looked_at(made))
    with ground() as made, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scraped(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
