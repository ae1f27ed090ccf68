"""The classic dialect at the plugin's end: one answer per event, in the order of the events."""

# An event with a plain handler and nothing unanswered ahead of it is answered at once, without a
# task or a queue. All others get a position in a queue. As many workers as the plugin's
# `concurrency` call their handlers, and finished answers wait for those ahead of them.

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from vconnect.wire._stream import FrameStream

from .answering import MAX_WAITING, Backpressure, call_handler, encode_answer, handle, refuse
from .context import Context
from .handlers import Handler, HandlerTable
from .plugin import Plugin


class _Place:
    """One event's position in the queue."""

    __slots__ = ("context", "frame", "handler", "pending")

    def __init__(self, context: Context, handler: Handler, pending: Awaitable[None] | None) -> None:
        self.context = context
        self.handler = handler
        self.pending = pending  # what the handler returned, if it has already been called
        self.frame: bytes | None = None

    def discard(self) -> None:
        """Close a coroutine that was never awaited, which Python would warn about."""
        pending = self.pending
        if inspect.iscoroutine(pending) and inspect.getcoroutinestate(pending) == "CORO_CREATED":
            pending.close()


class Pipeline:
    """The events of one connection.

    It starts closed: events that arrive before `open` wait, so that none overtakes ``on_start``.

    Args:
        plugin: The plugin whose handlers are called.
        stream: The connection to the host.
    """

    def __init__(self, plugin: Plugin, stream: FrameStream) -> None:
        self._plugin = plugin
        self._stream = stream
        self._table = HandlerTable(plugin)
        # Asked once, because it would otherwise be asked for every event.
        self._debug = plugin.log.isEnabledFor(logging.DEBUG)
        self._is_open = False
        self._places: deque[_Place] = deque()
        # The same events in two orders: `_places` in the order of their answers, `_queue` in that
        # of their handlers.
        self._queue: asyncio.Queue[_Place] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._backpressure = Backpressure(stream, MAX_WAITING)
        self._when_idle: Callable[[], None] | None = None

    def open(self) -> None:
        """Start calling handlers."""
        self._is_open = True
        # Events that arrived before on_start had finished.
        for _ in range(min(self._queue.qsize(), self._plugin.concurrency)):
            self._add_worker()

    def accept(self, message: dict[str, Any]) -> None:
        """Process the next event: answer it now, or queue it."""
        # The original host sends both keys; other hosts may send either.
        event = message.get("event") or message.get("event_type")
        handler, waits = self._table.find(event) if isinstance(event, str) else (refuse, False)
        context = Context(self._plugin, str(event), message.get("payload"))
        if self._debug:
            self._plugin.log.debug("event %s", event)
        if waits or self._places or not self._is_open:
            self._line_up(_Place(context, handler, None))
        else:
            self._answer_now(context, handler)

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Stop reading, and call ``callback`` once every event read so far has been answered."""
        self._backpressure.pause()
        if self._places:
            self._when_idle = callback
        else:
            callback()

    def close(self) -> None:
        """Drop unanswered events, and cancel running handlers."""
        self._is_open = False
        for worker in self._workers:
            worker.cancel()
        for place in self._places:
            place.discard()
        self._places.clear()

    def _answer_now(self, context: Context, handler: Handler) -> None:
        pending = call_handler(context, handler)
        if pending is None:
            # The fast path: nothing is ahead of this event, so its answer may go at once.
            self._stream.send(encode_answer(context))
        else:
            self._line_up(_Place(context, handler, pending))

    def _line_up(self, place: _Place) -> None:
        self._places.append(place)
        self._queue.put_nowait(place)
        # Workers are added as needed: most plugins never have two events at once.
        if self._is_open and len(self._workers) < self._plugin.concurrency:
            self._add_worker()
        if len(self._places) >= MAX_WAITING:
            self._backpressure.pause()

    def _add_worker(self) -> None:
        self._workers.append(asyncio.get_running_loop().create_task(self._work()))

    async def _work(self) -> None:
        while self._is_open:  # ends the loop even if a handler swallows its cancellation
            place = await self._queue.get()
            await handle(place.context, place.handler, place.pending)
            place.frame = encode_answer(place.context)
            self._send_answered()

    def _send_answered(self) -> None:
        """Send finished answers, up to the first event without one."""
        places = self._places
        while places and (frame := places[0].frame) is not None:
            self._stream.send(frame)
            places.popleft()
        if self._when_idle is not None:
            if not places:
                self._when_idle()
        else:
            self._backpressure.eased(len(places))
