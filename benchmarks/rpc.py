"""Rows for many events in flight beside what else one would take: gRPC and ZeroMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvloop

from . import ours
from .measure import Burst, Row, Way
from .peers import Peers
from .placement import Placement
from .roundtrips import EVENT, PAYLOAD, PLUGIN, connected, request_caller, share
from .rpc_hosts import GrpcHost, ZmqHost

IN_FLIGHT = 64


def rows() -> list[Row]:
    return [
        _row("gRPC", "grpc.aio unary, orjson", GrpcHost, "grpc"),
        _row("ZeroMQ", "pyzmq DEALER/ROUTER, orjson", ZmqHost, "zmq"),
    ]


def _row(title: str, name: str, host_type: Any, module: str) -> Row:
    placement = Placement.TWO_CORES
    return Row(
        "rpc",
        f"request beside {title}, {IN_FLIGHT} in flight, {placement}",
        placement,
        (
            Way(name, partial(_rival_round_trips, host_type), "rival", (module,)),
            Way("vconnect request (uvloop)", _round_trips),
        ),
        step=IN_FLIGHT,
    )


@contextmanager
def _round_trips(peers: Peers) -> Iterator[Burst]:
    with connected(ours.Host, uvloop.new_event_loop, peers, {PLUGIN: [EVENT]}) as (runner, host):
        caller = request_caller(host)
        yield lambda count: runner.run(share(caller, IN_FLIGHT, count))


@contextmanager
def _rival_round_trips(host_type: Any, peers: Peers) -> Iterator[Burst]:
    """Run the rival's plugin, which listens here, and connect its host."""
    socket = peers.socket_path()
    with (
        peers.plugin(host_type.plugin, socket),
        asyncio.Runner(loop_factory=host_type.loop_factory) as runner,
    ):
        host = host_type()
        runner.run(host.open(socket))
        try:
            yield lambda count: runner.run(share(partial(_calls, host), IN_FLIGHT, count))
        finally:
            runner.run(host.close())


async def _calls(host: Any, count: int) -> None:
    for _ in range(count):
        await host.request(EVENT, PAYLOAD)
