"""Rows for plugins made with the Python SDK, beside the plugin in C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import uvloop

from . import ours
from .measure import Burst, Row, Way
from .peers import Peers
from .placement import Placement
from .roundtrips import EVENT, IN_FLIGHT, PLUGIN, request_caller, share

#: Runs the plugin, for a host that listens there.
MakePlugin = Callable[[Peers, Path], AbstractContextManager[object]]


def rows() -> list[Row]:
    return [
        Row(
            "sdk",
            f"request to a plugin, {in_flight} in flight, {placement}",
            placement,
            (
                Way("C plugin", partial(_round_trips, _c_plugin, in_flight), "floor", ("echo",)),
                Way("Python SDK plugin", partial(_round_trips, _sdk_plugin, in_flight)),
            ),
            step=in_flight,
        )
        for in_flight in IN_FLIGHT
        for placement in Placement
    ]


def _c_plugin(peers: Peers, socket: Path) -> AbstractContextManager[object]:
    return peers.echoes(socket, {PLUGIN: [EVENT]})


def _sdk_plugin(peers: Peers, socket: Path) -> AbstractContextManager[object]:
    return peers.plugin("sdk_plugin.py", socket, **{"log-level": "error"})


@contextmanager
def _round_trips(plugin: MakePlugin, in_flight: int, peers: Peers) -> Iterator[Burst]:
    socket = peers.socket_path()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        host = ours.Host(socket)
        runner.run(host.open())
        try:
            with plugin(peers, socket):
                runner.run(host.wait_for(1))
                caller = request_caller(host)
                yield lambda count: runner.run(share(caller, in_flight, count))
        finally:
            runner.run(host.close())
