"""What a function of the application inherits from the plugin's call that it serves."""

# A bot answers an event by calling the application's `message.send`, which emits the bot's own
# message as another event. That event has come through the bot: it counts as one more hop, so that
# a circle of plugins ends, and the SDK handles it at once instead of after the event that waits for
# it. It must also not outlive the call, and it belongs to the same trace. The application does not
# pass any of these on, so a context variable does.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Protocol

_current: ContextVar[Origin | None] = ContextVar("vconnect_origin", default=None)


class Serving(Protocol):
    """Counts the calls that are being served: without any, there is nothing to inherit."""

    serving: int


class Origin:
    """The call that is being served.

    Args:
        counter: Counts it until `end`.

    Attributes:
        hops: How many plugins it has come through.
        until: When its caller stops waiting, in seconds of ``time.monotonic()``.
        trace: Its W3C ``traceparent``; ``None`` if it has none.
    """

    __slots__ = ("_counter", "_is_over", "hops", "trace", "until")

    def __init__(self, counter: Serving) -> None:
        self.hops = 0
        self.until = inf
        self.trace: str | None = None
        self._counter = counter
        self._is_over = False
        counter.serving += 1

    @contextmanager
    def inherited(self) -> Iterator[None]:
        """Let what is called and every task that is created in the block inherit it."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def end(self) -> None:
        """Record that the call is over: what the function has left running inherits nothing."""
        if not self._is_over:
            self._is_over = True
            self._counter.serving -= 1

    @staticmethod
    def current() -> Origin | None:
        """Return the call that the running code serves, or ``None``."""
        origin = _current.get()
        return None if origin is None or origin._is_over else origin
