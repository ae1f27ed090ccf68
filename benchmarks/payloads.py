"""Rows for large payloads: there and back through one plugin, beside bare sockets and memory."""

from __future__ import annotations

import socket as sockets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from time import perf_counter
from typing import Any

import uvloop

from . import ours, rival
from .measure import Burst, Row, Way
from .peers import Peers
from .placement import Placement
from .roundtrips import EVENT, PLUGIN, AnyHost, Caller, connected, share

SIZES = {"16 KiB": 16 * 1024, "1 MiB": 1024 * 1024}


def rows() -> list[Row]:
    return [
        _row(label, size, placement) for label, size in SIZES.items() for placement in Placement
    ]


def _row(label: str, size: int, placement: Placement) -> Row:
    payload = {"content": "x" * (size - len('{"content":""}'))}
    return Row(
        "payload",
        f"payload of {label} there and back, {placement}",
        placement,
        (
            Way("bytes copied twice", partial(_copies, size), "floor"),
            Way("bare sendall, recv_into", partial(_bare, size), "rival", ("reflect",)),
            _through("streams, lock, orjson (uvloop)", rival.Host, _hand_written, payload),
            _through("vconnect request (uvloop)", ours.Host, _request, payload),
        ),
    )


def _through(name: str, host: type[AnyHost], make_caller: Any, payload: Any) -> Way:
    return Way(name, partial(_reflected, host, make_caller, payload), needs=("echo",))


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
def _reflected(
    host_type: type[AnyHost], make_caller: Any, payload: Any, peers: Peers
) -> Iterator[Burst]:
    with connected(host_type, uvloop.new_event_loop, peers, {PLUGIN: [EVENT]}, reflect=True) as (
        runner,
        host,
    ):
        caller = make_caller(host, payload)
        yield lambda count: runner.run(share(caller, 1, count))


def _copies(size: int, _: Peers) -> Any:
    data = memoryview(b"x" * size)

    def burst(count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            bytes(data)
            bytes(data)
        return perf_counter() - began

    return nullcontext(burst)


@contextmanager
def _bare(size: int, peers: Peers) -> Iterator[Burst]:
    path = peers.socket_path()
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        with peers.plugin("reflect", path, size=size), listener.accept()[0] as connection:
            yield partial(_exchange, connection, b"x" * size)


def _exchange(connection: sockets.socket, message: bytes, count: int) -> float:
    buffer = bytearray(len(message))
    view = memoryview(buffer)
    began = perf_counter()
    for _ in range(count):
        connection.sendall(message)
        have = 0
        while have < len(message):
            have += connection.recv_into(view[have:])
    return perf_counter() - began
