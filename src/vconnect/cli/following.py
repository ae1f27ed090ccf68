"""Follows the logs of plugins and of the host, through restarts of both."""

# The host is asked again and again for the records after those that were shown. Records have
# numbers, so nothing is shown twice, and what the host has discarded meanwhile is told. A host or a
# plugin that is gone is asked again until it is back.

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from vconnect.errors import AdminError, HostUnreachableError

if TYPE_CHECKING:
    from vconnect.admin.answers import LogEntries, LogEntry
    from vconnect.admin.client.client import AdminClient
    from vconnect.names import LogLevel

# How often the host is asked for more: soon enough to look live, and cheap for the host. Seconds.
_POLL_INTERVAL = 0.25
# How often a host is asked that is gone. Seconds.
_RETRY_INTERVAL = 1.0
# A page that is full is followed by the next one at once, without a pause.
_PAGE_LINES = 1000
_HOST = "host"
_LEVEL_OF_SHAPE = {"error": "error", "barred": "warn"}


class Wanted(NamedTuple):
    """What is to be shown.

    Attributes:
        lines: How many records there are at first.
        level: The lowest level.
        since: Only records after this moment, in Unix seconds.
        grep: Only records with this text in them.
        with_states: Whether to show what the host says about plugins between their own lines.
        with_host: Whether to show what happened to the host and all of its plugins.
    """

    lines: int = 100
    level: LogLevel = "trace"
    since: float = 0.0
    grep: str = ""
    with_states: bool = True
    with_host: bool = False


Row = dict[str, Any]
#: Chooses plugins from the names of all.
Choose = Callable[[Sequence[str]], list[str]]


class LogReader:
    """Reads the logs of several plugins as one.

    Args:
        client: The client.
        choose: Chooses the plugins. New ones may come while logs are followed.
        wanted: What is to be shown.
    """

    def __init__(self, client: AdminClient, choose: Choose, wanted: Wanted) -> None:
        self._client = client
        self._choose = choose
        self._wanted = wanted
        self._cursors: dict[tuple[str, bool], LogEntries] = {}
        self._happened = 0
        self._is_full = False
        self.names: list[str] = []

    async def history(self) -> list[Row]:
        """Return the newest records of all, in the order of their time."""
        self.names = await self._chosen()
        rows = [row for name in self.names for row in await self._begin(name)]
        if self._wanted.with_host:
            rows += await self._happenings()
        return sorted(rows, key=lambda row: row["time"])[-self._wanted.lines :]

    async def news(self) -> list[Row]:
        """Return the records since, and rows ``{"plugin", "dropped"}`` for what is lost."""
        self._is_full = False
        rows: list[Row] = []
        for name in self.names:
            rows += await self._news_of(name)
        if self._wanted.with_host:
            rows += await self._happenings()
        return sorted(rows, key=lambda row: row.get("time", 0.0))

    async def follow(self, show: Callable[[list[Row]], None], tell: Callable[[str], None]) -> None:
        """Show the history and then what comes, for ever.

        Args:
            show: Shows rows.
            tell: Tells that the host is gone, or back.
        """
        show(await self.history())
        is_lost = False
        while True:
            try:
                rows = await self.news()
            except HostUnreachableError:
                if not is_lost:
                    tell("the host is gone; waiting for it")
                is_lost = True
                await asyncio.sleep(_RETRY_INTERVAL)
                continue
            if is_lost:
                is_lost = False
                tell("the host is back")
            show(rows)
            if not self._is_full:
                await asyncio.sleep(_POLL_INTERVAL)

    async def _chosen(self) -> list[str]:
        listed = await self._client.plugins(sort="name")
        return self._choose([plugin.name for plugin in listed.plugins])

    async def _begin(self, name: str) -> list[Row]:
        rows: list[Row] = []
        for states in self._kinds:
            page = await self._client.logs(
                name,
                lines=self._wanted.lines,
                level=self._wanted.level,
                since=self._wanted.since,
                grep=self._wanted.grep,
                states=states,
            )
            self._cursors[name, states] = page
            rows = _rows(name, page.records) + rows
        return rows

    @property
    def _kinds(self) -> tuple[bool, ...]:
        # States first: a plugin's last words are read before its end is told.
        return (True, False) if self._wanted.with_states else (False,)

    async def _news_of(self, name: str) -> list[Row]:
        rows: list[Row] = []
        for states in self._kinds:
            try:
                rows = await self._after(name, states=states) + rows
            except AdminError as error:
                if error.code != "unknown_plugin":
                    raise
                # It was removed, and may come again.
                self._cursors.pop((name, states), None)
        return rows

    async def _after(self, name: str, *, states: bool) -> list[Row]:
        shown = self._cursors.get((name, states))
        page = await self._page(name, shown.next if shown is not None else 0, states=states)
        rows: list[Row] = []
        if shown is not None and page.began != shown.began:
            # Another host, or the plugin was reinstalled: the numbering has begun again. None of
            # the new log's lines have been shown.
            page = await self._page(name, 0, states=states)
            if not states:
                rows.append({"plugin": name, "reset": True})
        self._cursors[name, states] = page
        self._is_full = self._is_full or len(page.records) >= _PAGE_LINES
        if page.dropped:
            rows.append({"plugin": name, "dropped": page.dropped})
        found = (one for one in page.records if self._wanted.grep in one.text)
        return rows + _rows(name, tuple(found))

    async def _page(self, name: str, after: int, *, states: bool) -> LogEntries:
        return await self._client.logs(
            name, lines=_PAGE_LINES, level=self._wanted.level, after=after, states=states
        )

    async def _happenings(self) -> list[Row]:
        happenings = await self._client.happenings()
        if happenings and happenings[-1].seq < self._happened:
            self._happened = 0  # another host
        rows = [
            {
                "plugin": _HOST,
                "seq": one.seq,
                "time": one.time,
                "level": _LEVEL_OF_SHAPE.get(one.shape, "info"),
                "stream": "host",
                "text": f"{one.plugin}: {one.text}" if one.plugin else one.text,
                "fields": {},
            }
            for one in happenings
            if one.seq > self._happened and one.time > self._wanted.since
        ]
        self._happened = happenings[-1].seq if happenings else self._happened
        return [row for row in rows if self._wanted.grep in str(row["text"])]


def _rows(name: str, records: Sequence[LogEntry]) -> list[Row]:
    return [{"plugin": name, **msgspec.structs.asdict(record)} for record in records]


def tell_on_stderr(words: str) -> None:
    """Tell the person, and not what reads the output."""
    sys.stdout.flush()
    click.echo(words, err=True)
