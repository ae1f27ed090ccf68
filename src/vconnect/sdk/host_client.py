"""`Host`: a plugin's calls to its host, in the native dialect."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from vconnect._framing import DEFAULT_MAX_FRAME_BYTES, encode_frame
from vconnect.errors import HostCallError
from vconnect.wire._stream import FrameStream

_DEFAULT_TIMEOUT_S = 30.0

#: How many plugins the current event has come through. A handler's calls send it along, so that the
#: host can end a chain that runs in circles. A context variable, which a handler's tasks inherit.
hops: ContextVar[int] = ContextVar("vconnect_hops", default=0)
#: The ``traceparent`` of the event that is being handled.
trace: ContextVar[str | None] = ContextVar("vconnect_trace", default=None)


class Host:
    """The host as its plugin sees it: ``self.host`` of a `Plugin`, ``ctx.host`` of a `Context`.

    Calls can be made at any time between ``on_start`` and ``on_stop``, including from handlers.
    Each needs the permission of its name in the plugin's manifest.

    The ``async`` methods raise `HostCallError` with the host's code and message, with
    ``deadline_exceeded``, or with ``unavailable`` if there is no host or it only speaks the classic
    dialect. If one is cancelled, its reply is dropped. Parameters that are not JSON, or exceed the
    host's limit for a frame, raise `PayloadError`.
    """

    def __init__(self) -> None:
        self._stream: FrameStream | None = None
        self._keep_reading: Callable[[], None]
        self._max_answer_bytes: int
        self._next = 1
        # By the number of the call; the host numbers its own events independently.
        self._pending: dict[int, asyncio.Future[Any]] = {}

    @property
    def is_native(self) -> bool:
        """Whether there is a connection over which the host can be called."""
        return self._stream is not None

    async def call(
        self,
        name: str,
        params: dict[str, Any] | None = None,
        *,
        timeout: float = _DEFAULT_TIMEOUT_S,
    ) -> Any:
        """Call the host and return the data of its reply.

        Args:
            name: The call, such as ``message.send``.
            params: Its parameters.
            timeout: Seconds to wait for the reply.
        """
        number, future = self._next, asyncio.get_running_loop().create_future()
        self._next += 1
        message = {"id": number, **_call(name, params)}
        if math.isfinite(timeout):
            # What the host's function sends to other plugins need not take longer than this.
            message["deadline_ms"] = max(1, int(timeout * 1000))
        self._send(message)
        self._pending[number] = future
        # Otherwise the reply would wait behind events that are not read.
        self._keep_reading()
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise HostCallError(
                "deadline_exceeded", f"{name}: no reply within {timeout:g} s"
            ) from None
        finally:
            # A reply that arrives after this finds no future, and is dropped.
            del self._pending[number]

    def tell(self, name: str, params: dict[str, Any] | None = None) -> None:
        """Call the host without waiting for a reply.

        Raises:
            HostCallError: ``unavailable``: there is no host, or it only speaks the classic dialect.
        """
        self._send(_call(name, params))

    async def call_plugin(
        self,
        plugin: str,
        method: str,
        params: Any = None,
        *,
        timeout: float = _DEFAULT_TIMEOUT_S,
    ) -> Any:
        """Call another plugin, whose handler of the event ``method`` answers (``plugin.call``)."""
        asked = {"plugin": plugin, "method": method, "params": params}
        if math.isfinite(timeout):
            # At least 1, because the host refuses a deadline of 0.
            asked["deadline_ms"] = max(1, int(timeout * 1000))
        return await self.call("plugin.call", asked, timeout=timeout)

    async def publish(self, event: str, payload: Any) -> int:
        """Notify plugins of an event (``event.publish``); return how many get it."""
        published = await self.call("event.publish", {"event": event, "payload": payload})
        return int(published["plugins"])

    async def subscribe(self, *events: str) -> None:
        """Be notified of events, families or wildcards from now on (``event.subscribe``)."""
        await self.call("event.subscribe", {"events": list(events)})

    async def unsubscribe(self, *events: str) -> None:
        """Undo `subscribe`; the permission for this is ``event.subscribe``, too."""
        await self.call("event.unsubscribe", {"events": list(events)})

    def log(self, level: str, message: str, **fields: Any) -> None:
        """Write to the host's log (``log``).

        Args:
            level: ``trace``, ``debug``, ``info``, ``warn`` or ``error``.
            message: One line of text.
            **fields: Structured data that belongs to it.
        """
        self.tell("log", {"level": level, "message": message, "fields": fields})

    # Called by the connection.

    @property
    def waits(self) -> bool:
        """Whether a reply is awaited."""
        return bool(self._pending)

    def connected(
        self,
        stream: FrameStream,
        keep_reading: Callable[[], None],
        max_answer_bytes: int = DEFAULT_MAX_FRAME_BYTES,
    ) -> None:
        """Send calls over this connection from now on.

        Args:
            stream: The connection.
            keep_reading: Called before waiting for a reply.
            max_answer_bytes: The host's limit.
        """
        self._max_answer_bytes = max_answer_bytes
        self._stream = stream
        self._keep_reading = keep_reading

    def disconnected(self) -> None:
        """Fail calls without a reply."""
        self._stream = None
        # The host forgets the calls of a connection that ended, so no reply can come on a new one.
        for future in self._pending.values():
            if not future.done():
                future.set_exception(HostCallError("unavailable", "the connection was lost"))

    def settle(self, reply: dict[str, Any]) -> None:
        """Process a reply; one to a call that was given up is dropped."""
        number = reply.get("id")
        future = self._pending.get(number) if isinstance(number, int) else None
        if future is None or future.done():
            return
        if reply.get("status") == "ok":
            future.set_result(reply.get("data"))
        else:
            code, message = str(reply.get("code") or "internal"), str(reply.get("message", ""))
            future.set_exception(HostCallError(code, message))

    def _send(self, message: dict[str, Any]) -> None:
        if self._stream is None:
            raise HostCallError(
                "unavailable", "there is no host, or it only speaks the classic dialect"
            )
        self._stream.send(encode_frame(message, self._max_answer_bytes, "max_answer_bytes"))


def _call(name: str, params: dict[str, Any] | None) -> dict[str, Any]:
    message: dict[str, Any] = {"call": name, "params": params or {}}
    if depth := hops.get():
        message["hops"] = depth
    if (traceparent := trace.get()) is not None:
        message["trace"] = traceparent
    return message
