"""Events to plugins and answers back: chain, fan-out, one plugin, and nobody waiting.

Deadlines are seconds of ``time.monotonic()``, timeouts are seconds from now. Cancelling any of
these calls is safe: an event that was sent is answered all the same, and its answer is dropped.
"""

from __future__ import annotations

from asyncio import Future
from functools import partial
from time import monotonic
from typing import Any

import msgspec

from .config import Settings
from .errors import (
    PayloadError,
    PluginError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from .protocol import Answer, normalize_answer
from .registry import PluginRuntime, Registry
from .session import encode_classic_event


class PluginResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one plugin made of one event.

    Attributes:
        ok: Whether it answered, and not with an error.
        data: Its answer.
        error: What went wrong, in words, without the plugin's name.
        error_code: … as a word of the wire's vocabulary.
        stop: Whether it ended the chain.
        duration_ms: From sending to the answer.
    """

    plugin: str
    ok: bool
    data: Any = None
    error: str | None = None
    error_code: str | None = None
    stop: bool = False
    duration_ms: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """What came of a chain or a fan-out.

    Attributes:
        results: One for each plugin that was asked, in chain order.
        stopped_by: The plugin that ended the chain, or ``None``.
        payload: The payload as the last plugin left it.
    """

    results: list[PluginResult]
    stopped_by: str | None
    payload: Any


class Dispatcher:
    """Sends events along the registry's routes.

    Args:
        registry: Who is connected.
        settings: ``event_timeout``, ``chain_timeout``, ``max_frame_bytes``.
    """

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._event_timeout = settings.event_timeout
        self._chain_timeout = settings.chain_timeout
        self._max_frame_bytes = settings.max_frame_bytes
        self.dropped = 0

    async def emit(self, event: str, payload: Any, *, timeout: float | None = None) -> Outcome:
        """Send an event through the chain: one plugin after the other, in order.

        An answer may stop the chain or replace the payload for those after it. A plugin that
        fails does not stop it.

        Args:
            event: The event's name.
            payload: Anything that JSON holds.
            timeout: Seconds for the whole chain; by default ``chain_timeout``. Each plugin has
                ``event_timeout`` of it at most.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        until = monotonic() + (self._chain_timeout if timeout is None else timeout)
        frame = self._encode(event, payload)
        results: list[PluginResult] = []
        for runtime in self._registry.routes.route(event):
            began = monotonic()
            deadline = min(until, began + self._event_timeout)
            try:
                if began >= until:
                    raise PluginTimeoutError(runtime.name, "the chain's time was used up before")
                answer = normalize_answer(await self._send(runtime, frame, deadline))
                if answer.replacement is not msgspec.UNSET:
                    frame = self._encode_replacement(runtime, event, answer.replacement)
                    payload = answer.replacement
            except PluginError as error:
                results.append(self._failed(runtime, error, began))
                continue
            results.append(self._answered(runtime, answer, began))
            if answer.stop:
                return Outcome(results, runtime.name, payload)
        return Outcome(results, None, payload)

    async def broadcast(self, event: str, payload: Any, *, timeout: float | None = None) -> Outcome:
        """Send an event to all capable plugins at the same time and collect every answer or error.

        Args:
            event: The event's name.
            payload: Anything that JSON holds; encoded once for all.
            timeout: Seconds for each plugin; by default ``event_timeout``.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        began = monotonic()
        deadline = began + (self._event_timeout if timeout is None else timeout)
        frame = self._encode(event, payload)
        calls = [
            _Delivery(runtime, self._start(runtime, frame, deadline))
            for runtime in self._registry.routes.route(event)
        ]
        try:
            results = [await self._collect(call, began) for call in calls]
        finally:
            for call in calls:
                call.abandon()
        return Outcome(results, None, payload)

    async def request(
        self, plugin: str, event: str, payload: Any, *, timeout: float | None = None
    ) -> Any:
        """Send an event to one plugin, whatever its capabilities, and return its answer's data.

        Args:
            plugin: Any of its names.
            event: The event's name.
            payload: Anything that JSON holds.
            timeout: Seconds; by default ``event_timeout``.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            UnknownPluginError: There is no such plugin.
            PluginReplyError: It answered with an error.
            PluginTimeoutError: It did not answer in time.
            PluginUnavailableError: It is not connected, or its connection ended meanwhile.
            PluginOverloadedError: Too many events wait for it already.
        """
        runtime = self._registry.get(plugin)
        deadline = monotonic() + (self._event_timeout if timeout is None else timeout)
        frame = self._encode(event, payload)
        try:
            answer = normalize_answer(await self._send(runtime, frame, deadline))
        except PluginError as error:
            self._count(runtime, error)
            raise
        if not answer.ok:
            runtime.errors += 1
            raise _reply_error(runtime, answer)
        return answer.data

    def notify(self, event: str, payload: Any) -> int:
        """Send an event to all capable plugins and wait for nobody.

        Each plugin's queue is bounded (``max_queued``); what finds it full is dropped for that
        plugin and counted in `dropped`.

        Returns:
            To how many plugins it went.

        Raises:
            PayloadError: The payload is not JSON, or too large.
        """
        frame = self._encode(event, payload)
        sent = 0
        for runtime in self._registry.routes.route(event):
            try:
                self._session(runtime).tell(frame)
            except PluginError:
                self.dropped += 1
            else:
                runtime.events += 1
                sent += 1
        return sent

    def _encode(self, event: str, payload: Any) -> bytes:
        return encode_classic_event(event, payload, self._max_frame_bytes)

    def _encode_replacement(self, runtime: PluginRuntime, event: str, payload: Any) -> bytes:
        """Encode what a plugin put in place of the payload; if it cannot be sent, it failed."""
        try:
            return self._encode(event, payload)
        except PayloadError as error:
            raise PluginReplyError(runtime.name, f"its replacement: {error}") from error

    def _session(self, runtime: PluginRuntime) -> Any:
        session = runtime.session
        if session is None:
            raise PluginUnavailableError(
                runtime.name, f"not connected ({runtime.status}: {runtime.reason or 'no reason'})"
            )
        return session

    def _send(
        self, runtime: PluginRuntime, frame: bytes, deadline: float
    ) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = self._session(runtime).call(frame, deadline)
        runtime.events += 1
        return future

    def _start(
        self, runtime: PluginRuntime, frame: bytes, deadline: float
    ) -> Future[dict[str, Any]] | PluginError:
        """Send, and return a refusal in place of raising it: the others are still to be asked."""
        try:
            return self._send(runtime, frame, deadline)
        except PluginError as error:
            return error

    async def _collect(self, call: _Delivery, began: float) -> PluginResult:
        try:
            answer = normalize_answer(await call.answer())
        except PluginError as error:
            return self._failed(call.runtime, error, began, call.ended)
        return self._answered(call.runtime, answer, began, call.ended)

    def _answered(
        self, runtime: PluginRuntime, answer: Answer, began: float, ended: float | None = None
    ) -> PluginResult:
        if not answer.ok:
            return self._failed(
                runtime, _reply_error(runtime, answer), began, ended, stop=answer.stop
            )
        return PluginResult(
            plugin=runtime.name,
            ok=True,
            data=answer.data,
            stop=answer.stop,
            duration_ms=_milliseconds(began, ended),
        )

    def _failed(
        self,
        runtime: PluginRuntime,
        error: PluginError,
        began: float,
        ended: float | None = None,
        *,
        stop: bool = False,
    ) -> PluginResult:
        self._count(runtime, error)
        return PluginResult(
            plugin=runtime.name,
            ok=False,
            error=error.message,
            error_code=error.code,
            stop=stop,
            duration_ms=_milliseconds(began, ended),
        )

    def _count(self, runtime: PluginRuntime, error: PluginError) -> None:
        runtime.errors += 1
        if isinstance(error, PluginTimeoutError):
            runtime.timeouts += 1


class _Delivery:
    """One plugin's part of a fan-out, and when it was over."""

    def __init__(
        self, runtime: PluginRuntime, started: Future[dict[str, Any]] | PluginError
    ) -> None:
        self.runtime = runtime
        self.ended: float | None = None
        self._started = started
        if isinstance(started, Future):
            # Answers are awaited in chain order; the clock must not run on meanwhile.
            started.add_done_callback(partial(_stamp, self))

    async def answer(self) -> dict[str, Any]:
        if isinstance(self._started, PluginError):
            raise self._started
        return await self._started

    def abandon(self) -> None:
        """Give up the answer, if it is still awaited."""
        if isinstance(self._started, Future):
            self._started.cancel()


def _stamp(delivery: _Delivery, _: Future[dict[str, Any]]) -> None:
    delivery.ended = monotonic()


def _reply_error(runtime: PluginRuntime, answer: Answer) -> PluginReplyError:
    return PluginReplyError(
        runtime.name, answer.message or "an error without words", answer.code or None
    )


def _milliseconds(began: float, ended: float | None) -> float:
    return ((monotonic() if ended is None else ended) - began) * 1000
