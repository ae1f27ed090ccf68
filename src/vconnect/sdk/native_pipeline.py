"""The native dialect at the plugin's end: numbered events, replies in any order."""

# Plain handlers are called at once. Up to `concurrency` `async` handlers run at the same time and
# start in the order of the events. An event that came back through another plugin starts at once,
# because the handler that caused it may be waiting for it.

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from vconnect._framing import DEFAULT_MAX_FRAME_BYTES, encode_frame
from vconnect.errors import ConfigError
from vconnect.wire import messages as protocol
from vconnect.wire._stream import FrameStream

from .answering import (
    MAX_WAITING,
    Backpressure,
    call_handler,
    encode_answer,
    handle,
    refuse,
    words_of,
)
from .context import Context
from .handlers import Handler, HandlerTable, settle
from .host_client import hops, trace
from .plugin import Plugin, convert_config

MAX_TOLD_WAITING = 16 * MAX_WAITING
"""Waiting events above which further notifications are dropped."""

_DEADLINES = (int, float, type(None))


class _Event:
    """An event that waits for its handler, or that is being handled."""

    __slots__ = ("context", "handler", "hops", "number", "pending")

    def __init__(self, number: int | None, context: Context, handler: Handler, depth: int) -> None:
        self.number = number  # None: a notification, which has no answer
        self.context = context
        self.handler = handler
        self.hops = depth
        self.pending: Awaitable[None] | None = None  # what the handler returned, once called


class NativePipeline:
    """The events of one native connection.

    It starts closed: events that arrive before `open` wait, so that none overtakes ``on_start``.

    Args:
        plugin: The plugin whose handlers are called.
        stream: The connection to the host.
        stop: Called when the host asks the plugin to stop.
        max_answer_bytes: The host's limit.

    Attributes:
        config: The last configuration that the plugin accepted, as sent by the host, or ``None``.
    """

    def __init__(
        self,
        plugin: Plugin,
        stream: FrameStream,
        stop: Callable[[], None],
        max_answer_bytes: int = DEFAULT_MAX_FRAME_BYTES,
    ) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._plugin = plugin
        self._stream = stream
        self._stop = stop
        self.config: dict[str, Any] | None = None
        self._table = HandlerTable(plugin)
        self._debug = plugin.log.isEnabledFor(logging.DEBUG)
        self._is_open = False
        self._is_closed = False
        self._opened = asyncio.Event()
        self._is_ending = False
        self._dropped = 0
        self._waiting: deque[_Event] = deque()
        self._running: dict[asyncio.Task[None], _Event] = {}
        self._backpressure = Backpressure(stream, MAX_WAITING)
        self._when_idle: list[Callable[[], None]] = []
        # The host's own events never reach a handler, and work while the plugin is starting or
        # stopping.
        self._controls: dict[str, Callable[[int | None, dict[str, Any]], None]] = {
            protocol.PING: self._ping,
            protocol.CONFIG_CHECK: self._check_config,
            protocol.CONFIG_UPDATE: self._update_config,
            protocol.DRAIN: self._drain,
            protocol.STOP_EVENT: self._end,
            protocol.CANCEL: self._cancel,
        }

    def open(self) -> None:
        """Start calling handlers."""
        self._is_open = True
        self._opened.set()
        self._begin_waiting()

    def accept(self, message: dict[str, Any]) -> None:
        """Process a frame: an event, or the reply to a call."""
        event = message.get("event")
        if isinstance(event, str):
            self._accept_event(event, message)
        elif "status" in message:
            self._plugin.host.settle(message)
        else:
            self._plugin.log.warning(
                "ignoring a frame from the host that is neither an event nor a reply"
            )

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Accept no more events, and call ``callback`` once every event so far has been answered.

        Reading continues, because a handler may be waiting for the host's reply.
        """
        self._is_ending = True
        self._call_when_idle(callback)

    def close(self) -> None:
        """Drop unanswered events, and cancel running handlers."""
        self._is_open = False
        self._is_closed = True
        self._waiting.clear()
        for task in self._running:
            task.cancel()

    def _accept_event(self, event: str, message: dict[str, Any]) -> None:
        number, depth = message.get("id"), message.get("hops", 0)
        deadline_ms = message.get("deadline_ms")
        if not self._is_well_formed(number, depth, deadline_ms):
            return
        control = self._controls.get(event)
        if control is not None:
            payload = message.get("payload")
            control(number, payload if isinstance(payload, dict) else {})
            return
        # Reserved events come first: a plugin that is stopping still answers pings.
        if self._is_ending:
            self._reply_error(number, "unavailable", "the plugin is stopping")
            return
        if self._debug:
            self._plugin.log.debug("event %s", event)
        found = None if protocol.is_reserved(event) else self._table.find(event)
        handler, waits = found or (refuse, False)
        sent = message.get("trace")
        traced = sent if type(sent) is str else None
        context = Context(self._plugin, event, message.get("payload"), deadline_ms, traced)
        # With `depth`, the handler needs a task, in whose context its hops are set.
        if waits or depth or self._waiting or not self._is_open or self._is_full():
            self._line_up(_Event(number, context, handler, depth))
        else:
            self._answer_now(number, context, handler)

    def _is_well_formed(self, number: Any, depth: Any, deadline_ms: Any) -> bool:
        """Return whether an event can be handled; reply or log why not."""
        if number is not None and (type(number) is not int or number < 1):
            self._plugin.log.warning(
                "ignoring an event from the host whose id is not a positive integer"
            )
            return False
        if type(depth) is not int or depth < 0 or type(deadline_ms) not in _DEADLINES:
            self._reply_error(number, "bad_request", "hops or deadline_ms is not a number")
            return False
        return True

    def _is_full(self) -> bool:
        return len(self._running) >= self._plugin.concurrency

    def _answer_now(self, number: int | None, context: Context, handler: Handler) -> None:
        if context.trace is None:
            self._answer_here(number, context, handler)
            return
        before = trace.set(context.trace)
        try:
            self._answer_here(number, context, handler)
        finally:
            trace.reset(before)

    def _answer_here(self, number: int | None, context: Context, handler: Handler) -> None:
        pending = call_handler(context, handler)
        if pending is not None:
            event = _Event(number, context, handler, 0)
            event.pending = pending
            self._begin(event)
        elif number is not None:
            self._stream.send(encode_answer(context, number, self._max_answer_bytes))

    def _line_up(self, event: _Event) -> None:
        # An event with hops ignores the limit: the handler that it would wait for may wait for it.
        if self._is_open and (event.hops or not (self._waiting or self._is_full())):
            self._begin(event)
            return
        if event.number is None and len(self._waiting) >= MAX_TOLD_WAITING:
            self._drop()
            return
        self._waiting.append(event)
        # While a reply is awaited, reading must go on, whatever else arrives before it.
        if len(self._waiting) >= MAX_WAITING and not self._plugin.host.waits:
            self._backpressure.pause()

    def _drop(self) -> None:
        """Drop a notification: the queue is full, but replies must still be read."""
        self._dropped += 1
        # At 1, 2, 4, 8 and so on, so that a flood does not flood the log.
        if self._dropped & (self._dropped - 1) == 0:
            self._plugin.log.warning(
                "%d events dropped: %d are already waiting", self._dropped, MAX_TOLD_WAITING
            )

    def _begin(self, event: _Event) -> None:
        task = asyncio.get_running_loop().create_task(self._run(event))
        self._running[task] = event
        task.add_done_callback(self._ended)

    async def _run(self, event: _Event) -> None:
        # Set in the task's own context, so it ends with the task.
        hops.set(event.hops)
        trace.set(event.context.trace)
        await handle(event.context, event.handler, event.pending)
        if event.number is not None:
            answer = encode_answer(event.context, event.number, self._max_answer_bytes)
            self._stream.send(answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        event = self._running.pop(task)
        if task.cancelled():
            self._cancelled(event)
        elif (error := task.exception()) is not None:
            self._plugin.log.error("internal error of the SDK", exc_info=error)
        self._begin_waiting()
        self._tell_idle()
        self._backpressure.eased(len(self._waiting))

    def _cancelled(self, event: _Event) -> None:
        """Report the cancellation to the host. The task may have been cancelled before it ran."""
        if inspect.iscoroutine(event.pending):
            event.pending.close()
        # Also before `open`: an event that was asked is answered, or its slot is lost.
        if not self._is_closed:
            self._reply_error(event.number, "cancelled", "cancelled by the host")

    def _begin_waiting(self) -> None:
        while self._is_open and self._waiting and not self._is_full():
            self._begin(self._waiting.popleft())

    def _call_when_idle(self, callback: Callable[[], None]) -> None:
        # The host may ask for a drain and then for a stop, each of which waits for the same moment.
        self._when_idle.append(callback)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not (self._waiting or self._running):
            # Taken out first: a callback may close the stream, which ends here again.
            idle, self._when_idle = self._when_idle, []
            for callback in idle:
                callback()

    # Events from the host itself.

    def _ping(self, number: int | None, _: dict[str, Any]) -> None:
        self._reply(number)

    def _check_config(self, number: int | None, payload: dict[str, Any]) -> None:
        try:
            convert_config(self._plugin, payload.get("config") or {})
        except ConfigError as error:
            self._reply_error(number, "bad_request", str(error))
        else:
            self._reply(number)

    def _update_config(self, number: int | None, payload: dict[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(
            self._take_over(number, payload.get("config") or {})
        )
        # Among the running events, so that stopping waits for it; it is not one itself.
        self._running[task] = _Event(None, Context(self._plugin, "", None), refuse, 0)
        task.add_done_callback(self._ended)

    async def _take_over(self, number: int | None, values: dict[str, Any]) -> None:
        await self._opened.wait()  # on_start gets the first configuration
        try:
            # Checked again, since the host may send an update without a check.
            config = convert_config(self._plugin, values)
            await settle(self._plugin.on_config_update(config))
        except ConfigError as error:
            self._reply_error(number, "bad_request", str(error))
        except Exception as error:
            self._plugin.log.exception("on_config_update failed; keeping the old configuration")
            self._reply_error(number, "internal", words_of(error))
        else:
            self._plugin.config = config
            self.config = values
            self._reply(number)

    def _drain(self, number: int | None, _: dict[str, Any]) -> None:
        self._call_when_idle(lambda: self._reply(number))

    def _end(self, number: int | None, payload: dict[str, Any]) -> None:
        self._plugin.log.info("stopping: %s", payload.get("reason") or "requested by the host")
        self._reply(number)
        self._stop()

    def _cancel(self, _: int | None, payload: dict[str, Any]) -> None:
        number = payload.get("id")
        if number is None:  # the id of every notification, none of which is meant
            return
        for event in self._waiting:
            if event.number == number:
                self._waiting.remove(event)
                self._cancelled(event)
                self._tell_idle()
                return
        for task, event in self._running.items():
            if event.number == number:
                task.cancel()

    def _reply(self, number: int | None) -> None:
        if number is not None:
            self._stream.send(encode_frame(protocol.ok_reply(number, None)))

    def _reply_error(self, number: int | None, code: str, message: str) -> None:
        if number is not None:
            self._stream.send(protocol.encode_error(number, code, message, self._max_answer_bytes))

    def keep_reading(self) -> None:
        """Resume reading, because something more important than events may arrive."""
        self._backpressure.resume()
