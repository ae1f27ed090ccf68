"""Runs a host in a temporary directory with its plugins, and measures each event."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import msgspec

from vconnect.errors import VConnectError
from vconnect.host.manager import PluginRuntimeManager
from vconnect.loop import loop_factory
from vconnect.plugins.status import PluginStatus
from vconnect.version import host_version

from .works import PLUGINS, Work, all_works, plugin_name

#: Seconds per work. All works together then take about half a minute, or five seconds.
FULL, QUICK = 2.0, 0.3
_WARM_UP = 0.2  # as a part of these, in addition
_CONNECT_SECONDS = 30.0  # for a hundred plugins to start on a slow machine
_STOP_SECONDS = 5.0

Send = Callable[[], Awaitable[Any]]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one work.

    Attributes:
        work: What was measured.
        events: The number of events, and of latencies behind the percentiles.
        p50_us: The median latency in microseconds, from sending to the last plugin's answer.
        p99_us: The 99th percentile of these latencies, in microseconds.
        per_second: Events per second.
        deliveries_per_second: Events per second, multiplied by the plugins that each went to.
        bytes_per_second: Bytes of payload per second, in both directions.
    """

    work: Work
    events: int
    p50_us: float
    p99_us: float
    per_second: float
    deliveries_per_second: float
    bytes_per_second: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All results, and the system that they were measured on.

    Attributes:
        version: The version of vconnect.
        python: The version of Python.
        system: The operating system and the processor's kind.
        cores: The number of processors.
        loop: ``uvloop`` or ``asyncio``.
        seconds: Seconds per work.
        results: The results, one for each work.
    """

    version: str
    python: str
    system: str
    cores: int
    loop: str
    seconds: float
    results: list[Result]


def run_bench(
    *, quick: bool = False, uvloop: bool | None = None, progress: Callable[[Work], None]
) -> Report:
    """Run all works, and leave nothing behind.

    Args:
        quick: Spend less time on each work.
        uvloop: The setting of that name.
        progress: Called before each work.

    Raises:
        ConfigError: uvloop is requested and not installed.
        VConnectError: The plugins do not connect, or one of them fails.
        KeyboardInterrupt: SIGINT or SIGTERM was received.
    """
    factory = loop_factory(uvloop)
    seconds = QUICK if quick else FULL
    with (
        # A socket path is short of bytes, and the default temporary directory keeps it short.
        tempfile.TemporaryDirectory(prefix="vconnect-bench-") as directory,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        try:
            results = runner.run(_measure_all(Path(directory), seconds, progress))
        # The runner turns SIGINT into a cancellation, as `_measure_all` does with SIGTERM.
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    return Report(
        version=host_version(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        loop="asyncio" if factory is None else "uvloop",
        seconds=seconds,
        results=results,
    )


async def _measure_all(
    directory: Path, seconds: float, progress: Callable[[Work], None]
) -> list[Result]:
    task = asyncio.current_task()
    assert task is not None
    # Ended by a service manager or a timeout, the benchmark cleans up like after Ctrl-C.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    manager = PluginRuntimeManager(
        plugin_dir=directory / "plugins",
        socket_path=directory / "r.sock",
        allow_external=True,
        max_external=10_000,
    )
    async with manager:
        with _peer(directory) as peer:
            await _until_connected(manager, peer, directory)
            results = []
            for work in all_works():
                progress(work)
                results.append(await _measure(work, _sender(manager, work), seconds))
            return results


@contextmanager
def _peer(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the plugins in their own process group: Ctrl-C is for us, and we end them."""
    command = [sys.executable, "-m", "vconnect.bench.peer"]
    options = ["--socket", str(directory / "r.sock"), "--plugins", str(PLUGINS)]
    with _errors(directory).open("wb") as errors:
        process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            # Ctrl-C goes to the whole foreground group; these plugins are ended in order, by us.
            process_group=0,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _errors(directory: Path) -> Path:
    return directory / "plugins.log"


async def _until_connected(
    manager: PluginRuntimeManager, peer: subprocess.Popen[bytes], directory: Path
) -> None:
    until = monotonic() + _CONNECT_SECONDS
    while True:
        summaries = manager.runtime_summaries()
        connected = sum(summary.status is PluginStatus.RUNNING for summary in summaries)
        # Measuring earlier would count the cost of plugins that are still starting.
        if connected == PLUGINS:
            return
        if peer.poll() is not None or monotonic() >= until:
            lines = _errors(directory).read_text(errors="replace").splitlines()
            said = f"; last line on stderr: {lines[-1]}" if lines else ""
            raise VConnectError(f"{connected} of {PLUGINS} echo plugins are connected{said}")
        await asyncio.sleep(0.02)


def _sender(manager: PluginRuntimeManager, work: Work) -> Send:
    """Return a function that sends the work's event once and waits for all answers."""
    event, payload = work.event, work.payload
    if work.kind == "request":
        return partial(manager.request, plugin_name(0), event, payload)
    send = manager.emit if work.kind == "chain" else manager.broadcast

    async def send_to_all() -> None:
        outcome = await send(event, payload)
        failed = [result for result in outcome.results if not result.ok]
        if failed or len(outcome.results) != work.plugins:
            why = failed[0].error if failed else f"{len(outcome.results)} plugins were called"
            # A fast failure would look like a good result.
            raise VConnectError(f"{work.name}: {why}")

    return send_to_all


async def _measure(work: Work, send: Send, seconds: float) -> Result:
    # Warms up code, caches and connections. Its latencies are discarded.
    await _send_for(send, work.in_flight, seconds * _WARM_UP)
    began = perf_counter()
    latencies = await _send_for(send, work.in_flight, seconds)
    took = perf_counter() - began
    per_second = len(latencies) / took
    return Result(
        work=work,
        events=len(latencies),
        p50_us=_percentile(latencies, 0.50) * 1e6,
        p99_us=_percentile(latencies, 0.99) * 1e6,
        per_second=per_second,
        deliveries_per_second=per_second * work.plugins,
        bytes_per_second=per_second * work.plugins * work.payload_bytes * 2,
    )


async def _send_for(send: Send, in_flight: int, seconds: float) -> list[float]:
    """Send from ``in_flight`` callers for ``seconds``; return the latency of each event, sorted."""
    until = perf_counter() + seconds
    try:
        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(_caller(send, until)) for _ in range(in_flight)]
    # All callers send the same event, so they fail for the same reason.
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the first failure stands for the others
    return sorted(latency for caller in callers for latency in caller.result())


async def _caller(send: Send, until: float) -> array[float]:
    latencies = array("d")  # 8 bytes per event, where a list would take 32
    while True:
        began = perf_counter()
        await send()
        ended = perf_counter()
        latencies.append(ended - began)
        if ended >= until:
            return latencies


def _percentile(ascending: list[float], part: float) -> float:
    """Return the smallest value that is not below the given part of all values."""
    # The nearest-rank method: the result is a latency that was measured, not an interpolation.
    return ascending[max(0, math.ceil(part * len(ascending)) - 1)]
