"""What a plugin that attacks its host costs the others: ``python -m benchmarks.attacks``.

A host serves an echo plugin in C, whose round trips are timed one after another. Beside it runs one
other plugin at a time (``attacker.py``): first an honest one that is quiet, one that is busy, with
sixteen calls in flight, and one that is chatty and publishes as fast as the host takes it. Then one
for each attack, which does its worst over the wire for the whole turn. Rounds repeat that. The
table has percentiles of the neighbor's round trips, compared with those beside an honest plugin in
the same round, and how much the host's memory grew. Attacks by size are compared with the busy
plugin, attacks by number with the chatty one, which uses as much of the host's time.

With ``--nasty`` the other plugin does all of that in turn for a minute, in each sandbox that there
is here, and the neighbor has sixteen requests in flight all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import sys
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from vconnect import PluginRuntimeManager
from vconnect.processes.landlock import supported_version

from .attacker import ATTACKS, BY_NUMBER, HONEST
from .supervision import Ground, ground

ATTACKER = Path(__file__).with_name("attacker.py")
NEIGHBOR = "neighbor"
BUSY, CHATTY, NASTY = "busy", "chatty", "nasty"
EVENT = "message.incoming"
LEVELS = ("off", "nnp", "landlock", "bwrap")
#: The version of Landlock that takes the network away as well.
WHOLE_LANDLOCK = 4
SETTLE_S, STOP_S = 0.5, 1.0
LOOK_EVERY_S = 0.05
LONGEST_US = 100_000
LINE = "{:<9} {:<12} {:<9}" + "{:>8}" * 8
TITLES = (
    *("sandbox", "the other", "against", "p50 us", "p90 us", "p99 us"),
    *("p90", "p99", "p99 ms", "MiB", "runs"),
)
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


class Plan(NamedTuple):
    """What is measured, how often, and for how many seconds.

    Attributes:
        others: The plugins beside the neighbor, one after another.
        callers: How many requests the neighbor has in flight.
    """

    others: tuple[str, ...]
    rounds: int
    seconds: float
    callers: int


ATTACKS_PLAN = Plan((*HONEST, *ATTACKS), rounds=3, seconds=3.0, callers=1)
NASTY_PLAN = Plan((CHATTY, NASTY), rounds=3, seconds=20.0, callers=16)


class Turn(NamedTuple):
    """What one plugin cost in one turn.

    Attributes:
        p50, p90, p99: Percentiles of the neighbor's round trips, in seconds.
        growth: By how many bytes the host's memory grew.
        running: The part of the time in which the plugin ran and was connected.
    """

    p50: float
    p90: float
    p99: float
    growth: int
    running: float


class Durations:
    """How long requests took, in whole microseconds. Its memory does not grow with their number."""

    def __init__(self) -> None:
        self._counts = array("L", bytes(8 * LONGEST_US))

    def add(self, seconds: float) -> None:
        self._counts[min(int(seconds * 1e6), LONGEST_US - 1)] += 1

    def percentiles(self, *parts: float) -> list[float]:
        """Return the seconds within which these parts of the requests were answered."""
        until = list(accumulate(self._counts))
        return [bisect_left(until, until[-1] * part) / 1e6 for part in parts]


class Watch:
    """Watches the host's memory for the length of an ``async with`` block."""

    def __init__(self) -> None:
        self._before = self._most = resident()

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        await ended(self._task)

    @property
    def growth(self) -> int:
        """The most by which it has grown since, in bytes."""
        return self._most - self._before

    async def _look(self) -> None:
        while True:
            self._most = max(self._most, resident())
            await asyncio.sleep(LOOK_EVERY_S)


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task that never ends by itself."""
    task.cancel()
    await asyncio.wait([task])


async def take_turn(runtime: PluginRuntimeManager, other: str, plan: Plan) -> Turn:
    """Start a plugin, time the neighbor's round trips beside it, and stop it."""
    took = Durations()
    async with Watch() as watch:
        await runtime.start_plugin(other)
        await asyncio.sleep(SETTLE_S)
        was_running: list[bool] = []
        events = asyncio.create_task(send_events(runtime, other, was_running))
        ends = time.perf_counter() + plan.seconds
        callers = [time_requests(runtime, took, ends) for _ in range(plan.callers)]
        await asyncio.gather(*callers)
        await ended(events)
        await runtime.stop_plugin(other)
    p50, p90, p99 = took.percentiles(0.5, 0.9, 0.99)
    return Turn(p50, p90, p99, watch.growth, sum(was_running) / len(was_running))


async def time_requests(runtime: PluginRuntimeManager, took: Durations, ends: float) -> None:
    """Send the neighbor one request after another, and note how long each takes."""
    while (began := time.perf_counter()) < ends:
        await runtime.request(NEIGHBOR, EVENT, {})
        took.add(time.perf_counter() - began)


async def send_events(runtime: PluginRuntimeManager, plugin: str, was_running: list[bool]) -> None:
    """Ask a plugin ten times a second, whatever becomes of it, and note whether it runs."""
    while True:
        was_running.append(runtime.summary(plugin).status == "Running")
        asking = asyncio.ensure_future(runtime.request(plugin, EVENT, {}, timeout=1.0))
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.sleep(0.1)


def prepare(made: Ground, others: tuple[str, ...]) -> Path:
    """Make a plugin directory with the neighbor and the others."""
    plugin_dir = made.plugins(0)
    (plugin_dir / NEIGHBOR).mkdir()
    shutil.copy2(made.echo, plugin_dir / NEIGHBOR / NEIGHBOR)
    for name in others:
        put_attacker(plugin_dir, name)
    return plugin_dir


def put_attacker(plugin_dir: Path, name: str) -> None:
    """Put a plugin that does what its name says into a plugin directory."""
    program = plugin_dir / name / name
    program.parent.mkdir()
    manifest = {"name": name, "permissions": ["*"]}
    (program.parent / "plugin.json").write_text(json.dumps(manifest))
    program.write_text(f"#!{sys.executable}\n{ATTACKER.read_text()}")
    program.chmod(0o755)


async def compare(made: Ground, sandbox: str, plan: Plan) -> None:
    """Take the plugins in turns, and print a row for each."""
    turns: dict[str, list[Turn]] = {other: [] for other in plan.others}
    # Those that the host ends come back at once: it is not to be rid of them.
    restarts = {"restart": "always", "restart_delay": 0.05, "crash_limit": 100_000}
    options = {"sandbox": sandbox, "stop_timeout": STOP_S, **restarts}
    async with made.manager(prepare(made, plan.others), **options) as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin(NEIGHBOR)
        for _ in range(plan.rounds):
            for other in plan.others:
                turns[other].append(await take_turn(runtime, other, plan))
        stalls = runtime.host_summary().stalls
    for other, taken in turns.items():
        by_number = other in (NASTY, *BY_NUMBER) or BUSY not in turns
        beside = CHATTY if by_number else BUSY
        print(row((sandbox, other, beside), taken, turns[beside]), flush=True)
    print(f"the host's event loop was held for more than 100 ms {stalls} times\n", flush=True)


def row(names: tuple[str, str, str], taken: list[Turn], honest: list[Turn]) -> str:
    """Return a line of the table."""
    pairs = list(zip(taken, honest, strict=True))
    figures = [median(column) * 1e6 for column in list(zip(*taken, strict=True))[:3]]
    p90 = median(one.p90 / good.p90 for one, good in pairs)
    p99 = median(one.p99 / good.p99 for one, good in pairs)
    later = median(one.p99 - good.p99 for one, good in pairs)
    growth = max(one.growth for one in taken) / MIB
    return LINE.format(
        *names,
        *(f"{figure:.0f}" for figure in figures),
        *(f"{p90:.2f}", f"{p99:.2f}", f"{later * 1e3:+.2f}", f"{growth:.1f}"),
        f"{median(one.running for one in taken):.0%}",
    )


def sandboxes() -> list[str]:
    """Return the levels that this machine has."""
    missing = {
        "landlock": supported_version() < WHOLE_LANDLOCK,
        "bwrap": shutil.which("bwrap") is None,
    }
    return [level for level in LEVELS if not missing.get(level)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--nasty", action="store_true", help="a minute of all attacks, per sandbox")
    parser.add_argument("--sandbox", choices=LEVELS, help="only this one")
    options = parser.parse_args()
    if shutil.which("cc") is None:
        print("needs a C compiler (cc)", file=sys.stderr)
        return 1
    plan = NASTY_PLAN if options.nasty else ATTACKS_PLAN
    if options.quick:
        plan = plan._replace(rounds=1, seconds=1.0)
    levels = sandboxes() if options.nasty else ["off"]
    show([options.sandbox] if options.sandbox else levels, plan)
    return 0


def show(levels: Iterable[str], plan: Plan) -> None:
    """Measure in each sandbox, and print the table."""
    logging.disable()  # what the host says of the attacks
    print("an echo plugin's round trips, beside another plugin")
    print(LINE.format(*TITLES))
    with ground() as made:
        for level in levels:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(compare(made, level, plan))


if __name__ == "__main__":
    sys.exit(main())
