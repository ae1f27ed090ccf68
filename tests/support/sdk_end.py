"""The plugin's end without a socket: what a pipeline writes to, and a plugin that waits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from vconnect import Context, Plugin, on


class Transport:
    """Notes when reading is paused and resumed."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class Sink:
    """Takes what a stream would send. Without a transport, nothing is ever paused."""

    def __init__(self, transport: Transport | None = None) -> None:
        self.frames: list[Any] = []
        self.transport = transport

    def send(self, frame: bytes) -> None:
        assert int.from_bytes(frame[:4], "big") == len(frame) - 4
        self.frames.append(json.loads(frame[4:]))


class GatedPlugin(Plugin):
    """A plugin whose slow handlers end when the test opens their gates.

    Attributes:
        gates: Of the slow handlers, by payload.
        entered: The payloads whose handlers were called, in order.
        cancelled: Those whose handlers were cancelled.
    """

    plugin_no = "wk.plugin.example"

    def __init__(self) -> None:
        self.gates: dict[Any, asyncio.Event] = {}
        self.entered: list[Any] = []
        self.cancelled: list[Any] = []

    @on("plain")
    def plain(self, ctx: Context) -> None:
        self.entered.append(ctx.payload)
        ctx.reply(ctx.payload)

    @on("slow")
    async def slow(self, ctx: Context) -> None:
        self.entered.append(ctx.payload)
        try:
            await self.gates.setdefault(ctx.payload, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(ctx.payload)
            raise
        ctx.reply(ctx.payload)

    @on("fail")
    def fail(self, ctx: Context) -> None:
        raise ValueError("asked to fail")

    @on("fail.later")
    async def fail_later(self, ctx: Context) -> None:
        raise KeyError

    def release(self, payload: Any) -> None:
        """Open the gate of a payload's handler."""
        self.gates.setdefault(payload, asyncio.Event()).set()
