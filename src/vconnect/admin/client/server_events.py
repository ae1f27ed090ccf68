"""The client's end of ``GET /api/stream``: parses server-sent events, and comes back by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

# More than the largest snapshot; what has no end must not fill the memory. Bytes.
_MAX_EVENT_BYTES = 64 * 1024 * 1024
# Seconds before each try; the last one repeats.
_WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0)


class StreamEvent(NamedTuple):
    """One event of the stream.

    Attributes:
        kind: What it is: ``hello``, ``snapshot``, ``plugin``, ``gone``, ``metrics``, ``passed``,
            ``log``, ``trace``, ``happening``, ``audit`` or ``dropped``; ``lost`` comes from the
            client itself when it has lost the host, with ``reason`` and ``retry_s``.
        data: Its data.
        id: What to give as ``after`` to go on from here; empty if it has none.
    """

    kind: str
    data: Any
    id: str = ""


class EventParser:
    r"""Parses a stream of server-sent events, however it is cut.

    >>> list(EventParser().feed(b"id: a-1\nevent: gone\ndata: {}\n\n"))
    [StreamEvent(kind='gone', data={}, id='a-1')]
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[StreamEvent]:
        """Yield the events that are complete.

        Raises:
            ValueError: It is not a stream of this interface.
        """
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        if len(self._rest) > _MAX_EVENT_BYTES:
            raise ValueError("an event of the stream is too large")
        for block in blocks:
            event = _parse(block)
            if event is not None:
                yield event


def _parse(block: bytes) -> StreamEvent | None:
    kind, number, data = "message", "", []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"event":
                kind = value.decode("utf-8", "replace")
            case b"id":
                number = value.decode("utf-8", "replace")
            case b"data":
                data.append(value)
    # A comment keeps proxies awake, and "retry" alone is no event.
    return StreamEvent(kind, orjson.loads(b"\n".join(data)), number) if data else None


class BackOff:
    """Says how long to wait before the next try."""

    def __init__(self) -> None:
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait, with jitter so that clients do not come back together."""
        wait = _WAITS_S[min(self._tries, len(_WAITS_S) - 1)]
        self._tries += 1
        return wait * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Begin again, after a success."""
        self._tries = 0
