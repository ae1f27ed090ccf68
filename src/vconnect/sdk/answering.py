"""What both dialects share at the plugin's end: calling handlers, answers, and backpressure."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

from vconnect._framing import DEFAULT_MAX_FRAME_BYTES, encode_frame
from vconnect.errors import HostCallError, PayloadError
from vconnect.names import RESERVED_PREFIX
from vconnect.wire._stream import FrameStream

from .context import Context
from .handlers import Handler, settle

MAX_WAITING = 1024
"""Unanswered events at which the plugin stops reading; a host's window is far smaller."""


class Backpressure:
    """Pauses a stream's reading while too many events wait.

    Args:
        stream: The connection to the host.
        limit: The number of waiting events at which the pipeline pauses it.
    """

    def __init__(self, stream: FrameStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.is_paused = False

    def pause(self) -> None:
        """Stop reading, so that the host's queue fills and the host notices."""
        if not self.is_paused and self._stream.transport is not None:
            self.is_paused = True
            self._stream.transport.pause_reading()

    def resume(self) -> None:
        """Resume reading."""
        if self.is_paused and self._stream.transport is not None:
            self.is_paused = False
            self._stream.transport.resume_reading()

    def eased(self, waiting: int) -> None:
        """Resume reading at half the limit, so that it is not switched for every event."""
        if self.is_paused and waiting <= self._limit // 2:
            self.resume()


def call_handler(context: Context, handler: Handler) -> Awaitable[None] | None:
    """Call a handler; an exception becomes its answer.

    Returns:
        What has to be awaited for the answer: a plain function may return a coroutine.
    """
    try:
        pending = handler(context)
    except Exception as error:  # noqa: BLE001 - the author's code
        report_failure(context, error)
        return None
    return pending if pending is not None and inspect.isawaitable(pending) else None


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
    if isinstance(error, HostCallError):
        # The caller needs the code, as the host gave it, to react to it.
        context.reply_error(str(error), code=error.code)
    else:
        context.reply_error(words_of(error))


def words_of(error: BaseException) -> str:
    """Describe an exception, even one whose own text cannot be made."""
    # The class tells more than many texts: a KeyError's text is only the key.
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - the author's code
        return f"{kind}: its text cannot be made ({type(failure).__name__})"
    return f"{kind}: {text}" if text else kind


def encode_answer(
    context: Context, number: int | None = None, max_answer_bytes: int = DEFAULT_MAX_FRAME_BYTES
) -> bytes:
    """Encode the event's answer as a frame; an answer that cannot be sent becomes an error.

    Args:
        context: The event.
        number: Its id in the native dialect; ``None`` in the classic dialect.
        max_answer_bytes: The host's limit.
    """
    try:
        return encode_frame(
            _address(context.answer(), number), max_answer_bytes, "max_answer_bytes"
        )
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
