"""The rivals: what one writes by hand in an afternoon, without mistakes and without tricks."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import orjson

_HEADER = struct.Struct(">I")


def encode_event(event: str, payload: Any) -> bytes:
    """Write an event as a frame, with ``struct``."""
    body = orjson.dumps({"event": event, "event_type": event, "payload": payload})
    return _HEADER.pack(len(body)) + body


class StructDecoder:
    """Cut a byte stream into payloads, with ``struct`` and slices."""

    def __init__(self, max_frame_bytes: int = 16 * 1024 * 1024) -> None:
        self._kept = b""
        self._max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes) -> list[bytes]:
        if self._kept:
            data = self._kept + data
        payloads = []
        position = 0
        while len(data) - position >= 4:
            (length,) = _HEADER.unpack_from(data, position)
            if not 0 < length <= self._max_frame_bytes:
                raise ValueError(f"frame of {length} bytes")
            end = position + 4 + length
            if end > len(data):
                break
            payloads.append(data[position + 4 : end])
            position = end
        self._kept = data[position:]
        return payloads


class Connection:
    """One plugin's connection: a lock makes each answer belong to its event."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()

    async def request(self, event: str, payload: Any) -> Any:
        frame = encode_event(event, payload)
        async with self._lock:
            self._writer.write(frame)
            await self._writer.drain()
            answer = orjson.loads(await self._read())
        if answer.get("status") != "ok":
            raise RuntimeError(answer.get("message"))
        return answer.get("data")

    async def shake_hands(self) -> dict[str, Any]:
        handshake: dict[str, Any] = orjson.loads(await self._read())
        body = orjson.dumps({"status": "ok", "config": {}})
        self._writer.write(_HEADER.pack(len(body)) + body)
        await self._writer.drain()
        return handshake

    def close(self) -> None:
        self._writer.close()

    async def _read(self) -> bytes:
        (length,) = _HEADER.unpack(await self._reader.readexactly(4))
        return await self._reader.readexactly(length)


class Host:
    """A host around such connections: events go to the plugins that named them."""

    def __init__(self, socket: Path) -> None:
        self.plugins: dict[str, Connection] = {}
        self.routes: dict[str, list[Connection]] = {}
        self._socket = socket
        self._changed = asyncio.Event()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self._socket)

    async def close(self) -> None:
        self._server.close()
        for connection in self.plugins.values():
            connection.close()

    async def wait_for(self, plugins: int) -> None:
        while len(self.plugins) < plugins:
            self._changed.clear()
            await self._changed.wait()

    async def emit(self, event: str, payload: Any) -> list[Any]:
        """Send the event to one plugin after the other."""
        return [await plugin.request(event, payload) for plugin in self.routes[event]]

    async def broadcast(self, event: str, payload: Any) -> list[Any]:
        """Send the event to all plugins at once."""
        plugins = self.routes[event]
        return await asyncio.gather(*[plugin.request(event, payload) for plugin in plugins])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        handshake = await connection.shake_hands()
        self.plugins[handshake["name"]] = connection
        for event in handshake["capabilities"]:
            self.routes.setdefault(event, []).append(connection)
        self._changed.set()
