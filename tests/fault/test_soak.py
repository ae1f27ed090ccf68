"""Twenty plugins, random kills, a thousand events a second: nothing grows, nothing is lost.

Twenty seconds in the test suite; ``make soak SECONDS=300`` for any length.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.lab import Lab, relatives, sampled, until

from vconnect import PluginRuntimeManager
from vconnect.errors import PluginError

SECONDS = float(os.environ.get("VCONNECT_SOAK_S", "20"))
PLUGINS = 20
PARENTS = 5  # so many of them have a child of their own, which does not see its parent's end
EVENTS_PER_SECOND = 1000
KILL_EVERY_S = 0.5
SETTLE_S = 10.0
MAX_GROWTH_BYTES = 32 * 1024 * 1024
SEED = 20261124

pytestmark = pytest.mark.both_loops


class Held:
    """What the host holds now."""

    def __init__(self) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.rss_bytes = pages * os.sysconf("SC_PAGE_SIZE")
        self.descriptors = len(list(Path("/proc/self/fd").iterdir()))
        self.tasks = len(asyncio.all_tasks())
        self.children = children()


def children() -> int:
    """Count our children: the living and the unburied."""
    count = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            count += int(file.read_text().rpartition(")")[2].split()[1]) == os.getpid()
    return count


class Load:
    """Sends events, kills plugins, and keeps account of every event."""

    def __init__(self, runtime: PluginRuntimeManager) -> None:
        self._runtime = runtime
        self._random = random.Random(SEED)
        self._calls: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.ends: Counter[str] = Counter()
        self.kills = 0

    async def run(self, seconds: float) -> None:
        began = time.monotonic()
        next_kill = began
        sent_before = self.sent
        while (passed := time.monotonic() - began) < seconds:
            while self.sent - sent_before < passed * EVENTS_PER_SECOND:
                self._send()
            if time.monotonic() >= next_kill:
                self._kill()
                next_kill += KILL_EVERY_S
            await asyncio.sleep(0.002)
        await asyncio.wait_for(asyncio.gather(*self._calls), SETTLE_S)

    def _send(self) -> None:
        plugin = f"echo{self._random.randrange(PLUGINS):02}"
        call = asyncio.create_task(self._ask(plugin, self.sent))
        self.sent += 1
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _ask(self, plugin: str, number: int) -> None:
        try:
            answer = await self._runtime.request(plugin, "soak", number)
        except PluginError as error:
            self.ends[error.code if error.message else "without a reason"] += 1
        else:
            assert answer == {"echo": number}, "an answer of another call"
            self.ends["answered"] += 1

    def _kill(self) -> None:
        pid = self._runtime.summary(f"echo{self._random.randrange(PLUGINS):02}").pid
        if pid is not None:
            os.kill(pid, self._random.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))
            self.kills += 1


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 120)
@pytest.mark.skipif(sys.platform != "linux", reason="counts by /proc")
async def test_nothing_grows_and_nothing_is_lost(lab: Lab) -> None:
    for number in range(PLUGINS):
        code = "serve()" if number % 2 else "serve_native()"
        if number < PARENTS:
            code = f"subprocess.Popen(['sleep', '3600'])\n{code}"
        lab.plugin(f"echo{number:02}", code)
    # Kills are meant to be survived here, not to be punished.
    options = {"restart": "always", "restart_delay": 0.05, "crash_limit": 100_000}
    # Who is killed ten times by chance would wait 25 s for its next turn otherwise.
    options |= {"restart_max_delay": 1}
    mark = {"LAB": str(lab.directory)}
    async with lab.manager(**options, breaker_failures=0, env=mark) as runtime:
        await runtime.start_all()
        load = Load(runtime)
        warm_up = min(10.0, SECONDS / 4)
        await load.run(warm_up)  # so that caches and pools are there
        before = await settled(runtime)
        await load.run(SECONDS - warm_up)
        after = await settled(runtime)
        print(
            f"\n{load.sent} events, {load.kills} kills, {dict(load.ends)}; memory "
            f"{(after.rss_bytes - before.rss_bytes) / 1024:+.0f} KiB, descriptors "
            f"{after.descriptors - before.descriptors:+d}, tasks {after.tasks - before.tasks:+d}"
        )
        assert load.ends.total() == load.sent >= EVENTS_PER_SECOND * SECONDS * 0.95
        assert not load.ends["without a reason"]
        assert load.ends["answered"] > load.sent * 0.8
        assert after.descriptors == before.descriptors
        assert after.tasks == before.tasks
        assert after.rss_bytes - before.rss_bytes < MAX_GROWTH_BYTES
        assert after.children == before.children == PLUGINS
        assert len(relatives(lab)) == PLUGINS + PARENTS
    assert not relatives(lab)


async def settled(runtime: PluginRuntimeManager) -> Held:
    """Wait until every plugin runs again, and count."""
    await until(
        lambda: all(summary.status == "Running" for summary in runtime.runtime_summaries()),
        "every plugin to be back",
    )
    name = runtime.runtime_summaries()[0].name
    held, before = Held(), None
    async with asyncio.timeout(SETTLE_S):
        while before is None or (held.descriptors, held.tasks) != before:
            # In a second the last restarts close what they held.
            before = held.descriptors, held.tasks
            await sampled(runtime, name)
            held = Held()
    return held
