"""What a plugin that attacks its host costs the others: ``python -m benchmarks.attacks``.

A host serves an echo plugin in C, whose round trips are timed one after another. Beside it runs one
plugin at a time: first an honest one that is quiet, then one that keeps a processor busy and so
awake, which makes round trips quicker, then one for each attack, which does its worst over the wire
for the whole turn. Rounds repeat that. The table compares each with the quiet honest plugin of the
same round: percentiles of the neighbor's round trips, and how much the host's memory grew.
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
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from vconnect import PluginRuntimeManager

from .supervision import Ground, ground

NEIGHBOR = "neighbor"
HONEST = "busy"
EVENT = "message.incoming"
ROUNDS, TURN_S = 3, 3.0
SETTLE_S = 0.5
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20

#: Each attack, as the body of an endless loop in the plugin.
ATTACKS = {
    HONEST: "converse()",
    "quiet": "read_all(); time.sleep(0.01)",
    "bombs": 'send(b\'{"id":99,"status":"ok","data":[\' + b\'[],\' * 100000 + b\'0]}\')',
    "calls": 'send(b\'{"call":"log","params":{"fields":{\' + b\'"k":0,\' * 5000 + b\'"z":0}}}\')',
    "small-calls": "send_raw(small * 1000)",
    "names": "publish('n%d.' % count + 'x' * 240)",
    "unsubscribe": "call('event.unsubscribe', {'events': ['e%d' % n for n in range(1000)]})",
    "deep": "send(b'[' * 60000)",
    "keys": "send(b'{' + b'\"k\":1,' * 60000 + b'\"z\":1}')",
    "big-answers": 'answer(b\'{"id":%d,"status":"ok","data":"\' + b\'x\' * 3900000 + b\'"}\')',
    "output": "os.write(1, b'x' * 65536 + b'\\n')",
    "panics": "os.write(1, b\"thread '\" + b\"' \" * 8000 + b'\\n')",
    "handshakes": "storm(b'{\"q\":[' + b'[],' * 20000 + b'0]}')",
}
CODE = """\
#!{python}
import json, os, select, socket, struct, sys, time
host = socket.socket(socket.AF_UNIX)
def connect():
    global host, reader
    host = socket.socket(socket.AF_UNIX)
    host.connect(sys.argv[sys.argv.index("--socket") + 1])
    name = os.environ["VCONNECT_PLUGIN_NAME"]
    hello = {{"plugin_no": name, "capabilities": ["*"], "protocol_versions": [1]}}
    send(json.dumps(hello).encode())
    reader = host.makefile("rb", buffering=1 << 20)
    read()
def send(payload):
    host.sendall(struct.pack(">I", len(payload)) + payload)
def send_raw(data):
    host.sendall(data)
def frame(message):
    payload = json.dumps(message).encode()
    return struct.pack(">I", len(payload)) + payload
def read():
    head = reader.read(4)
    if len(head) < 4:
        raise ConnectionError
    return json.loads(reader.read(struct.unpack(">I", head)[0]))
def call(name, params):
    host.sendall(frame({{"call": name, "params": params}}))
def publish(name):
    call("event.publish", {{"event": name, "payload": 1}})
def read_all():
    while select.select([host], [], [], 0)[0]:
        message = read()
        if "id" in message:
            host.sendall(frame({{"id": message["id"], "status": "ok"}}))
def answer(text):
    message = read()
    if "id" in message:
        send(text % message["id"])
def storm(payload):
    for _ in range(64):
        one = socket.socket(socket.AF_UNIX)
        one.connect(sys.argv[sys.argv.index("--socket") + 1])
        one.sendall(struct.pack(">I", len(payload)) + payload)
        one.close()
def converse():
    for number in range(1, 17):
        host.sendall(log(number))
    while True:
        message = read()
        if "event" in message:
            if "id" in message:
                host.sendall(frame({{"id": message["id"], "status": "ok"}}))
            continue
        host.sendall(log(message["id"]))
def log(number):
    return frame({{"id": number, "call": "log", "params": {{"message": "x"}}}})
small = frame({{"call": "log", "params": {{"message": "x"}}}})
count = 0
connect()
while True:
    count += 1
    try:
        {attack}
    except (ConnectionError, BrokenPipeError):
        time.sleep(0.05)
        connect()
"""


class Turn(NamedTuple):
    """What one plugin cost in one turn: seconds, and bytes of the host's memory."""

    p50: float
    p90: float
    p99: float
    growth: int


async def turn(runtime: PluginRuntimeManager, attack: str, seconds: float) -> Turn:
    """Start a plugin, time the neighbor's round trips beside it, and stop it."""
    before = resident()
    await runtime.start_plugin(attack)
    await asyncio.sleep(SETTLE_S)
    took, most, looked_at = [], before, 0.0
    ends = time.perf_counter() + seconds
    events = asyncio.create_task(send_events(runtime, attack))
    while (began := time.perf_counter()) < ends:
        await runtime.request(NEIGHBOR, EVENT, {})
        took.append(time.perf_counter() - began)
        if began - looked_at > 0.05:
            most, looked_at = max(most, resident()), began
    events.cancel()
    await asyncio.wait([events])
    await runtime.stop_plugin(attack)
    ordered = sorted(took)
    p50, p90, p99 = (ordered[int(len(ordered) * part)] for part in (0.5, 0.9, 0.99))
    return Turn(p50, p90, p99, most - before)


async def send_events(runtime: PluginRuntimeManager, plugin: str) -> None:
    """Ask the plugin ten times a second, whatever becomes of it."""
    while True:
        asking = asyncio.ensure_future(runtime.request(plugin, EVENT, {}, timeout=1.0))
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.sleep(0.1)


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def prepare(made: Ground) -> Path:
    """Make a plugin directory with the neighbor and one plugin for each attack."""
    plugin_dir = made.plugins(0)
    for name in (NEIGHBOR, *ATTACKS):
        program = plugin_dir / name / name
        program.parent.mkdir()
        if name == NEIGHBOR:
            shutil.copy2(made.echo, program)
            continue
        manifest = {"name": name, "permissions": ["*"]}
        (program.parent / "plugin.json").write_text(json.dumps(manifest))
        program.write_text(CODE.format(python=sys.executable, attack=ATTACKS[name]))
        program.chmod(0o755)
    return plugin_dir


async def compare(made: Ground, rounds: int, seconds: float) -> None:
    """Take the attacks in turns, and print a row for each."""
    turns: dict[str, list[Turn]] = {attack: [] for attack in ATTACKS}
    async with made.manager(prepare(made), restart="never") as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin(NEIGHBOR)
        for _ in range(rounds):
            for attack in ATTACKS:
                turns[attack].append(await turn(runtime, attack, seconds))
        stalls = runtime.host_summary().stalls
    for attack, taken in turns.items():
        print_row(attack, taken, turns[HONEST])
    print(f"\nthe host's event loop was held for more than 100 ms {stalls} times")


def print_row(attack: str, taken: list[Turn], honest: list[Turn]) -> None:
    pairs = list(zip(taken, honest, strict=True))
    p90 = median(one.p90 / other.p90 for one, other in pairs)
    later = median(one.p99 - other.p99 for one, other in pairs)
    figures = [median(column) * 1e6 for column in list(zip(*taken, strict=True))[:3]]
    print(
        f"{attack:<14}",
        *(f"{figure:>8.0f}" for figure in figures),
        f"{p90:>10.2f}",
        f"{later * 1e3:>+12.2f}",
        f"{max(one.growth for one in taken) / MIB:>10.1f}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    if shutil.which("cc") is None:
        print("needs a C compiler (cc)", file=sys.stderr)
        return 1
    logging.disable()
    print("an echo plugin's round trips, beside another plugin")
    titles = f"{'p50 us':>8} {'p90 us':>8} {'p99 us':>8} {'p90 ratio':>10} {'p99 ms more':>12}"
    print(f"{'the other':<14} {titles} {'MiB more':>10}")
    rounds, seconds = (1, 1.0) if options.quick else (ROUNDS, TURN_S)
    with ground() as made, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(compare(made, rounds, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
