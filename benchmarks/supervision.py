"""How fast processes are started, seen to end, and stopped: ``python -m benchmarks.supervision``.

Durations of single happenings, so a table of its own: medians and 99th percentiles, each beside
what the bare system calls take in the same run.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import uvloop

from vconnect import PluginRuntimeManager
from vconnect.processes.process import LaunchSpec, PluginProcess

EXITS = 60
SPAWNS = 60
STARTS = 100
CRASHED, FLOOD_S, TICK_S = 50, 5.0, 0.001
ROUNDS = 5
STOPPED, STUBBORN, GRACE_S = 20, 3, 2.0
BALLAST_BYTES = 500 * 1024 * 1024
ECHO_SOURCE = Path(__file__).with_name("echo.c")
STUBBORN_CODE = """\
#!{python}
import os, signal, socket, struct, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
host = socket.socket(socket.AF_UNIX)
host.connect(sys.argv[sys.argv.index("--socket") + 1])
hello = b'{{"name":"%s"}}' % os.environ["VCONNECT_PLUGIN_NAME"].encode()
host.sendall(struct.pack(">I", len(hello)) + hello)
while host.recv(4096):
    pass
signal.pause()
"""

FLOOD_CODE = """\
#!{python}
import os, socket, struct, sys
host = socket.socket(socket.AF_UNIX)
host.connect(sys.argv[sys.argv.index("--socket") + 1])
hello = b'{{"name":"flood"}}'
host.sendall(struct.pack(">I", len(hello)) + hello)
lines = (b"x" * 99 + b"\\n") * 640
while True:
    os.write(1, lines)
"""


class Line(NamedTuple):
    """One row: what, how, and the durations in seconds."""

    what: str
    way: str
    durations: list[float]

    def __str__(self) -> str:
        ordered = sorted(self.durations)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        return f"{self.what:<44} {self.way:<34} {median(ordered) * 1000:>10.2f} {p99 * 1000:>10.2f}"


class Ground:
    """A directory with the echo plugin in C, and room for a host.

    Attributes:
        echo: The compiled plugin.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.echo = directory / "echo"
        subprocess.run(["cc", "-O2", "-o", self.echo, ECHO_SOURCE], check=True)

    def plugins(self, count: int, stubborn: int = 0) -> Path:
        """Make a plugin directory with so many plugins."""
        plugin_dir = Path(tempfile.mkdtemp(prefix="plugins-", dir=self.directory))
        for number in range(count):
            name = f"plugin{number:03}"
            program = plugin_dir / name / name
            program.parent.mkdir()
            if number < stubborn:
                program.write_text(STUBBORN_CODE.format(python=sys.executable))
                program.chmod(0o755)
            else:
                os.link(self.echo, program)
        return plugin_dir

    def manager(self, plugin_dir: Path, **options: Any) -> PluginRuntimeManager:
        return PluginRuntimeManager(
            plugin_dir=plugin_dir, socket_path=self.directory / "run" / "host.sock", **options
        )


async def exits(ground: Ground) -> list[Line]:
    """From ``kill -9`` to the status that says so."""
    seen: list[float] = []
    async with ground.manager(ground.plugins(1), restart="never") as runtime:
        for _ in range(EXITS):
            await runtime.start_plugin("plugin000") if seen else await runtime.start_all()
            pid = runtime.summary("plugin000").pid
            assert pid is not None
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            while runtime.summary("plugin000").status != "Error":
                await asyncio.sleep(0)
            seen.append(time.perf_counter() - began)
    return [Line("kill -9 to Error", "vconnect", seen)]


async def spawns(ground: Ground) -> list[Line]:
    """How long one start keeps the loop of a host of 500 MiB."""
    ballast = bytearray(BALLAST_BYTES)
    ballast[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(ballast[:: os.sysconf("SC_PAGE_SIZE")])
    what = "loop blocked by one start, host of 500 MiB"
    ours, bare, forked = [], [], []
    spec = LaunchSpec(plugin="true", argv=("/bin/true",), directory=Path("/"), environment={})
    for _ in range(SPAWNS):
        began = time.perf_counter()
        process = PluginProcess.spawn(spec)
        ours.append(time.perf_counter() - began)
        await process.end(1.0, lambda _: None)
        began = time.perf_counter()
        pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
        bare.append(time.perf_counter() - began)
        os.waitpid(pid, 0)
    for _ in range(SPAWNS // 4):
        began = time.perf_counter()
        child = await asyncio.create_subprocess_exec("/bin/true")
        forked.append(time.perf_counter() - began)
        await child.wait()
    return [
        Line(what, "bare posix_spawn", bare),
        Line(what, "vconnect", ours),
        Line(what, "uvloop's own subprocess", forked),
    ]


async def starts(ground: Ground) -> list[Line]:
    """A hundred plugins in C, from nothing to all of them shaken hands."""
    what = f"{STARTS} plugins in C, started and shaken hands"
    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(bare_starts(ground))
        async with ground.manager(ground.plugins(STARTS), start_concurrency=STARTS) as runtime:
            began = time.perf_counter()
            await runtime.start_all()
            ours.append(time.perf_counter() - began)
            assert all(summary.status == "Running" for summary in runtime.runtime_summaries())
    return [Line(what, "bare posix_spawn, one accept each", bare), Line(what, "vconnect", ours)]


def bare_starts(ground: Ground) -> float:
    path = str(ground.directory / "bare.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(STARTS)
        began = time.perf_counter()
        command = [str(ground.echo), "--socket", path]
        pids = [os.posix_spawn(command[0], command, {}) for _ in range(STARTS)]
        connections = [listening.accept()[0] for _ in pids]
        for connection in connections:
            connection.recv(4096)  # its handshake
        took = time.perf_counter() - began
    for connection in connections:
        connection.close()
    for pid in pids:
        os.waitpid(pid, 0)
    Path(path).unlink()
    return took


async def floods(ground: Ground) -> list[Line]:
    """How late the loop's timers are while a plugin writes lines as fast as it can."""
    plugin_dir = ground.plugins(0)
    program = plugin_dir / "flood" / "flood"
    program.parent.mkdir()
    program.write_text(FLOOD_CODE.format(python=sys.executable))
    program.chmod(0o755)
    late = []
    logging.disable(logging.NOTSET)
    logging.getLogger().addHandler(sink := logging.FileHandler(os.devnull))
    async with ground.manager(plugin_dir, log_dir=ground.directory / "logs") as runtime:
        await runtime.start_all()
        ends = time.perf_counter() + FLOOD_S
        while time.perf_counter() < ends:
            late.append(await tick())
    logging.getLogger().removeHandler(sink)
    logging.disable()
    return [Line("loop lag, a plugin floods its log", "vconnect", late)]


async def tick() -> float:
    """Sleep for one tick, and return how many seconds too long it was."""
    due = time.perf_counter() + TICK_S
    await asyncio.sleep(TICK_S)
    return max(0.0, time.perf_counter() - due)


async def crashes(ground: Ground) -> list[Line]:
    """How late the loop's timers are while fifty plugins crash together and start anew."""
    late = []
    async with ground.manager(ground.plugins(CRASHED)) as runtime:
        await runtime.start_all()
        before = {summary.name: summary.pid for summary in runtime.runtime_summaries()}
        for pid in before.values():
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        while not all(
            summary.status == "Running" and summary.pid != before[summary.name]
            for summary in runtime.runtime_summaries()
        ):
            late.append(await tick())
    return [Line(f"loop lag, {CRASHED} crash together and start anew", "vconnect", late)]


async def stops(ground: Ground) -> list[Line]:
    """Twenty plugins at once, three of which ignore every signal that can be ignored."""
    took = []
    for _ in range(2):
        plugin_dir = ground.plugins(STOPPED, STUBBORN)
        async with ground.manager(plugin_dir, stop_timeout=GRACE_S) as runtime:
            await runtime.start_all()
            began = time.perf_counter()
            await runtime.stop_all()
            took.append(time.perf_counter() - began)
    what = f"stop {STOPPED}, {STUBBORN} of them ignore signals"
    return [Line(what, f"vconnect, grace {GRACE_S:g} s", took)]


@contextmanager
def ground() -> Iterator[Ground]:
    directory = Path(tempfile.mkdtemp(prefix="vcb-", dir="/tmp"))
    try:
        yield Ground(directory)
    finally:
        shutil.rmtree(directory)


def main() -> int:
    if shutil.which("cc") is None:
        print("needs a C compiler (cc)", file=sys.stderr)
        return 1
    logging.disable()  # plugins are killed here on purpose
    print(f"{'what':<44} {'way':<34} {'median ms':>10} {'p99 ms':>10}")
    parts: list[Callable[[Ground], Coroutine[Any, Any, list[Line]]]] = [
        exits,
        spawns,
        starts,
        crashes,
        floods,
        stops,
    ]
    with ground() as made:
        for part in parts:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                for line in runner.run(part(made)):
                    print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
