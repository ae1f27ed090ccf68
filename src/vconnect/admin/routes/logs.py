"""``GET /api/logs``: the logs of several plugins and what happened to the host, as one."""

# Whoever follows is a place in the log of each plugin. The logs are looked at four times a second,
# which costs next to nothing, and nothing is copied for a client that is slow: what it misses is
# what the logs themselves have let go by then, and that is told.

from __future__ import annotations

import asyncio
import fnmatch
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import msgspec

from vconnect.admin.answers import LogRows
from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import query_of
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.problems import Problem, field_problem
from vconnect.admin.http.progress import JSON_LINES
from vconnect.admin.http.table import Route
from vconnect.admin.manager import Manager
from vconnect.logs.ring import LogPage
from vconnect.names import LOG_LEVELS, LogLevel
from vconnect.seeing.encoding import encode, plain_record

from .plugins import Lines, Substring

_MAX_FOLLOWERS = 64
_LOOK_S = 0.25
# A comment is sent after so many seconds of silence, which keeps proxies awake.
_SILENCE_S = 15.0
# More than any log keeps.
_ALL_LINES = 1_000_000
_EVENTS = "text/event-stream"
_LEVEL_OF_SHAPE: dict[str, LogLevel] = {"error": "error", "barred": "warn"}

Row: TypeAlias = dict[str, Any]


class LogsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``GET /api/logs``.

    Attributes:
        plugin: A plugin, or a pattern such as ``chat-*``; repeatable. Without one and without
            ``host``, all of both.
        host: Whether to return what happened to the host, and to plugins that are not chosen.
        lines: The maximum number of records, of all together.
        level: The lowest level to return.
        since: Only records after this moment, in Unix seconds.
        grep: Only records with this text in them.
        follow: Whether to go on with what comes: as lines of JSON, or as server-sent events if the
            client accepts those.
    """

    plugin: tuple[str, ...] = ()
    host: bool = False
    lines: Lines = 100
    level: LogLevel = "trace"
    since: float = 0.0
    grep: Substring = ""
    follow: bool = False


class LogRoutes:
    """The handler.

    Args:
        manager: The manager.
        is_stopping: Returns whether the host is about to end.
    """

    def __init__(self, manager: Manager, is_stopping: Callable[[], bool]) -> None:
        self._manager = manager
        self._is_stopping = is_stopping
        self._followers = 0

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        return [
            Route(
                "GET",
                "/api/logs",
                "view",
                self.logs,
                "Return what plugins print and what happened, as one",
                query=LogsQuery,
                answer=LogRows,
                codes=("unknown_plugin", "too_many_streams"),
                further_media=(JSON_LINES, _EVENTS),
            )
        ]

    async def logs(self, asked: Asked) -> Reply:
        """Return the logs, and go on with them if that is asked for."""
        wanted = query_of(asked, LogsQuery)
        accepts_events = wanted.follow and _EVENTS in asked.headers.get("accept", "")
        if accepts_events and (last := _moment(asked.headers.get("last-event-id", ""))):
            # It has seen what came before, so the limit was for that.
            since = max(wanted.since, last)
            wanted = msgspec.structs.replace(wanted, since=since, lines=_ALL_LINES)
        reader = LogReader(self._manager, wanted)
        if not wanted.follow:
            return json_reply({"records": reader.newest()})
        if self._followers >= _MAX_FOLLOWERS:
            raise Problem(
                "too_many_streams", f"{self._followers} clients follow logs; the limit is that"
            )
        chunks = self._chunks(reader, _as_event if accepts_events else _as_lines)
        return Reply(
            # In the same step of the loop as the check.
            await anext(chunks),
            content_type=_EVENTS if accepts_events else JSON_LINES,
            headers={"X-Accel-Buffering": "no"},
            chunks=chunks,
            is_endless=True,
        )

    async def _chunks(
        self, reader: LogReader, encoded: Callable[[list[Row]], bytes]
    ) -> AsyncIterator[bytes]:
        self._followers += 1
        try:
            yield encoded(reader.newest())
            told = time.monotonic()
            while not self._is_stopping():
                await asyncio.sleep(_LOOK_S)
                chunk = encoded(reader.news())
                if not chunk and encoded is _as_event and time.monotonic() - told >= _SILENCE_S:
                    chunk = b": \n\n"
                if chunk:
                    told = time.monotonic()
                # Also without one: then it is looked whether the client is still there.
                yield chunk
        finally:
            self._followers -= 1


class LogReader:
    """Reads several logs as one.

    Args:
        manager: The manager.
        wanted: What is to be read.

    Raises:
        UnknownPluginError: There is no such plugin.
        Problem: ``bad_query``: no plugin is named like a pattern.
    """

    def __init__(self, manager: Manager, wanted: LogsQuery) -> None:
        self._manager = manager
        self._wanted = wanted
        self._with_host = wanted.host or not wanted.plugin
        # When each log's numbering began, and the number to go on after.
        self._places: dict[str, tuple[float, int]] = {}
        self._happened = 0
        self._check()

    def newest(self) -> list[Row]:
        """Return the newest records of all, in the order of their time."""
        rows: list[Row] = []
        # Of what is filtered afterwards, nobody knows how many are needed.
        is_filtered = self._wanted.grep or self._wanted.since
        lines = _ALL_LINES if is_filtered else self._wanted.lines
        for name in self._names():
            page = self._page(name, None, lines)
            self._places[name] = (page.began, page.next)
            rows += self._rows_of(name, page)
        return sorted(rows + self._happenings(), key=_time_of)[-self._wanted.lines :]

    def news(self) -> list[Row]:
        """Return the records since, and rows with ``dropped`` for what is lost."""
        rows: list[Row] = []
        places, self._places = self._places, {}
        for name in self._names():
            began, after = places.get(name, (0.0, 0))
            page = self._page(name, after)
            if after and page.began != began:
                page = self._page(name, 0)  # the plugin was installed again
            self._places[name] = (page.began, page.next)
            if page.dropped:
                rows.append({"plugin": name, "dropped": page.dropped})
            rows += self._rows_of(name, page)
        return sorted(rows + self._happenings(), key=_time_of)

    def _check(self) -> None:
        for one in self._wanted.plugin:
            if not _is_pattern(one):
                self._manager.summary(one)
            elif not fnmatch.filter(self._all(), one):
                raise field_problem("bad_query", "plugin", f"no plugin is named like {one!a}")

    def _names(self) -> list[str]:
        """Return the plugins that are chosen; new ones may come at any time."""
        if not self._wanted.plugin:
            return [] if self._wanted.host else self._all()
        chosen: dict[str, None] = {}
        for one in self._wanted.plugin:
            if _is_pattern(one):
                chosen.update(dict.fromkeys(fnmatch.filter(self._all(), one)))
            elif (plugin := self._manager.registry.find(one)) is not None:
                chosen[plugin.name] = None
        return list(chosen)

    def _all(self) -> list[str]:
        return [plugin.name for plugin in self._manager.registry]

    def _page(self, name: str, after: int | None, lines: int = _ALL_LINES) -> LogPage:
        return self._manager.plugin_logs(
            name, lines=lines, level=self._wanted.level, after=after, states=False, host=True
        )

    def _rows_of(self, name: str, page: LogPage) -> list[Row]:
        return [
            {"plugin": name, **plain_record(record)}
            for record in page.records
            if self._wanted.grep in record.text and record.time > self._wanted.since
        ]

    def _happenings(self) -> list[Row]:
        if not self._with_host:
            return []
        known = self._places.keys()  # the logs of these tell it already
        least = LOG_LEVELS[self._wanted.level]
        rows: list[Row] = []
        for one in self._manager.happenings.newest():
            if one.seq <= self._happened or one.plugin in known:
                continue
            level = _LEVEL_OF_SHAPE.get(one.shape, "info")
            text = f"{one.plugin}: {one.text}" if one.plugin is not None else one.text
            is_wanted = self._wanted.grep in text and one.time > self._wanted.since
            if is_wanted and LOG_LEVELS[level] >= least:
                row = {"plugin": None, "seq": one.seq, "time": one.time, "stream": "host"}
                rows.append({**row, "level": level, "text": text, "fields": {}})
        self._happened = self._manager.happenings.seq
        return rows


def _is_pattern(text: str) -> bool:
    return any(char in text for char in "*?[")


def _time_of(row: Row) -> float:
    # What was lost came before what is there.
    moment: float = row.get("time", 0.0)
    return moment


def _as_lines(rows: list[Row]) -> bytes:
    return b"".join(encode(row) + b"\n" for row in rows)


def _as_event(rows: list[Row]) -> bytes:
    if not rows:
        return b""
    # The time of the newest, to go on after it.
    newest = max(map(_time_of, rows))
    number = f"id: {newest!r}\n".encode() if newest else b""
    return b"%sevent: log\ndata: %s\n\n" % (number, encode({"records": rows}))


def _moment(text: str) -> float:
    """Return the moment of an event's id; 0 if it is none of ours."""
    try:
        moment = float(text)
    except ValueError:
        return 0.0
    return moment if math.isfinite(moment) else 0.0
