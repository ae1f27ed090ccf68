"""`Context`: one event, and the answer to it that its handler puts together."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging

    from .host_client import Host

_NOTHING: Any = object()  # None is data that a handler may well send


class Owner(Protocol):
    """What a context hands on of its plugin."""

    config: Any

    @property
    def log(self) -> logging.Logger:
        """Its log."""

    @property
    def host(self) -> Host:
        """Its host."""


class Context:
    """One event on its way through a handler.

    A handler that calls none of `reply`, `reply_error`, `stop` and `replace` says: seen, nothing
    to add. Of several replies to one event the last one counts, since an event has one answer.

    Attributes:
        event: The event's name, such as ``message.incoming``.
        payload: What the host sent with it: any JSON value, most often an object.
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
    )

    def __init__(
        self, plugin: Owner, event: str, payload: Any, deadline_ms: float | None = None
    ) -> None:
        self.event = event
        self.payload = payload
        self._plugin = plugin
        self._deadline = None if deadline_ms is None else monotonic() + deadline_ms / 1000
        self._data = _NOTHING
        self._error: str | None = None
        self._code: str | None = None
        self._stops = False
        self._replacement = _NOTHING

    @property
    def config(self) -> Any:
        """The plugin's configuration, the same as ``self.config`` of the plugin."""
        return self._plugin.config

    @property
    def log(self) -> logging.Logger:
        """The plugin's log, the same as ``self.log`` of the plugin."""
        return self._plugin.log

    @property
    def host(self) -> Host:
        """The host, the same as ``self.host`` of the plugin."""
        return self._plugin.host

    @property
    def time_left(self) -> float | None:
        """Seconds until the host gives the event up; ``None`` if it has not said."""
        return None if self._deadline is None else self._deadline - monotonic()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the payload's value for ``key``; ``default`` if there is none, or no object."""
        if isinstance(self.payload, Mapping):
            return self.payload.get(key, default)
        return default

    def reply(self, data: Any) -> None:
        """Answer with ``data``, which may be anything that JSON can say."""
        self._data = data
        self._error = None

    def reply_error(self, message: str, *, code: str | None = None) -> None:
        """Answer that this plugin could not do its part; whoever sent the event hears of it.

        An error carries neither data nor a replacement, and it does not stop the chain by itself.
        """
        self._error = str(message)
        self._code = code

    def stop(self) -> None:
        """Let no plugin after this one have the event."""
        self._stops = True

    def replace(self, payload: Any) -> None:
        """Give the plugins after this one ``payload`` in place of the event's own."""
        self._replacement = payload

    def answer(self) -> dict[str, Any]:
        """Build the answer as it goes over the wire (``docs/wire.md``, "Classic dialect")."""
        if self._error is not None:
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
