"""What a change of a running host costs: ``python -m benchmarks.packages``.

A host serves an echo plugin in C. Twenty further versions are installed from their files one after
the other, and each is unpacked, started, and takes over. Then a package of 200 MiB is installed
while the plugin gets a thousand events a second: how late the loop was, and how much the host's
memory grew. At last, GNU tar and the host unpack the same package in turns, into the same file
system.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import uvloop

from vconnect import PluginRuntimeManager
from vconnect.packages.archive import ArchiveLimits, unpack
from vconnect.packages.pack import pack

from .supervision import Ground, ground

UPGRADES = 20
ROUNDS = 3
LARGE_BYTES = 200 << 20
PARTS = 200
EVENT = "message.incoming"
INTERVAL_S = 0.001
LOOK_EVERY_S = 0.001
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


def make_package(made: Ground, name: str, version: str, large_bytes: int = 0) -> Path:
    """Pack the echo plugin in C, beside as many bytes as are wanted, half of which are random."""
    source = made.directory / f"{name}-{version}"
    source.mkdir()
    shutil.copy2(made.echo, source / name)
    manifest = {"name": name, "version": version, "entry": name}
    (source / "plugin.json").write_text(json.dumps(manifest))
    noise = random.Random(7)
    for number in range(PARTS if large_bytes else 0):
        half = large_bytes // PARTS // 2
        (source / f"part{number:03}").write_bytes(noise.randbytes(half) + bytes(half))
    return pack(source, made.directory / f"{name}-{version}.vp").path


async def upgrades(made: Ground) -> None:
    """From a file to the version that serves."""
    packages = [str(make_package(made, "echo", str(number))) for number in range(UPGRADES + 1)]
    took = []
    async with made.manager(made.plugins(0)) as runtime:
        await runtime.start_all()
        await runtime.packages.install(packages[:1])
        for package in packages[1:]:
            began = time.perf_counter()
            (change,) = await runtime.packages.install([package], upgrade=True)
            assert change.result == "switched", change
            took.append(time.perf_counter() - began)
    words = f"median {median(took) * 1000:.0f} ms, at most {max(took) * 1000:.0f} ms"
    print(f"an upgrade of a plugin in C, from its file until it serves: {words}", flush=True)


async def large(made: Ground, package: Path) -> None:
    """Install a large package beside a thousand events a second."""
    async with made.manager(made.plugins(1), max_package_bytes=2 * LARGE_BYTES) as runtime:
        await runtime.start_all()
        late: list[float] = []
        tasks = [asyncio.create_task(send(runtime)), asyncio.create_task(look(late))]
        await asyncio.sleep(1)
        late.clear()
        before = rss()
        memory = [before]
        peak = asyncio.create_task(watch(memory))
        began = time.perf_counter()
        (change,) = await runtime.packages.install([str(package)], start=False)
        assert change.result == "installed", change
        took = time.perf_counter() - began
        for task in (*tasks, peak):
            task.cancel()
        await asyncio.wait([*tasks, peak])
    late.sort()
    print(
        f"200 MiB installed in {took:.1f} s beside 1,000 events/s: the loop was late by "
        f"{late[len(late) // 2] * 1000:.1f} ms (p50), {late[len(late) * 99 // 100] * 1000:.1f} ms "
        f"(p99), {late[-1] * 1000:.1f} ms (most); memory grew by "
        f"{(max(memory) - before) / MIB:.1f} MiB at most",
        flush=True,
    )


async def send(runtime: PluginRuntimeManager) -> None:
    due = time.perf_counter()
    while True:
        await runtime.request("plugin000", EVENT, {})
        due += INTERVAL_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def look(late: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(LOOK_EVERY_S)
        late.append(time.perf_counter() - began - LOOK_EVERY_S)


async def watch(memory: list[int]) -> None:
    while True:
        memory.append(rss())
        await asyncio.sleep(0.01)


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def extractions(made: Ground, package: Path) -> None:
    """Unpack in turns with GNU tar."""
    limits = ArchiveLimits(packed_bytes=2 * LARGE_BYTES, unpacked_bytes=2 * LARGE_BYTES)
    target = made.directory / "unpacked"
    ours, tars = [], []
    for _ in range(ROUNDS):
        target.mkdir()
        began = time.perf_counter()
        subprocess.run(["tar", "-xzf", package, "-C", target], check=True)
        tars.append(time.perf_counter() - began)
        shutil.rmtree(target)
        began = time.perf_counter()
        unpack(package, target, limits, origin="the package")
        ours.append(time.perf_counter() - began)
        shutil.rmtree(target)
    ratio = median(tar / our for tar, our in zip(tars, ours, strict=True))
    words = f"{median(ours):.2f} s, GNU tar {median(tars):.2f} s: {ratio:.2f} of its speed"
    print(f"200 MiB unpacked and checked in {words}", flush=True)


def main() -> int:
    if shutil.which("cc") is None:
        print("needs a C compiler (cc)", file=sys.stderr)
        return 1
    logging.disable()
    with ground() as made:
        package = make_package(made, "large", "1", LARGE_BYTES)
        for measured in (upgrades(made), large(made, package)):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(measured)
        extractions(made, package)
    return 0


if __name__ == "__main__":
    sys.exit(main())
