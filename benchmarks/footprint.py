"""The memory of a host with a thousand idle plugins: one process that measures itself.

``python -m benchmarks.footprint --socket PATH --plugins N --crowd PROGRAM`` prints one JSON value.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from vconnect.plugins.runtime import PluginRuntime
from vconnect.wire.messages import parse_handshake

from .ours import Host
from .peers import Peers
from .scale import MANY, allow_files

#: So many plugins come first, for whatever is loaded or made only once.
WARM_UP = 32
EVENTS = ["message.incoming"]
NEEDS = ("crowd",)


class Footprint(NamedTuple):
    """What one idle plugin takes of the host's resident memory.

    Attributes:
        loop: The event loop.
        plugins: Over how many it was taken.
        described_bytes: The objects that describe it: runtime, supervisor, handshake, names.
        connected_bytes: Those, and all that a connection has.
    """

    loop: str
    plugins: int
    described_bytes: float
    connected_bytes: float

    @property
    def connection_bytes(self) -> float:
        """What the connection adds."""
        return self.connected_bytes - self.described_bytes


def measure_footprints(peers: Peers, plugins: int = MANY) -> list[Footprint]:
    """Measure on both loops, each in a process of its own."""
    return [_measure(peers, loop, plugins) for loop in ("uvloop", "asyncio")]


def _measure(peers: Peers, loop: str, plugins: int) -> Footprint:
    text = peers.run_here(
        "footprint", peers.socket_path(), loop=loop, plugins=plugins, crowd=peers.program("crowd")
    )
    return Footprint(*orjson.loads(text))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--crowd", required=True)
    parser.add_argument("--plugins", type=int, default=MANY)
    parser.add_argument("--loop", default="uvloop")
    options = parser.parse_args()
    allow_files(options.plugins + WARM_UP)
    factory = __import__(options.loop).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        found = runner.run(_footprint(options))
    sys.stdout.write(orjson.dumps(tuple(found)).decode())


async def _footprint(options: argparse.Namespace) -> Footprint:
    host = Host(options.socket)
    await host.open()
    try:
        with _crowd(options, "warm", WARM_UP):
            await host.wait_for(WARM_UP)
            await _describe(host, "warm-described", WARM_UP)
            before = _resident_bytes()
            await _describe(host, "described", options.plugins)
            described = _resident_bytes()
            with _crowd(options, "connected", options.plugins):
                await host.wait_for(WARM_UP + options.plugins)
                connected = _resident_bytes()
    finally:
        await host.close()
    return Footprint(
        options.loop,
        options.plugins,
        (described - before) / options.plugins,
        (connected - described) / options.plugins,
    )


async def _describe(host: Host, prefix: str, count: int) -> None:
    """Know plugins that are not connected, with all that would be known of them if they were."""
    for number in range(count):
        name = f"{prefix}-{number}"
        runtime = PluginRuntime(name, None, policy=host.settings.plugin_policy(name))
        hello = {"name": name, "version": "1", "priority": 0, "capabilities": EVENTS}
        runtime.handshake = parse_handshake(orjson.loads(orjson.dumps(hello)))
        host._registry.add(runtime)
        host._roster.of(runtime)
    await asyncio.sleep(0.1)  # for the supervisors' tasks to begin


@contextmanager
def _crowd(options: argparse.Namespace, prefix: str, count: int) -> Iterator[None]:
    command = [options.crowd, "--socket", str(options.socket), "--plugins", str(count)]
    command += ["--prefix", f"{prefix}-", "--capabilities", orjson.dumps(EVENTS).decode()]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _resident_bytes() -> int:
    gc.collect()
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
