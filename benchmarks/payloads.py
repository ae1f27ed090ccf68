"""Rows for large payloads: there and back through one plugin, beside bare sockets and memory."""

from __future__ import annotations

import socket as sockets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from time import perf_counter
from typing import Any

import orjson
import uvloop

from . import ours, rival
from .measure import Burst, Row, Way
from .peers import Peers
from .placement import Placement
from .roundtrips import EVENT, PLUGIN, AnyHost, Caller, connected, share

SIZES = {"16 KiB": 16 * 1024, "1 MiB": 1024 * 1024}


#: What a plugin that does not send the payload back answers.
SHORT_ANSWER = 33


def rows() -> list[Row]:
    return [
        _row(label, size, placement, there_and_back=there_and_back)
        for label, size in SIZES.items()
        for there_and_back in (False, True)
        for placement in Placement
    ]


def _row(label: str, size: int, placement: Placement, *, there_and_back: bool) -> Row:
    payload = {"content": "x" * (size - len('{"content":""}'))}
    way_back = size if there_and_back else SHORT_ANSWER
    bare = partial(_bare, way_back)

    def through(name: str, host: type[AnyHost], make_caller: Any) -> Way:
        opened = partial(_through, host, make_caller, payload, there_and_back)
        return Way(name, opened, needs=("echo",))

    return Row(
        "payload",
        f"payload of {label} {'there and back' if there_and_back else 'there'}, {placement}",
        placement,
        (
            Way("bytes copied", partial(_copies, size, 1 + there_and_back), "floor"),
            Way("bare sendall, recv_into", partial(bare, payload, False), "rival", ("reflect",)),
            Way("the same, with orjson", partial(bare, payload, True), needs=("reflect",)),
            through("streams, lock, orjson (uvloop)", rival.Host, _hand_written),
            through("vconnect request (uvloop)", ours.Host, _request),
        ),
    )


def _request(host: ours.Host, payload: Any) -> Caller:
    async def caller(count: int) -> None:
        for _ in range(count):
            await host.request(PLUGIN, EVENT, payload)

    return caller


def _hand_written(host: rival.Host, payload: Any) -> Caller:
    plugin = host.plugins[PLUGIN]

    async def caller(count: int) -> None:
        for _ in range(count):
            await plugin.request(EVENT, payload)

    return caller


@contextmanager
def _through(
    host_type: type[AnyHost], make_caller: Any, payload: Any, reflect: bool, peers: Peers
) -> Iterator[Burst]:
    with connected(host_type, uvloop.new_event_loop, peers, {PLUGIN: [EVENT]}, reflect=reflect) as (
        runner,
        host,
    ):
        caller = make_caller(host, payload)
        yield lambda count: runner.run(share(caller, 1, count))


def _copies(size: int, times: int, _: Peers) -> Any:
    data = memoryview(b"x" * size)

    def burst(count: int) -> float:
        began = perf_counter()
        for _ in range(count * times):
            bytes(data)
        return perf_counter() - began

    return nullcontext(burst)


@contextmanager
def _bare(way_back: int, payload: Any, as_json: bool, peers: Peers) -> Iterator[Burst]:
    path = peers.socket_path()
    size = len(orjson.dumps(payload))
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        with (
            peers.plugin("reflect", path, size=size, back=way_back),
            listener.accept()[0] as connection,
        ):
            exchange = _exchange_json if as_json else _exchange
            yield partial(exchange, connection, payload, memoryview(bytearray(way_back)))


def _exchange(connection: sockets.socket, payload: Any, back: memoryview, count: int) -> float:
    message = orjson.dumps(payload)
    began = perf_counter()
    for _ in range(count):
        connection.sendall(message)
        _receive(connection, back)
    return perf_counter() - began


def _exchange_json(connection: sockets.socket, payload: Any, back: memoryview, count: int) -> float:
    comes_back = len(back) > SHORT_ANSWER
    began = perf_counter()
    for _ in range(count):
        connection.sendall(orjson.dumps(payload))
        _receive(connection, back)
        if comes_back:
            orjson.loads(back)
    return perf_counter() - began


def _receive(connection: sockets.socket, view: memoryview) -> None:
    have = 0
    while have < len(view):
        have += connection.recv_into(view[have:])
