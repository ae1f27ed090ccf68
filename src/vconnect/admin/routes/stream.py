"""``GET /api/stream``: server-sent events, from a snapshot on without a gap."""

# A follower is a cursor into the shared ring. It sends what has come since, and waits for the
# client to take it. What a slow client misses is told; states are never missed, only their steps.

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import msgspec

from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import query_of
from vconnect.admin.http.problems import Problem
from vconnect.admin.http.table import Route
from vconnect.admin.manager import Manager
from vconnect.bounds import cut
from vconnect.names import LOG_LEVELS, LogLevel
from vconnect.seeing.encoding import encode
from vconnect.seeing.feed import Feed
from vconnect.seeing.ring import Entry
from vconnect.seeing.trace import Trace, matches

MAX_STREAMS = 64
# A client that has more before it gets the states only. Bytes.
_MAX_BEHIND = 256 * 1024
# A comment is sent after so many seconds of silence, which keeps proxies awake.
_SILENCE_S = 15.0
# So often it is looked whether a client that gets nothing is still there. Seconds.
_LOOK_S = 1.0
_TOPICS = ("plugins", "metrics", "passed", "happenings", "audit", "host", "trace")
#: What may be left out for a client that is too slow.
_DISPENSABLE = ("trace", "metrics")
_HEADERS = {"X-Accel-Buffering": "no"}


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``GET /api/stream``.

    Attributes:
        topics: Separated by commas: ``plugins``, ``metrics``, ``passed``, ``host`` (what
            happens, and who changes what), ``trace``, and ``logs:NAME``.
        level: The lowest level of log records.
        event: Of traces, a pattern as in capabilities.
        plugin: Of traces, a plugin that took part.
        slow_ms: Of traces, the least duration in milliseconds, unless something went wrong.
        last_event_id: As the header ``Last-Event-ID``, for clients that cannot send it.
    """

    topics: Annotated[str, msgspec.Meta(max_length=4096)] = "plugins,metrics,passed,host"
    level: LogLevel = "trace"
    event: str = ""
    plugin: str = ""
    slow_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    last_event_id: str = ""


class StreamRoute:
    """The handler.

    Args:
        manager: The manager.
        version: The host's version.
        describe: Describes the host to somebody; see ``GET /api/host``.

    Attributes:
        dropped: How many entries slow clients have missed, by topic.
    """

    def __init__(
        self, manager: Manager, version: str, describe: Callable[[Asked], dict[str, Any]]
    ) -> None:
        self._manager = manager
        self._describe = describe
        self._feed: Feed = manager.feed
        self._version = version
        self.dropped: Counter[str] = Counter()
        self.is_ending = False

    def end(self) -> None:
        """End every stream: the server is about to stop."""
        self.is_ending = True
        self._feed.ring.wake()

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        return [
            Route(
                "GET",
                "/api/stream",
                "view",
                self.stream,
                "Follow states, logs, metrics and events as they come",
                query=StreamQuery,
                codes=("too_many_streams",),
                media="text/event-stream",
            )
        ]

    async def stream(self, asked: Asked) -> Reply:
        """Begin a stream."""
        wanted = query_of(asked, StreamQuery)
        topics = self._topics(wanted.topics)
        if self._feed.followers >= MAX_STREAMS:
            raise Problem(
                "too_many_streams", f"{self._feed.followers} streams are open; the limit is that"
            )
        last = asked.headers.get("last-event-id", wanted.last_event_id)
        chunks = self._chunks(asked, wanted, topics, last)
        return Reply(
            # In the same step of the loop as the check, or more could come than there is room for.
            await anext(chunks),
            content_type="text/event-stream",
            headers=dict(_HEADERS),
            chunks=chunks,
            is_endless=True,
        )

    def _topics(self, text: str) -> list[str]:
        topics = [one for one in text.split(",") if one]
        for topic in topics:
            name = topic.removeprefix("logs:")
            if topic.startswith("logs:"):
                self._manager.summary(name)
            elif topic not in _TOPICS:
                raise Problem(
                    "bad_query",
                    f"topics: {cut(topic)!r} is none; expected {', '.join(_TOPICS)} or logs:NAME",
                )
        return [
            f"logs:{self._manager.summary(one.removeprefix('logs:')).name}"
            if one.startswith("logs:")
            else one
            for one in topics
        ]

    async def _chunks(
        self, asked: Asked, wanted: StreamQuery, topics: list[str], last: str
    ) -> AsyncIterator[bytes]:
        leave = self._feed.follow(topics)
        try:
            seq = self._resumed(topics, last)
            yield self._hello(asked, is_resumed=seq is not None)
            if seq is None:
                seq = self._feed.ring.last
                yield self._snapshot(asked, seq)
            told = time.monotonic()
            while not self.is_ending:
                chunk = b""
                if not await self._feed.ring.wait(seq, _LOOK_S):
                    pass
                elif not self._feed.ring.has(seq):
                    self.dropped["all"] += 1
                    lost = {"topic": "all", "count": None}
                    seq = self._feed.ring.last
                    chunk = self._message("dropped", encode(lost), seq)
                    chunk += self._snapshot(asked, seq)
                else:
                    chunk, seq = self._take(asked, wanted, topics, seq)
                now = time.monotonic()
                if not chunk and now - told >= _SILENCE_S:
                    chunk = b": \n\n"
                if chunk:
                    told = now
                # Also without one: then it is looked whether the client is still there.
                yield chunk
        finally:
            leave()

    def _resumed(self, topics: list[str], last: str) -> int | None:
        """Return the number to go on after; ``None`` if that is not possible."""
        boot, _, number = last.partition("-")
        if boot != self._feed.boot or not (number.isascii() and number.isdigit()):
            return None
        seq = int(number[:20])
        return seq if self._feed.has(topics, seq) else None

    def _hello(self, asked: Asked, *, is_resumed: bool) -> bytes:
        hello = {
            "boot": self._feed.boot,
            "version": self._version,
            "role": asked.role,
            "resumed": is_resumed,
        }
        return b"retry: 2000\n" + self._message("hello", encode(hello))

    def _snapshot(self, asked: Asked, seq: int) -> bytes:
        # In the same step of the loop as the number: nothing can come between them.
        data = {
            "host": self._describe(asked),
            "plugins": self._feed.snapshot(),
            "chains": self._manager.overview.chains(),
            "happenings": self._manager.happenings.newest(),
            "at": f"{self._feed.boot}-{seq}",
        }
        return self._message("snapshot", encode(data), seq)

    def _message(self, kind: str, data: bytes, seq: int | None = None) -> bytes:
        number = b"" if seq is None else f"id: {self._feed.boot}-{seq}\n".encode()
        return b"%sevent: %s\ndata: %s\n\n" % (number, kind.encode(), data)

    def _take(
        self, asked: Asked, wanted: StreamQuery, topics: list[str], seq: int
    ) -> tuple[bytes, int]:
        """Return what has come since ``seq``, and the number to go on after."""
        entries = [one for one in self._feed.ring.after(seq) if one.topic in topics]
        last = self._feed.ring.last
        dropped: Counter[str] = Counter()
        if sum(len(one.data) for one in entries) > _MAX_BEHIND:
            entries, dropped = _reduced(entries)
            self.dropped.update(dropped)
        parts = [
            self._message(entry.kind, data, entry.seq)
            for entry in entries
            if (data := _filtered(entry, wanted, asked)) is not None
        ]
        parts += [
            self._message("dropped", encode({"topic": topic, "count": count}))
            for topic, count in dropped.items()
        ]
        return b"".join(parts), last


def _reduced(entries: list[Entry]) -> tuple[list[Entry], Counter[str]]:
    """Leave out what a slow client can do without; return the rest, and how much that was."""
    newest = {(one.kind, one.key): one.seq for one in entries if one.topic == "plugins"}
    kept, dropped = [], Counter[str]()
    for one in entries:
        if one.topic in _DISPENSABLE or one.topic.startswith("logs:"):
            dropped[one.topic] += 1
        elif one.topic != "plugins" or newest[one.kind, one.key] == one.seq:
            kept.append(one)
    return kept, dropped


def _filtered(entry: Entry, wanted: StreamQuery, asked: Asked) -> bytes | None:
    """Return an entry's data as this client may and wants to see it; ``None`` for not at all."""
    if entry.kind == "trace":
        return _filtered_trace(entry.data, wanted, asked)
    if entry.kind == "log" and wanted.level != "trace":
        return _filtered_log(entry.data, wanted.level)
    return entry.data


def _filtered_trace(data: bytes, wanted: StreamQuery, asked: Asked) -> bytes | None:
    trace = msgspec.json.decode(data, type=Trace)
    slow_s = wanted.slow_ms / 1000
    if not matches(trace, event=wanted.event, plugin=wanted.plugin, slow_s=slow_s):
        return None
    if trace.payload is None or asked.role == "operate":
        return data
    return encode(msgspec.structs.replace(trace, payload=None))


def _filtered_log(data: bytes, level: LogLevel) -> bytes | None:
    page: dict[str, Any] = msgspec.json.decode(data)
    least = LOG_LEVELS[level]
    records = [one for one in page["records"] if LOG_LEVELS[one["level"]] >= least]
    return encode({**page, "records": records}) if records or page["dropped"] else None
