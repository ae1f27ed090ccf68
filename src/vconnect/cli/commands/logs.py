"""``vconnect logs``: shows a plugin's output and log, and follows it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vconnect.cli.output import print_json, print_json_lines, print_records
from vconnect.names import LOG_LEVELS

from .control import RunningHost, asks_host, name_argument

if TYPE_CHECKING:
    from vconnect.admin.client import AdminClient

# How often the host is asked for more: soon enough to look live, and cheap for the host. Seconds.
_POLL_INTERVAL = 0.25
# A page that is full is followed by the next one at once, without a pause.
_PAGE_LINES = 1000


@click.command()
@name_argument
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    metavar="N",
    help="The number of lines to show.",
)
@click.option(
    "--level",
    type=click.Choice(list(LOG_LEVELS)),
    default="trace",
    help="Hide lines below this level.",
)
@click.option("-f", "--follow", is_flag=True, help="Keep showing new lines until Ctrl-C.")
@asks_host
def logs(host: RunningHost, name: str, lines: int, level: str, follow: bool) -> None:
    """Show the output and log of the plugin NAME, with its starts and ends.

    The host keeps the newest lines of each plugin, even when it restarts the plugin. --json prints
    only the output and log; with --follow, it prints one value per line.
    """
    if follow:
        _follow(host, name, lines, level)
    else:
        page = host.get(_route(name, lines=lines, level=level))
        if not host.as_json:
            states = host.get(_route(name, lines=lines, level=level, states="true"))
            page["records"] = _merged(page, states)[-lines:]
        host.show(page["records"], print_json if host.as_json else print_records)


def _merged(*pages: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Put what the host says about a plugin between the plugin's own lines."""
    records = [record for page in pages for record in page["records"]]
    return sorted(records, key=lambda record: record["time"])  # stable, for those of one moment


def _follow(host: RunningHost, name: str, lines: int, level: str) -> None:
    import asyncio

    from vconnect.admin.client import AdminClient

    async def follow() -> None:
        async with AdminClient(host.path) as client:
            await _Follower(client, host.as_json, name, level).run(lines)

    asyncio.run(follow())


class _Follower:
    """Repeatedly requests the records after those it has shown."""

    def __init__(self, client: AdminClient, as_json: bool, name: str, level: str) -> None:
        self._client = client
        self._as_json = as_json
        self._name = name
        self._level = level

    async def run(self, lines: int) -> None:
        """Show the newest ``lines`` records, then all that follow."""
        import asyncio

        page = await self._get(lines=lines)
        states = None if self._as_json else await self._get(lines=lines, states="true")
        while True:
            self._show(page, states)
            # Only a page that is not full means that the end has been reached.
            if len(page["records"]) < _PAGE_LINES:
                await asyncio.sleep(_POLL_INTERVAL)
            # First, because a plugin's last words are read before its end is told.
            if states is not None:
                states = await self._after(states, states="true")
            page = await self._after(page)

    async def _after(self, shown: Mapping[str, Any], **query: str) -> Any:
        page = await self._get(lines=_PAGE_LINES, after=shown["next"], **query)
        if page["began"] != shown["began"]:
            # Another host, or the plugin was reinstalled: the numbering has restarted.
            if not query:
                click.echo("the plugin's log has been reset", err=True)
            # From its beginning, since none of the new log's lines have been shown.
            page = await self._get(lines=_PAGE_LINES, after=0, **query)
        return page

    async def _get(self, **query: int | str) -> Any:
        return await self._client.get(_route(self._name, level=self._level, **query))

    def _show(self, page: Mapping[str, Any], states: Mapping[str, Any] | None) -> None:
        if page["dropped"]:
            click.echo(
                f"{page['dropped']} lines were discarded before they could be shown", err=True
            )
        if states is None:
            print_json_lines(page["records"])
        else:
            print_records(_merged(page, states))
        # A pipe would otherwise buffer lines while a human waits for them.
        sys.stdout.flush()


def _route(name: str, **query: int | str) -> str:
    from vconnect.admin.client import plugin_route

    words = "&".join(f"{key}={value}" for key, value in query.items())
    return f"{plugin_route(name, 'logs')}?{words}"
