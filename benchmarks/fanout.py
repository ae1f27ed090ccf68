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
from .roundtrips import PAYLOAD, AnyHost, Caller, connected, share

#: How many plugins, and how many events at the same time.
BROADCASTS = ((10, 1), (100, 1), (10, 64))
CHAINS = ((1, 1), (4, 1), (16, 1), (4, 64))
EVENT = "message.incoming"


def rows() -> list[Row]:
    return [
        *(_row("broadcast", "broadcast to", *numbers) for numbers in BROADCASTS),
        *(_row("chain", "chain of", *numbers) for numbers in CHAINS),
    ]


def _row(group: str, name: str, plugins: int, in_flight: int) -> Row:
    alone = group == "chain" and in_flight == 1  # nothing could run at the same time
    placement = Placement.ONE_CORE if alone else Placement.TWO_CORES
    return Row(
        group,
        f"{name} {plugins}, {in_flight} in flight, {placement}",
        placement,
        (
            Way(
                "streams, lock, orjson (uvloop)",
                partial(_deliveries, rival.Host, group, plugins, in_flight),
                "rival",
            ),
            Way("vconnect (uvloop)", partial(_deliveries, ours.Host, group, plugins, in_flight)),
        ),
        step=plugins * in_flight,
    )


def _sender(group: str, host: AnyHost) -> Caller:
    """Both hosts have both methods."""
    send: Any = host.emit if group == "chain" else host.broadcast

    async def caller(count: int) -> None:
        for _ in range(count):
            await send(EVENT, PAYLOAD)

    return caller


@contextmanager
def _deliveries(
    host_type: type[AnyHost], group: str, plugins: int, in_flight: int, peers: Peers
) -> Iterator[Burst]:
    capabilities = {f"echo-{number}": [EVENT] for number in range(plugins)}
    with connected(host_type, uvloop.new_event_loop, peers, capabilities) as (runner, host):
        caller = _sender(group, host)
        yield lambda count: runner.run(share(caller, in_flight, count // plugins))
