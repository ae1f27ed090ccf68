"""Rows for one event to many plugins, per delivery: all at once, and one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvloop

from . import ours, rival
from .measure import Burst, Row, Way
from .peers import Peers
from .placement import Placement
from .roundtrips import PAYLOAD, AnyHost, callers, connected

BROADCASTS = (10, 100)
CHAINS = (1, 4, 16)
EVENT = "message.incoming"


def rows() -> list[Row]:
    return [
        *(_row("broadcast", f"broadcast to {n}", n, Placement.TWO_CORES) for n in BROADCASTS),
        *(_row("chain", f"chain of {n}", n, Placement.ONE_CORE) for n in CHAINS),
    ]


def _row(group: str, name: str, plugins: int, placement: Placement) -> Row:
    return Row(
        group,
        f"{name}, {placement}",
        placement,
        (
            Way(
                "streams, lock, orjson (uvloop)",
                partial(_deliveries, rival.Host, _hand_written(group), plugins),
                "rival",
            ),
            Way("vconnect (uvloop)", partial(_deliveries, ours.Host, _vconnect(group), plugins)),
        ),
        step=plugins,
    )


def _vconnect(group: str) -> Callable[[ours.Host], Any]:
    if group == "chain":
        return lambda host: host.emit
    return lambda host: host.broadcast


def _hand_written(group: str) -> Callable[[rival.Host], Any]:
    return lambda host: host.emit if group == "chain" else host.broadcast


@contextmanager
def _deliveries(
    host_type: type[AnyHost], method: Callable[[Any], Any], plugins: int, peers: Peers
) -> Iterator[Burst]:
    capabilities = {f"echo-{number}": [EVENT] for number in range(plugins)}
    with connected(host_type, uvloop.new_event_loop, peers, capabilities) as (runner, host):
        send = method(host)
        yield lambda count: runner.run(callers(send, (EVENT, PAYLOAD), 1, count // plugins))
