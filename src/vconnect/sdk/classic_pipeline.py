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

from vconnect._framing import DEFAULT_MAX_FRAME_BYTES, encode_frame
from vconnect.errors import PayloadError
from vconnect.wire._stream import FrameStream
from vconnect.wire.messages import RESERVED_PREFIX

from .context import Context
from .handlers import Handler, HandlerTable, settle
from .plugin import Plugin

MAX_WAITING = 1024
"""Unanswered events at which the plugin stops reading; a host's window is far smaller."""


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
        self._debug = plugin.log.isEnabledFor(logging.DEBUG)
        self._is_open = False
        self._places: deque[_Place] = deque()
        self._queue: asyncio.Queue[_Place] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._reading_paused = False
        self._when_idle: Callable[[], None] | None = None

    def open(self) -> None:
        """Start calling handlers."""
        self._is_open = True
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
        self._pause_reading()
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
        pending = None
        try:
            pending = handler(context)
        except Exception as error:  # noqa: BLE001 - the author's code
            report_failure(context, error)
        # The handler may be a plain function that returns a coroutine.
        if pending is not None and inspect.isawaitable(pending):
            self._line_up(_Place(context, handler, pending))
        else:
            self._stream.send(encode_answer(context))

    def _line_up(self, place: _Place) -> None:
        self._places.append(place)
        self._queue.put_nowait(place)
        # Workers are added as needed: most plugins never have two events at once.
        if self._is_open and len(self._workers) < self._plugin.concurrency:
            self._add_worker()
        if len(self._places) >= MAX_WAITING:
            self._pause_reading()

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
        # At half the limit, so that reading is not switched for every event.
        elif self._reading_paused and len(places) <= MAX_WAITING // 2:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._stream.transport is not None:
            self._reading_paused = True
            self._stream.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._stream.transport is not None:
            self._reading_paused = False
            self._stream.transport.resume_reading()


async def handle(
    context: Context, handler: Handler, pending: Awaitable[None] | None = None
) -> None:
    """Run a handler; an exception becomes its answer.

    Args:
        context: The event.
        handler: Its handler.
        pending: What the handler returned, if it has already been called.
    """
    try:
        await settle(handler(context) if pending is None else pending)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # this task itself is cancelled: the connection is closed
        report_failure(context, error)  # only something that the handler awaited was cancelled
    except Exception as error:  # noqa: BLE001 - the author's code
        report_failure(context, error)


def report_failure(context: Context, error: BaseException) -> None:
    """Turn an exception into the event's answer, and log it with its traceback."""
    context.log.error("the handler of %s failed", context.event, exc_info=error)
    text = str(error)
    kind = type(error).__name__
    context.reply_error(f"{kind}: {text}" if text else kind)


def encode_answer(
    context: Context, number: int | None = None, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
) -> bytes:
    """Encode the event's answer as a frame; an answer that cannot be sent becomes an error.

    Args:
        context: The event.
        number: Its id in the native dialect; ``None`` in the classic dialect.
        max_frame_bytes: The host's limit.
    """
    try:
        return encode_frame(_address(context.answer(), number), max_frame_bytes)
    except PayloadError as error:
        context.log.error("the answer to %s cannot be sent: %s", context.event, error)
        context.reply_error(f"the answer cannot be sent: {error}", code="internal")
        # Without the limit: an error is short, and an event must have an answer.
        return encode_frame(_address(context.answer(), number))


def _address(answer: dict[str, Any], number: int | None) -> dict[str, Any]:
    """Turn an answer into a native reply, with the event's id and a code for each error."""
    if number is None:
        return answer
    answer["id"] = number
    if answer["status"] == "error":
        answer.setdefault("code", "internal")
    return answer


def refuse(context: Context) -> None:
    """Answer an event without a name, or a reserved event that this version does not know."""
    if context.event.startswith(RESERVED_PREFIX):
        context.reply_error(f"no such event: {context.event}", code="unknown_event")
    else:
        context.reply_error("neither event nor event_type names the event", code="bad_request")
