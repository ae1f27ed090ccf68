"""Events to plugins and answers back: chain, fan-out, one plugin, and nobody waiting.

Deadlines are seconds of ``time.monotonic()``, timeouts are seconds from now. Cancelling any of
these calls is safe: an event that was sent is answered all the same, and its answer is dropped.
"""

from __future__ import annotations

from asyncio import Future
from time import monotonic
from typing import Any

import msgspec

from ._framing import Delivery, FanOut
from .config import Settings
from .errors import (
    PluginError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from .protocol import Answer, normalize_answer, reply_error
from .registry import PluginRuntime, Registry
from .session import CLASSIC_PREFIXES, encode_classic_event


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
            except PluginError as error:
                results.append(self._failed(runtime, error, _milliseconds_since(began)))
                continue
            results.append(self._answered(runtime, answer, _milliseconds_since(began)))
            if answer.replacement is not msgspec.UNSET:
                payload = answer.replacement
                frame = self._encode(event, payload)
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
        route = self._registry.routes.route(event)
        fan_out = FanOut()
        try:
            for runtime in route:
                self._deliver(runtime, frame, fan_out.add(), deadline)
            await fan_out.wait()
        finally:
            fan_out.abandon()
        results = [
            self._delivered(runtime, delivery, began)
            for runtime, delivery in zip(route, fan_out.deliveries, strict=True)
        ]
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
        runtime = self._registry.by_spelling[plugin]
        session = runtime.session
        if timeout is None:
            timeout = self._event_timeout
        try:
            if session is None:
                raise _not_connected(runtime)
            answer = session.request(CLASSIC_PREFIXES[event], payload, timeout)
            runtime.events += 1
            return await answer
        except PluginError as error:
            self._count(runtime, error)
            raise

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

    def _session(self, runtime: PluginRuntime) -> Any:
        session = runtime.session
        if session is None:
            raise _not_connected(runtime)
        return session

    def _send(
        self, runtime: PluginRuntime, frame: bytes, deadline: float
    ) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = self._session(runtime).call(frame, deadline)
        runtime.events += 1
        return future

    def _deliver(
        self, runtime: PluginRuntime, frame: bytes, delivery: Delivery, deadline: float
    ) -> None:
        """Send, and let the delivery hold a refusal: the others are still to be asked."""
        try:
            self._session(runtime).deliver(frame, delivery, deadline)
            runtime.events += 1
        except PluginError as error:
            delivery.set_exception(error)

    def _delivered(self, runtime: PluginRuntime, delivery: Delivery, began: float) -> PluginResult:
        duration_ms = (delivery.ended - began) * 1000
        if delivery.error is not None:
            return self._failed(runtime, delivery.error, duration_ms)
        return self._answered(runtime, normalize_answer(delivery.answer), duration_ms)

    def _answered(self, runtime: PluginRuntime, answer: Answer, duration_ms: float) -> PluginResult:
        if not answer.ok:
            return self._failed(
                runtime, reply_error(runtime.name, answer), duration_ms, stop=answer.stop
            )
        return PluginResult(
            plugin=runtime.name,
            ok=True,
            data=answer.data,
            stop=answer.stop,
            duration_ms=duration_ms,
        )

    def _failed(
        self,
        runtime: PluginRuntime,
        error: PluginError,
        duration_ms: float,
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
            duration_ms=duration_ms,
        )

    def _count(self, runtime: PluginRuntime, error: PluginError) -> None:
        runtime.errors += 1
        if isinstance(error, PluginTimeoutError):
            runtime.timeouts += 1


def _not_connected(runtime: PluginRuntime) -> PluginUnavailableError:
    return PluginUnavailableError(
        runtime.name, f"not connected ({runtime.status}: {runtime.reason or 'no reason'})"
    )


def _milliseconds_since(began: float) -> float:
    return (monotonic() - began) * 1000
