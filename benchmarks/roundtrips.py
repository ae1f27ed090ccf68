"""Rows for round trips: an event to one plugin and its answer back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic, perf_counter
from typing import Any

import uvloop

from vconnect.session import encode_classic_event

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
#: Given a connected host: what to await for one operation, with its arguments.
Asker = Callable[[Any], tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]]]


def rows() -> list[Row]:
    return [_row(in_flight, placement) for in_flight in IN_FLIGHT for placement in Placement]


def _row(in_flight: int, placement: Placement) -> Row:
    def vconnect(loop_factory: LoopFactory, asker: Asker) -> Callable[[Peers], Any]:
        return partial(_round_trips, ours.Host, loop_factory, asker, in_flight)

    by_hand = partial(_round_trips, rival.Host, uvloop.new_event_loop, _hand_written, in_flight)
    return Row(
        "roundtrip",
        f"{in_flight} in flight, {placement}",
        placement,
        (
            Way("C host, no JSON", partial(_c_round_trips, in_flight), "floor"),
            Way("streams, lock, orjson (uvloop)", by_hand, "rival"),
            Way("vconnect lane (uvloop)", vconnect(uvloop.new_event_loop, _lane)),
            Way("vconnect request (uvloop)", vconnect(uvloop.new_event_loop, _request)),
            Way("vconnect lane (asyncio)", vconnect(asyncio.new_event_loop, _lane)),
            Way("vconnect request (asyncio)", vconnect(asyncio.new_event_loop, _request)),
        ),
        step=in_flight,
    )


def _request(host: ours.Host) -> Any:
    return host.request, (PLUGIN, EVENT, PAYLOAD)


def _lane(host: ours.Host) -> Any:
    call = host.sessions[PLUGIN].call

    def ask(event: str, payload: Any) -> Awaitable[Any]:
        return call(encode_classic_event(event, payload, 1 << 20), monotonic() + 5.0)

    return ask, (EVENT, PAYLOAD)


def _hand_written(host: rival.Host) -> Any:
    return host.plugins[PLUGIN].request, (EVENT, PAYLOAD)


@contextmanager
def _round_trips(
    host_type: type[AnyHost],
    loop_factory: LoopFactory,
    asker: Asker,
    in_flight: int,
    peers: Peers,
) -> Iterator[Burst]:
    with connected(host_type, loop_factory, peers, {PLUGIN: [EVENT]}) as (runner, host):
        ask, args = asker(host)
        yield lambda count: runner.run(callers(ask, args, in_flight, count))


async def callers(
    ask: Callable[..., Awaitable[Any]], args: tuple[Any, ...], in_flight: int, count: int
) -> float:
    """Let so many callers, one event each at a time, share ``count`` events; return the seconds."""

    async def caller() -> None:
        for _ in range(count // in_flight):
            await ask(*args)

    began = perf_counter()
    if in_flight == 1:
        await caller()
    else:
        await asyncio.gather(*[caller() for _ in range(in_flight)])
    return perf_counter() - began


@contextmanager
def connected(
    host_type: type[AnyHost],
    loop_factory: LoopFactory,
    peers: Peers,
    capabilities: dict[str, list[str]],
) -> Iterator[tuple[asyncio.Runner, Any]]:
    """Run a host on a loop of its own, with one echo plugin for each name."""
    socket = peers.socket_path()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        host = host_type(socket)
        runner.run(host.open())
        try:
            with peers.echoes(socket, capabilities):
                runner.run(host.wait_for(len(capabilities)))
                yield runner, host
        finally:
            runner.run(host.close())


@contextmanager
def _c_round_trips(in_flight: int, peers: Peers) -> Iterator[Burst]:
    socket = peers.socket_path()
    event = rival.encode_event(EVENT, PAYLOAD)[4:]
    with peers.c_host(socket, event) as host, peers.echoes(socket, {PLUGIN: [EVENT]}):

        def burst(count: int) -> float:
            assert host.stdin is not None
            assert host.stdout is not None
            host.stdin.write(f"{in_flight} {count}\n")
            host.stdin.flush()
            return int(host.stdout.readline()) / 1e9

        yield burst
