"""``vconnect logs``: shows the output and log of plugins, and follows them."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vconnect.cli.moments import as_moment
from vconnect.cli.output import print_json, print_json_lines, print_records
from vconnect.names import LOG_LEVELS, canonical_name

from .completion import complete_plugin
from .control import RunningHost, asks_host, check_words

if TYPE_CHECKING:
    from vconnect.cli.following import Choose, Row, Wanted
    from vconnect.names import LogLevel


@click.command()
@click.argument(
    "names", metavar="[NAME]...", nargs=-1, callback=check_words, shell_complete=complete_plugin
)
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
@click.option(
    "--since",
    callback=as_moment,
    metavar="WHEN",
    help="Only what came after 10m (ago), 14:02, or a time in ISO 8601.",
)
@click.option("--grep", metavar="TEXT", default="", help="Only lines with this text in them.")
@click.option("--all", "everybody", is_flag=True, help="All plugins.")
@click.option("--host", "with_host", is_flag=True, help="Show what happened to the host, too.")
@click.option("-f", "--follow", is_flag=True, help="Keep showing new lines until Ctrl-C.")
@asks_host
def logs(
    host: RunningHost,
    names: Sequence[str],
    lines: int,
    level: LogLevel,
    since: float | None,
    grep: str,
    everybody: bool,
    with_host: bool,
    follow: bool,
) -> None:
    """Show the output and log of plugins, with their starts and ends.

    NAME may be a pattern, such as 'chat-*'. The host keeps the newest lines of each plugin, even
    when it restarts the plugin. --follow waits for a plugin or a host that is gone. --json prints
    only the output and log; with --follow, it prints one value per line.
    """
    if not (names or everybody or with_host):
        raise click.UsageError("give the names of plugins, --all, or --host")
    from vconnect.cli.following import Wanted

    wanted = Wanted(
        lines=lines,
        level=level,
        since=since or 0.0,
        grep=grep,
        with_states=not host.as_json,
        with_host=with_host,
    )
    choose = _chooser(names, everybody=everybody)
    is_one = len(names) == 1 and not (everybody or with_host or _is_pattern(names[0]))
    printer = _Printer(as_json=host.as_json, is_one=is_one)
    if follow:
        _follow(host, choose, wanted, printer)
        return
    rows = _history(host, choose, wanted)
    host.show(rows, print_json if host.as_json else printer.show)


def _chooser(names: Sequence[str], *, everybody: bool) -> Choose:
    def choose(there: Sequence[str]) -> list[str]:
        if everybody:
            return list(there)
        chosen: dict[str, None] = {}
        for name in names:
            found = [canonical_name(name)]
            if _is_pattern(name) and not (found := fnmatch.filter(there, name)):
                raise click.UsageError(f"no plugin is named like {name!r}")
            chosen.update(dict.fromkeys(found))
        return list(chosen)

    return choose


def _is_pattern(name: str) -> bool:
    return any(char in name for char in "*?[")


def _history(host: RunningHost, choose: Choose, wanted: Wanted) -> list[Row]:
    from vconnect.cli.following import LogReader

    return host.ask(lambda client: LogReader(client, choose, wanted).history())


def _follow(host: RunningHost, choose: Choose, wanted: Wanted, printer: _Printer) -> None:
    from vconnect.cli.following import LogReader, tell_on_stderr

    host.ask(lambda client: LogReader(client, choose, wanted).follow(printer.show, tell_on_stderr))


class _Printer:
    """Prints rows, and tells on stderr what is lost.

    Args:
        as_json: Whether to print lines of JSON.
        is_one: Whether all rows are of one plugin, whose name need not be shown.
    """

    def __init__(self, *, as_json: bool, is_one: bool) -> None:
        self._as_json = as_json
        self._is_one = is_one

    def show(self, rows: Sequence[dict[str, Any]]) -> None:
        """Print rows."""
        for row in rows:
            self._show(row)
        # A pipe would otherwise buffer lines while a human waits for them.
        if rows and sys.stdout is not None:
            sys.stdout.flush()

    def _show(self, row: dict[str, Any]) -> None:
        if "reset" in row:
            self._tell(row, "the plugin's log has been reset")
        elif "dropped" in row:
            if self._as_json:
                print_json_lines([row])
            else:
                words = f"{row['dropped']} lines were discarded before they could be shown"
                self._tell(row, words)
        elif self._as_json:
            print_json_lines([row])
        else:
            print_records([row], with_name=not self._is_one)

    def _tell(self, row: dict[str, Any], words: str) -> None:
        sys.stdout.flush()
        click.echo(words if self._is_one else f"{row['plugin']}: {words}", err=True)
