"""Rows for one event to many plugins, per delivery: all at once, and one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvloop

from . import ours, rival
from .measure import Burst, Row, Way
from .peers import Peers
from .placement import Placement
from .roundtrips import PAYLOAD, AnyHost, Caller, c_host, connected, share

#: How many plugins, and how many events at the same time.
BROADCASTS = ((10, 1), (100, 1), (10, 64))
CHAINS = ((1, 1), (4, 1), (16, 1), (4, 64))
EVENT = "message.incoming"


def rows() -> list[Row]:
    return [
        *(_row("broadcast", "broadcast to", *numbers) for numbers in BROADCASTS),
        *(_row("chain", "chain of", *numbers) for numbers in CHAINS),
        _chain_beside_round_trips(16),
    ]


def _row(group: str, name: str, plugins: int, in_flight: int) -> Row:
    alone = group == "chain" and in_flight == 1  # nothing could run at the same time
    placement = Placement.ONE_CORE if alone else Placement.TWO_CORES
    send = _emit if group == "chain" else send_to_all
    floor = Way("C host, epoll, no JSON", partial(_c_fan_out, plugins), "floor", ("fan",))
    return Row(
        group,
        f"{name} {plugins}, {in_flight} in flight, {placement}",
        placement,
        (
            *([floor] if group == "broadcast" and in_flight == 1 else []),
            Way(
                "streams, lock, orjson (uvloop)",
                partial(_deliveries, rival.Host, send, plugins, in_flight),
                "rival",
            ),
            Way("vconnect (uvloop)", partial(_deliveries, ours.Host, send, plugins, in_flight)),
        ),
        step=plugins * in_flight,
    )


def _chain_beside_round_trips(plugins: int) -> Row:
    def way(name: str, send: Any, role: Any = "ours") -> Way:
        return Way(name, partial(_deliveries, ours.Host, send, plugins, 1), role)

    return Row(
        "chain",
        f"chain of {plugins} beside round trips, {Placement.ONE_CORE}",
        Placement.ONE_CORE,
        (
            way(f"{plugins} requests, each plugin once", _requests, "floor"),
            way(f"{plugins} requests to one plugin", _requests_to_one),
            way(f"chain of {plugins}", _emit),
        ),
        step=plugins,
    )


# What sends one event to all plugins. Both hosts have the first two.


async def _emit(host: Any) -> None:
    await host.emit(EVENT, PAYLOAD)


async def send_to_all(host: Any) -> None:
    await host.broadcast(EVENT, PAYLOAD)


async def _requests(host: ours.Host) -> None:
    for plugin in host.sessions:
        await host.request(plugin, EVENT, PAYLOAD)


async def _requests_to_one(host: ours.Host) -> None:
    for _ in host.sessions:
        await host.request("echo-0", EVENT, PAYLOAD)


@contextmanager
def _deliveries(
    host_type: type[AnyHost], send: Any, plugins: int, in_flight: int, peers: Peers
) -> Iterator[Burst]:
    capabilities = {f"echo-{number}": [EVENT] for number in range(plugins)}
    with connected(host_type, uvloop.new_event_loop, peers, capabilities) as (runner, host):
        caller = repeated(send, host)
        yield lambda count: runner.run(share(caller, in_flight, count // plugins))


def repeated(send: Any, host: Any) -> Caller:
    """Make a caller that sends one event after the other."""

    async def caller(count: int) -> None:
        for _ in range(count):
            await send(host)

    return caller


@contextmanager
def _c_fan_out(plugins: int, peers: Peers) -> Iterator[Burst]:
    capabilities = {f"echo-{number}": [EVENT] for number in range(plugins)}
    with (
        c_host("fan", peers, 1, plugins=plugins) as (socket, burst),
        peers.echoes(socket, capabilities),
    ):
        yield lambda count: burst(count // plugins)
