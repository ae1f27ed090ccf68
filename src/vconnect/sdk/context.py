"""`Context`: an event, and the answer that its handler builds."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging

    from .host_client import Host

_NOTHING: Any = object()  # a handler may want to reply with None


class Owner(Protocol):
    """The part of a plugin that a context gives access to."""

    config: Any

    @property
    def log(self) -> logging.Logger:
        """The plugin's log."""

    @property
    def host(self) -> Host:
        """The plugin's host."""


class Context:
    """An event that is being handled, with its answer.

    A handler that calls none of `reply`, `reply_error`, `stop` and `replace` answers that it has
    nothing to add. If it replies several times, the last reply counts: an event has one answer.

    Attributes:
        event: The event's name, such as ``message.incoming``.
        payload: The event's payload: any JSON value, usually an object.
        trace: The W3C ``traceparent`` that the event came with; ``None`` without one. What the
            handler calls carries it on.
    """

    __slots__ = (
        "_code",
        "_data",
        "_deadline",
        "_error",
        "_plugin",
        "_replacement",
        "_stops",
        "event",
        "payload",
        "trace",
    )

    def __init__(
        self,
        plugin: Owner,
        event: str,
        payload: Any,
        deadline_ms: float | None = None,
        trace: str | None = None,
    ) -> None:
        self.event = event
        self.payload = payload
        self.trace = trace
        self._plugin = plugin
        # The host sends a duration, since the two processes need not share a clock.
        self._deadline = None if deadline_ms is None else monotonic() + deadline_ms / 1000
        self._data = _NOTHING
        self._error: str | None = None
        self._code: str | None = None
        self._stops = False
        self._replacement = _NOTHING

    @property
    def config(self) -> Any:
        """The plugin's configuration; the same object as the plugin's ``self.config``."""
        return self._plugin.config

    @property
    def log(self) -> logging.Logger:
        """The plugin's log; the same object as the plugin's ``self.log``."""
        return self._plugin.log

    @property
    def host(self) -> Host:
        """The host; the same object as the plugin's ``self.host``."""
        return self._plugin.host

    @property
    def time_left(self) -> float | None:
        """Seconds until the host's deadline, negative after it; ``None`` if the host sent none."""
        return None if self._deadline is None else self._deadline - monotonic()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the payload's value for ``key``, or ``default`` if there is none or no object."""
        if isinstance(self.payload, Mapping):
            return self.payload.get(key, default)
        return default

    def reply(self, data: Any) -> None:
        """Answer with ``data``, which may be any value that JSON can represent."""
        self._data = data
        # The last reply counts, so data replaces an earlier error and the other way round.
        self._error = None

    def reply_error(self, message: str, *, code: str | None = None) -> None:
        """Answer with an error, which is reported to the caller that emitted the event.

        An error answer has neither data nor a replacement, and does not stop the chain by itself.

        Args:
            message: The error text.
            code: An error code, for programs; in the native dialect ``internal`` by default.
        """
        self._error = str(message)
        self._code = code

    def stop(self) -> None:
        """End the chain: plugins after this one do not get the event."""
        self._stops = True

    def replace(self, payload: Any) -> None:
        """Give the plugins after this one ``payload`` instead of the event's own."""
        self._replacement = payload

    def answer(self) -> dict[str, Any]:
        """Build the answer as it is sent (``docs/wire.md``, "Classic dialect")."""
        if self._error is not None:
            # Neither data nor a replacement of a handler that failed can be trusted to be complete.
            error = {"status": "error", "message": self._error}
            return error if self._code is None else error | {"code": self._code}
        answer: dict[str, Any] = {"status": "ok"}
        if self._data is not _NOTHING:
            answer["data"] = self._data
        if self._stops:
            answer["flow"] = "stop"
        if self._replacement is not _NOTHING:
            answer["payload"] = self._replacement
        return answer
