"""Rows for a host with a thousand plugins: what one delivery costs there and with ten."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from typing import Any

import orjson
import uvloop

from . import ours
from .fanout import EVENT, repeated, send_to_all
from .measure import Burst, Role, Row, Way
from .peers import Peers
from .placement import Placement
from .roundtrips import PAYLOAD, Caller, share

FEW, MANY = 10, 1000
#: Descriptors beside the plugins' own.
_OTHER_FILES = 256


def rows() -> list[Row]:
    return [
        _row("broadcast to all", _broadcasts, 1, beside=FEW),
        _row("request to each in turn, 1 in flight", _requests, 1, beside=FEW),
        # With ten, six events share a system call, which with a hundred and more goes for one.
        _row("request to each in turn, 64 in flight", _requests, 64, beside=100),
    ]


def _row(what: str, make_caller: Any, in_flight: int, *, beside: int) -> Row:
    def way(plugins: int) -> Way:
        opened = partial(_deliveries, make_caller, plugins, in_flight)
        role: Role = "floor" if plugins == beside else "ours"
        return Way(f"{plugins:,} plugins", opened, role, ("crowd",))

    return Row(
        "scale",
        f"{what}, {Placement.TWO_CORES}",
        Placement.TWO_CORES,
        (way(FEW), way(100), way(MANY)),
        step=MANY * in_flight,
    )


def _broadcasts(host: ours.Host) -> Caller:
    plugins = len(host.sessions)
    caller = repeated(send_to_all, host)

    async def deliver(count: int) -> None:
        await caller(count // plugins)

    return deliver


def _requests(host: ours.Host) -> Caller:
    plugins = cycle(host.sessions)  # all callers together go round

    async def caller(count: int) -> None:
        for plugin in islice(plugins, count):
            await host.request(plugin, EVENT, PAYLOAD)

    return caller


@contextmanager
def _deliveries(make_caller: Any, plugins: int, in_flight: int, peers: Peers) -> Iterator[Burst]:
    socket = peers.socket_path()
    capabilities = orjson.dumps([EVENT]).decode()
    allow_files(plugins)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        host = ours.Host(socket)
        runner.run(host.open())
        try:
            with peers.plugin("crowd", socket, plugins=plugins, capabilities=capabilities):
                runner.run(host.wait_for(plugins))
                caller = make_caller(host)
                yield lambda count: runner.run(share(caller, in_flight, count))
        finally:
            runner.run(host.close())


def allow_files(plugins: int) -> None:
    """Raise the limit of open files as far as so many connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = plugins + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
