"""Hosts that talk to a plugin over gRPC or ZeroMQ, JSON both ways as everywhere here.

Both libraries are loaded when a host is made: they need not be installed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import orjson
import uvloop

METHOD = "/vconnect.Plugin/Handle"


class GrpcHost:
    """A ``grpc.aio`` channel over a Unix socket; the plugin is the server, as usual with gRPC."""

    plugin: ClassVar = "grpc_plugin.py"
    loop_factory: ClassVar = uvloop.new_event_loop

    async def open(self, socket: Path) -> None:
        import grpc.aio

        self._channel = grpc.aio.insecure_channel(f"unix:{socket}")
        self._call = self._channel.unary_unary(
            METHOD, request_serializer=orjson.dumps, response_deserializer=orjson.loads
        )
        await asyncio.wait_for(self._channel.channel_ready(), 10)

    async def request(self, event: str, payload: Any) -> Any:
        answer = await self._call({"event": event, "payload": payload}, timeout=5.0)
        if answer.get("status") != "ok":
            raise RuntimeError(answer.get("message"))
        return answer.get("data")

    async def close(self) -> None:
        await self._channel.close()


class ZmqHost:
    """A DEALER over ``ipc``: numbered messages, and a future for each.

    It does not use ``zmq.asyncio``, which takes several times as long: the loop watches the
    socket's descriptor, and everything that is there is read at once.
    """

    plugin: ClassVar = "zmq_plugin.py"
    loop_factory: ClassVar = uvloop.new_event_loop

    def __init__(self) -> None:
        self._futures: dict[bytes, asyncio.Future[Any]] = {}
        self._number = 0

    async def open(self, socket: Path) -> None:
        import zmq

        self._zmq = zmq
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(f"ipc://{socket}")
        self._descriptor = self._option(zmq.FD)
        self._loop.add_reader(self._descriptor, self._read)

    async def request(self, event: str, payload: Any) -> Any:
        self._number += 1
        number = b"%d" % self._number
        future = self._futures[number] = self._loop.create_future()
        body = orjson.dumps({"event": event, "payload": payload})
        self._socket.send_multipart((number, body), self._zmq.NOBLOCK)
        # The descriptor tells of changes only: what came while we wrote would never be told of.
        if len(self._futures) == 1 or self._option(self._zmq.EVENTS) & self._zmq.POLLIN:
            self._loop.call_soon(self._read)
        answer = await future
        if answer.get("status") != "ok":
            raise RuntimeError(answer.get("message"))
        return answer.get("data")

    def _option(self, option: int) -> int:
        value = self._socket.getsockopt(option)
        assert isinstance(value, int)
        return value

    def _read(self) -> None:
        try:
            while True:
                number, body = self._socket.recv_multipart(self._zmq.NOBLOCK)
                self._futures.pop(number).set_result(orjson.loads(body))
        except self._zmq.Again:
            pass

    async def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._socket.close(linger=0)
        self._context.term()
