"""One build under test, for `benchmarks.against`: runs the hot rows when it is told to.

It uses public names of vconnect only, so that it runs against every build that has them. On its
standard input it reads lines ``ROW COUNT``; for each it prints the seconds that COUNT operations
of the row took. Host and plugins share one core: what the work itself costs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import uvloop

import vconnect
from vconnect._framing import FrameDecoder

from .peers import Peers
from .placement import Placement

Burst = Callable[[vconnect.PluginRuntimeManager, int], Coroutine[Any, Any, None]]

EVENT = "message.incoming"
TO_ONE, TO_FOUR, TO_SIXTEEN = "to.one", "to.four", "to.sixteen"
PAYLOAD = {"message_id": "0190a5b2-7c1e", "from_uid": "user123", "content": "At eight?"}
MEBIBYTE = {"content": "x" * (1 << 20)}
IN_FLIGHT = 64
_POLL_S = 0.01

CAPABILITIES = {
    f"p{number}": [
        TO_SIXTEEN,
        *([TO_FOUR] if number < 4 else []),
        *([TO_ONE] if number < 1 else []),
    ]
    for number in range(16)
}


async def _in_turn(payload: object, runtime: vconnect.PluginRuntimeManager, count: int) -> None:
    for _ in range(count):
        await runtime.request("p0", EVENT, payload)


async def _in_flight(runtime: vconnect.PluginRuntimeManager, count: int) -> None:
    share = max(1, count // IN_FLIGHT)
    await asyncio.gather(*[_in_turn(PAYLOAD, runtime, share) for _ in range(IN_FLIGHT)])


async def _chain(event: str, runtime: vconnect.PluginRuntimeManager, count: int) -> None:
    for _ in range(count):
        await runtime.emit(event, PAYLOAD)


async def _fan_out(runtime: vconnect.PluginRuntimeManager, count: int) -> None:
    for _ in range(count):
        await runtime.broadcast(TO_SIXTEEN, PAYLOAD)


async def _notify(runtime: vconnect.PluginRuntimeManager, count: int) -> None:
    """Notify in batches that fit into the queue; the request at the end waits for each batch."""
    for _ in range(max(1, count // IN_FLIGHT)):
        for _ in range(IN_FLIGHT):
            runtime.notify(TO_ONE, PAYLOAD)
        await runtime.request("p0", EVENT, PAYLOAD)


async def _decode(_: vconnect.PluginRuntimeManager, count: int) -> None:
    payload = json.dumps(PAYLOAD).encode()
    data = (len(payload).to_bytes(4, "big") + payload) * 64
    decoder = FrameDecoder(1 << 24)
    for _turn in range(max(1, count // 64)):
        decoder.feed(data)


ROWS: dict[str, Burst] = {
    "request, 64 in flight": _in_flight,
    "request, one at a time": partial(_in_turn, PAYLOAD),
    "request, 1 MiB": partial(_in_turn, MEBIBYTE),
    "emit, chain of 1": partial(_chain, TO_ONE),
    "emit, chain of 4": partial(_chain, TO_FOUR),
    "broadcast to 16": _fan_out,
    "notify": _notify,
    "decode": _decode,
}


@contextmanager
def serving(peers: Peers) -> Iterator[tuple[asyncio.Runner, vconnect.PluginRuntimeManager]]:
    """Run a host on uvloop, with sixteen echo plugins."""
    socket = peers.socket_path()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runtime = vconnect.PluginRuntimeManager(
            plugin_dir=str(socket.with_suffix(".plugins")),
            socket_path=str(socket),
            allow_external=True,
        )
        runner.run(runtime.open())
        try:
            with peers.echoes(socket, CAPABILITIES):
                runner.run(_all_running(runtime))
                yield runner, runtime
        finally:
            runner.run(runtime.close())


async def _all_running(runtime: vconnect.PluginRuntimeManager) -> None:
    while sum(one.status == "Running" for one in runtime.runtime_summaries()) < len(CAPABILITIES):
        await asyncio.sleep(_POLL_S)


def main() -> None:
    with (
        Peers() as peers,
        peers.placed(Placement.ONE_CORE),
        serving(peers) as (runner, runtime),
    ):
        print(vconnect.__file__, flush=True)
        for line in sys.stdin:
            row, _, count = line.rpartition(" ")
            began = perf_counter()
            runner.run(ROWS[row](runtime, int(count)))
            print(perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
