"""What one bad plugin costs the others: ``python -m benchmarks.isolation``.

A host serves an echo plugin in C, whose round trips are timed one after another. Beside it a
second plugin gets a thousand events a second, in turns of a fraction of a second: one that
behaves, one that answers garbage, one that never reads. The rows differ in nothing else, so the
ratios to the first row are what bad manners cost a neighbour. A second table has a row for each
attack over the wire; see ``attacks.py``.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

import uvloop

from vconnect import PluginRuntimeManager
from vconnect.errors import PluginError

from . import attacks
from .supervision import Ground, ground

ROUNDS = 15
TURN_S = 0.4
INTERVAL_S = 0.001
TIMEOUT_S = 0.5
EVENT = "message.incoming"
PAYLOAD = {"content": "x" * 4096}
NEIGHBOUR = "neighbour"
KINDS = {
    "behaves": "it answers",
    "garbage": "it answers what is no JSON",
    "deaf": "it never reads",
}
CODE = """\
#!{python}
import os, signal, socket, struct, sys
kind = os.environ["VCONNECT_PLUGIN_NAME"]
host = socket.socket(socket.AF_UNIX)
host.connect(sys.argv[sys.argv.index("--socket") + 1])
def send(payload):
    host.sendall(struct.pack(">I", len(payload)) + payload)
send(b'{{"name":"%s","capabilities":["*"]}}' % kind.encode())
frames = host.makefile("rb")
def read():
    head = frames.read(4)
    if not head:
        sys.exit()
    frames.read(struct.unpack(">I", head)[0])
read()  # the acknowledgement
if kind == "deaf":
    signal.pause()
while True:
    read()
    send(b'{{"status":"ok"}}' if kind == "behaves" else b"\\xff garbage")
"""


async def turn(runtime: PluginRuntimeManager, kind: str, fates: Counter[str]) -> list[float]:
    """Time the neighbour's round trips for one turn, in seconds, while ``kind`` gets events."""
    sender = asyncio.create_task(send_steadily(runtime, kind, fates))
    await asyncio.sleep(TURN_S / 4)  # until its queue is as full as it gets
    took = []
    ends = time.perf_counter() + TURN_S
    while (began := time.perf_counter()) < ends:
        await runtime.request(NEIGHBOUR, EVENT, {})
        took.append(time.perf_counter() - began)
    sender.cancel()
    await asyncio.wait([sender])
    await asyncio.sleep(TIMEOUT_S)  # so that nothing of this turn is left for the next
    return took


async def send_steadily(runtime: PluginRuntimeManager, plugin: str, fates: Counter[str]) -> None:
    """Send events at the same pace to whatever the plugin does with them, until cancelled."""

    async def send() -> None:
        try:
            await runtime.request(plugin, EVENT, PAYLOAD, timeout=TIMEOUT_S)
        except PluginError as error:
            fates[error.code] += 1
        except asyncio.CancelledError:
            fates["still waiting at the end of the turn"] += 1
            raise
        else:
            fates["answered"] += 1

    due = time.perf_counter()
    async with asyncio.TaskGroup() as sent:
        while True:
            sent.create_task(send())
            due += INTERVAL_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


def prepare(made: Ground) -> Path:
    """Make a plugin directory with the neighbour and one plugin of each kind."""
    plugin_dir = made.plugins(0)
    for name in (NEIGHBOUR, *KINDS):
        program = plugin_dir / name / name
        program.parent.mkdir()
        if name == NEIGHBOUR:
            shutil.copy2(made.echo, program)
        else:
            program.write_text(CODE.format(python=sys.executable))
            program.chmod(0o755)
    return plugin_dir


async def compare(made: Ground) -> None:
    """Take the kinds in turns, and print a row for each."""
    took: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    fates: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    async with made.manager(prepare(made)) as runtime:
        await runtime.start_all()
        for _ in range(ROUNDS):
            for kind in KINDS:
                took[kind].append(await turn(runtime, kind, fates[kind]))
    quiet = [summed(turn) for turn in took["behaves"]]
    for kind, title in KINDS.items():
        ours = [summed(turn) for turn in took[kind]]
        figures = [median(column) for column in zip(*ours, strict=True)]
        ratios = [
            median(one[place] / other[place] for one, other in zip(ours, quiet, strict=True))
            for place in (0, 1)
        ]
        cells = (*(f"{figure * 1e6:>8.0f}" for figure in figures), *(f"{r:>10.2f}" for r in ratios))
        fate = ", ".join(f"{count} {name}" for name, count in fates[kind].most_common())
        print(f"{title:<28}", *cells, f" {fate}", flush=True)


def summed(turn: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(turn)
    return median(ordered), ordered[int(len(ordered) * 0.99)]


def main() -> int:
    if shutil.which("cc") is None:
        print("needs a C compiler (cc)", file=sys.stderr)
        return 1
    logging.disable()  # garbage is sent here on purpose
    print("an echo plugin's round trips, beside another plugin that gets 1,000 events/s of 4 KiB")
    titles = f"{'p50 us':>8} {'p99 us':>8} {'p50 ratio':>10} {'p99 ratio':>10}"
    print(f"{'the other plugin':<28} {titles}  what became of its events")
    with ground() as made, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(compare(made))
    print()
    attacks.show(["off"], attacks.ATTACKS_PLAN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
