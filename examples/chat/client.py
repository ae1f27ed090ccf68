"""One browser at the other end of a WebSocket."""

from __future__ import annotations

import asyncio
import time

from aiohttp import WSCloseCode, web

from .protocol import ToClient, User, encode

MAX_UNSENT = 256
FRAMES_PER_SECOND = 10
# A client that goes on although each of its frames is refused is no person.
MAX_REFUSED_IN_A_ROW = 100


class Allowance:
    """Ten frames at once, and ten more each second."""

    def __init__(self) -> None:
        self._left = float(FRAMES_PER_SECOND)
        self._counted_at = time.monotonic()

    def take(self) -> bool:
        """Take one; false if none is left."""
        now = time.monotonic()
        gained = (now - self._counted_at) * FRAMES_PER_SECOND
        self._left = min(self._left + gained, float(FRAMES_PER_SECOND))
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Client:
    """Sends to one WebSocket without waiting, and counts what comes from it.

    A browser that reads too slowly loses its connection: the others do not wait for it, and what
    is kept for it has a limit.
    """

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None
    ) -> None:
        self.user = User(uid="", name="")
        self._socket = socket
        self._transport = transport
        self._unsent: asyncio.Queue[str] = asyncio.Queue(MAX_UNSENT)
        self._allowance = Allowance()
        self._refused_in_a_row = 0

    def send(self, message: ToClient) -> None:
        """Send something after all that was sent before it, without waiting."""
        try:
            self._unsent.put_nowait(encode(message))
        except asyncio.QueueFull:
            self._abort()

    async def write(self) -> None:
        """Write what was sent, until the connection ends."""
        try:
            while True:
                await self._socket.send_str(await self._unsent.get())
        except ConnectionError:
            return  # the handler, which reads, notices as well

    def may_send_another(self) -> bool:
        """Count a frame; false if it is one too many."""
        if self._allowance.take():
            self._refused_in_a_row = 0
            return True
        self._refused_in_a_row += 1
        return False

    @property
    def is_flooding(self) -> bool:
        return self._refused_in_a_row > MAX_REFUSED_IN_A_ROW

    async def close(self, why: str, code: int = WSCloseCode.POLICY_VIOLATION) -> None:
        """Say why, and end the connection."""
        await self._socket.close(code=code, message=why.encode())

    def _abort(self) -> None:
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()
