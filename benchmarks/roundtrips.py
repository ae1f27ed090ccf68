"""Rows for round trips: an event to one plugin and its answer back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import uvloop

from vconnect.wire.messages import encode_event

from . import ours, rival
from .measure import Burst, Row, Way
from .peers import Peers
from .placement import Placement

PLUGIN = "echo"
EVENT = "message.incoming"
PAYLOAD = {
    "message_id": "0190a5b2-7c1e-7d3a-9f00-3b6c2f1d8e4a",
    "from_uid": "user123",
    "to_uid": "user456",
    "content": "Shall we meet at the harbor at eight?",
    "message_type": "text",
    "timestamp": 1733990400123,
}
IN_FLIGHT = (1, 64)

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
AnyHost = ours.Host | rival.Host
#: Sends so many events, each after the answer to the one before.
Caller = Callable[[int], Coroutine[Any, Any, None]]
#: Makes the caller of a connected host.
MakeCaller = Callable[[Any], Caller]


def rows() -> list[Row]:
    return [_row(in_flight, placement) for in_flight in IN_FLIGHT for placement in Placement]


def _row(in_flight: int, placement: Placement) -> Row:
    def vconnect(loop_factory: LoopFactory, make: MakeCaller) -> Callable[[Peers], Any]:
        return partial(_round_trips, ours.Host, loop_factory, make, in_flight)

    by_hand = partial(_round_trips, rival.Host, uvloop.new_event_loop, _hand_written, in_flight)
    return Row(
        "request",
        f"request, {in_flight} in flight, {placement}",
        placement,
        (
            Way("C host, no JSON", partial(_c_round_trips, in_flight), "floor", ("host",)),
            Way("streams, lock, orjson (uvloop)", by_hand, "rival"),
            Way("vconnect lane (uvloop)", vconnect(uvloop.new_event_loop, _lane)),
            Way("vconnect request (uvloop)", vconnect(uvloop.new_event_loop, request_caller)),
            Way("vconnect lane (asyncio)", vconnect(asyncio.new_event_loop, _lane)),
            Way("vconnect request (asyncio)", vconnect(asyncio.new_event_loop, request_caller)),
        ),
        step=in_flight,
    )


def request_caller(host: ours.Host) -> Caller:
    async def caller(count: int) -> None:
        for _ in range(count):
            await host.request(PLUGIN, EVENT, PAYLOAD)

    return caller


def _lane(host: ours.Host) -> Caller:
    session = host.sessions[PLUGIN]

    async def caller(count: int) -> None:
        for _ in range(count):
            await session.call(encode_event(EVENT, PAYLOAD, 1 << 20), monotonic() + 5.0)

    return caller


def _hand_written(host: rival.Host) -> Caller:
    plugin = host.plugins[PLUGIN]

    async def caller(count: int) -> None:
        for _ in range(count):
            await plugin.request(EVENT, PAYLOAD)

    return caller


@contextmanager
def _round_trips(
    host_type: type[AnyHost],
    loop_factory: LoopFactory,
    make_caller: MakeCaller,
    in_flight: int,
    peers: Peers,
) -> Iterator[Burst]:
    with connected(host_type, loop_factory, peers, {PLUGIN: [EVENT]}) as (runner, host):
        caller = make_caller(host)
        yield lambda count: runner.run(share(caller, in_flight, count))


async def share(caller: Caller, in_flight: int, count: int) -> float:
    """Let so many callers at the same time share ``count`` events; return the seconds."""
    began = perf_counter()
    if in_flight == 1:
        await caller(count)
    else:
        await asyncio.gather(*[caller(count // in_flight) for _ in range(in_flight)])
    return perf_counter() - began


@contextmanager
def connected(
    host_type: type[AnyHost],
    loop_factory: LoopFactory,
    peers: Peers,
    capabilities: dict[str, list[str]],
    *,
    reflect: bool = False,
) -> Iterator[tuple[asyncio.Runner, Any]]:
    """Run a host on a loop of its own, with one echo plugin for each name."""
    socket = peers.socket_path()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        host = host_type(socket)
        runner.run(host.open())
        try:
            with peers.echoes(socket, capabilities, reflect=reflect):
                runner.run(host.wait_for(len(capabilities)))
                yield runner, host
        finally:
            runner.run(host.close())


@contextmanager
def _c_round_trips(in_flight: int, peers: Peers) -> Iterator[Burst]:
    with c_host("host", peers, in_flight) as (host, burst), peers.echoes(host, {PLUGIN: [EVENT]}):
        yield burst


@contextmanager
def c_host(
    program: str, peers: Peers, in_flight: int, **options: object
) -> Iterator[tuple[Path, Burst]]:
    """Run one of the C hosts; yields where it listens, and its burst."""
    socket = peers.socket_path()
    event = rival.encode_event(EVENT, PAYLOAD)[4:].decode()
    with peers.host(program, socket, event=event, **options) as host:

        def burst(count: int) -> float:
            assert host.stdin is not None
            assert host.stdout is not None
            host.stdin.write(f"{in_flight} {count}\n")
            host.stdin.flush()
            return int(host.stdout.readline()) / 1e9

        yield socket, burst
