"""What commands print: tables for people, one JSON value for programs."""

# Names, reasons and answers come from plugins and are not trusted: none of their control characters
# reaches a terminal, and none of their text is interpreted as markup.

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click
import orjson

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vconnect.checks.report import Report
    from vconnect.packages.pack import Packed
    from vconnect.packages.preparation import PackedFile
    from vconnect.packages.selection import LeftOut
    from vconnect.plugins.crashes import CrashReport, QuarantinedEvent

#: The style of each shape; the state's word says the same without color.
SHAPE_STYLES = {
    "running": "green",
    "starting": "yellow",
    "error": "bold red",
    "barred": "bold red",
    "quarantine": "bold red",
    "stopped": "dim",
    "installed": "dim",
}

_LEVEL_COLORS = {"trace": "bright_black", "debug": "bright_black", "warn": "yellow", "error": "red"}

# Of plugins. Red and yellow are those of levels.
_NAME_COLORS = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")

# Wider than any row, so that in a file or a pipe each row is one complete line.
_PIPE_WIDTH = 10_000

_SHOWN_PATHS = 10
_SHOWN_FILES = 100


def clean(text: str) -> str:
    r"""Replace every character that is not printable with its escape.

    >>> clean("a\x1b[31mb\u202e")
    'a\\x1b[31mb\\u202e'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


_SEVERAL = re.compile(r'[\s="]')
_CHANGE_WORDS = {
    "unchanged": "is installed already",
    "installed": "installed",
    "switched": "took over",
    "granted": "has the permissions now",
    "repaired": "has the files of its package again",
    "waiting": "waits for the next start",
    "removed": "removed",
    "found": "found",
    "gone": "is gone from the plugin directory",
    "planned": "(nothing was done)",
    "failed": "failed",
}


def print_json(value: Any) -> None:
    """Print ``value`` as one JSON value, in UTF-8 regardless of the locale."""
    click.echo(_escaped(_encoded(value, orjson.OPT_INDENT_2)))


def print_list(heading: str, lines: Sequence[str]) -> None:
    """Print lines of text below a heading, if there are any."""
    if lines:
        click.echo(f"{heading}:")
    for line in lines:
        click.echo(f"  {clean(line)}")


def format_crash(report: CrashReport) -> str:
    """Format a crash report as one line."""
    events = f"; in flight: {', '.join(report.in_flight)}" if report.in_flight else ""
    return (
        f"{_clock(report.at)}  generation {report.generation}, "
        f"after {_duration(report.ran_for_s)}: {report.reason}{events}"
    )


def format_quarantined(event: QuarantinedEvent) -> str:
    """Format an event in quarantine as one line."""
    return f"{event.fingerprint}  {event.event}, skipped {event.skipped}: {event.payload}"


def print_records(records: Sequence[Mapping[str, Any]], *, with_name: bool = False) -> None:
    """Print records, one line each: local time, name, level, text and fields."""
    from vconnect.logs.records import without_level

    colored = is_colored()
    for record in records:
        from datetime import datetime

        moment = datetime.fromtimestamp(record["time"]).astimezone().replace(tzinfo=None)
        level = f"{record['level'].upper():<5}"
        words = [without_level(record["text"], record["level"])]
        # In the host's own column, it is clear who speaks.
        if with_name and record["plugin"] == "host" and record["stream"] == "host":
            pass
        elif record["stream"] in ("host", "state"):
            words.insert(0, "vconnect:")
        elif words[0].startswith("vconnect:"):
            words.insert(0, f"{record['stream']}:")  # only what the host says begins so
        words += [f"{_quoted(name)}={_field(value)}" for name, value in record["fields"].items()]
        color = _LEVEL_COLORS.get(record["level"]) if colored else None
        shown = click.style(level, fg=color) if color else level
        name = _name_column(record["plugin"], colored) if with_name else ""
        line = clean(" ".join(filter(None, words)))
        click.echo(f"{moment.isoformat(sep=' ', timespec='milliseconds')} {name}{shown} {line}")


def _name_column(name: str, colored: bool) -> str:
    """Return a plugin's name as a column; it has the same color each time."""
    from zlib import crc32

    column = f"{clean(name):<12} "
    color = _NAME_COLORS[crc32(name.encode("utf-8", "replace")) % len(_NAME_COLORS)]
    return click.style(column, fg=color) if colored else column


def print_json_lines(records: Sequence[Any]) -> None:
    """Print each record as one JSON value on its own line."""
    for record in records:
        click.echo(_escaped(_encoded(record)))


def print_host(host: Mapping[str, Any]) -> None:
    """Print the host's details."""
    lag = host.get("loop_lag")
    shown = {
        "uptime_s": _duration(host["uptime_s"]),
        "loop_lag": f"p50 {_short(lag['p50_s'])}, p99 {_short(lag['p99_s'])}" if lag else None,
    }
    _print_fields({**host, **shown})


def print_done(plugin: Mapping[str, Any]) -> None:
    """Print a plugin's status after an action, in one line."""
    pid = f" (pid {plugin['pid']})" if plugin["pid"] else ""
    reason = f": {plugin['reason']}" if plugin["reason"] else ""
    click.echo(clean(f"{plugin['name']} is {plugin['status']}{pid}{reason}"))


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one line for each plugin after an action, or why it failed."""
    for row in rows:
        if "error" in row:
            click.echo(clean(f"{row['name']}: {row['error']['message']}"), err=True)
        else:
            print_done(row)


def print_planned(rows: Sequence[Mapping[str, Any]], action: str) -> None:
    """Print which plugins an action would be done to."""
    for row in rows:
        if "error" in row:
            click.echo(clean(f"{row['name']}: {row['error']['message']}"), err=True)
        else:
            click.echo(clean(f"would {action} {row['name']}, which is {row['status']}"))


def print_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    """Print what became of each plugin, in one line each."""
    if not changes:
        click.echo("nothing to do")
    for change in changes:
        versions = " → ".join(dict.fromkeys(filter(None, (change["before"], change["after"]))))
        words = _CHANGE_WORDS[change["result"]]
        reason = f": {change['reason']}" if change["reason"] else ""
        line = " ".join(filter(None, (change["name"], versions, words)))
        if change["result"] == "planned" and change["permissions"]:
            reason = f"; it asks for permissions: {', '.join(change['permissions'])}"
        click.echo(clean(f"{line}{reason}"), err=change["result"] == "failed")


# The host's own calls, in words; others are the application's.
_CALLS = {
    "log": "write structured log records",
    "event.publish": "publish events",
    "event.subscribe": "subscribe to events",
    "event.unsubscribe": "unsubscribe from events",
    "plugin.call": "call other plugins",
}


def print_consent(change: Mapping[str, Any]) -> None:
    """Print what a package asks for, and which one it is."""
    versions = " → ".join(filter(None, (change["before"], change["after"])))
    click.echo(clean(f"{change['name']} {versions}   sha256 {change['digest']}"), err=True)
    click.echo("  it asks for these permissions:", err=True)
    for one in change["permissions"]:
        words = f" ({_CALLS[one]})" if one in _CALLS else ""
        # A wildcard stands for more than can be read here.
        click.secho(clean(f"    {one}{words}"), bold="*" in one, err=True)


def print_table_of(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text under headings."""
    table = new_table(*headings)
    for row in rows:
        _add_row(table, *row)
    print_table(table)


def print_versions(versions: Sequence[Mapping[str, Any]]) -> None:
    """Print the versions of a plugin in the store."""
    table = new_table("version", "digest", "state", ">size", "installed", "source")
    for one in versions:
        moment = _clock(one["installed_at"] or None)
        states = ", ".join(one["states"]) or "kept"
        size = format_size(one["size"]) if one["size"] else ""
        _add_row(table, one["version"], one["digest"][:16], states, size, moment, one["source"])
    print_table(table)


def print_outdated(found: Sequence[Mapping[str, Any]]) -> None:
    """Print what the sources of plugins have now."""
    if not found:
        click.echo("no plugins are installed")
        return
    rows = []
    for one in found:
        withdrawn = f"{one['current']} was withdrawn: {one['yanked']}" if one["yanked"] else ""
        reason = "; ".join(filter(None, (withdrawn, one["reason"])))
        rows.append(
            (one["name"], one["current"], one["available"], one["latest"], one["state"], reason)
        )
    print_table_of(("plugin", "current", "available", "latest", "state", "reason"), rows)


def print_verified(found: Sequence[Mapping[str, Any]]) -> None:
    """Print what became of each installed version."""
    for one in found:
        click.echo(clean(f"{one['name']} {one['version']}".rstrip() + f": {one['verdict']}"))
        if one["reason"]:
            click.echo(clean(f"  {one['reason']}"))
        if one["revoked"]:
            click.echo(clean(f"  signed by {one['revoked']}"))
        for kind in ("changed", "missing", "extra"):
            for path in one[kind]:
                click.echo(clean(f"  {kind}: {path}"))


def _print_fields(fields: Mapping[str, Any]) -> None:
    """Print one ``name  value`` per line, without unknown or empty values."""
    table = new_table("", "", header=False)
    for name, value in fields.items():
        if value is not None and value is not False and value not in ("", []):
            _add_row(table, name.removesuffix("_s"), _value(value))
    print_table(table)


def print_outcome(outcome: Mapping[str, Any], sent: Any) -> None:
    """Print each plugin's answer, how the event ended, and its payload if a plugin changed it.

    Args:
        outcome: The host's response.
        sent: The original payload.
    """
    results = outcome["results"]
    if not (results or outcome["stopped_by"]):
        click.echo("no running plugin wants this event")
        return
    if results:
        _print_results(results)
    if outcome["payload"] != sent:
        click.echo(f"payload now {clean(_compact(outcome['payload']))}")
    if outcome["stopped_by"]:
        click.echo(f"stopped by {clean(outcome['stopped_by'])}{_why_refused(outcome)}")


def _print_results(results: Sequence[Mapping[str, Any]]) -> None:
    table = new_table("plugin", "answer", ">ms", "data")
    for result in results:
        answer = "ok" if result["ok"] else "error"
        data = _compact(result["data"]) if result["ok"] else result["error"]
        _add_row(table, result["plugin"], answer, f"{result['duration_ms']:.1f}", data)
    print_table(table)


def _why_refused(outcome: Mapping[str, Any]) -> str:
    """Return the words of a refusal that says more than that the plugin has stopped the event."""
    refusal = outcome.get("refusal")
    if not refusal or refusal["code"] == "stopped":
        return ""
    return f": {clean(refusal['message'])} ({clean(refusal['code'])})"


def print_packed(made: Packed, *, list_all: bool = False) -> None:
    """Print what is in a new package, what is not, and its digests."""
    _print_files(made.files, list_all=list_all)
    _print_left_out(made.left_out)
    for file in made.files:
        if file.is_large:
            click.echo(
                f"warning: {clean(file.path)} has {format_size(file.size_bytes)}; if it is not "
                "needed, leave it out with a line in .vpignore",
                err=True,
            )
    total = format_size(sum(file.size_bytes for file in made.files))
    path = clean(str(made.path))
    click.echo(
        f"wrote {path}: {len(made.files)} files, {total} ({format_size(made.size_bytes)} packed)"
    )
    click.echo(f"sha256 {made.sha256} (in {path}.sha256)")
    click.echo(f"tree   {made.tree}")


def _print_files(files: Sequence[PackedFile], *, list_all: bool) -> None:
    shown = files if list_all else files[:_SHOWN_FILES]
    width = max(len(format_size(file.size_bytes)) for file in shown)
    for file in shown:
        click.echo(f"{format_size(file.size_bytes):>{width}}  {clean(file.path)}")
    if len(files) > len(shown):
        click.echo(f"and {len(files) - len(shown)} more files; all of them with: --list")


def _print_left_out(left_out: Sequence[LeftOut]) -> None:
    by_rules = [left.path for left in left_out if not left.is_secret]
    if by_rules:
        shown = ", ".join(map(clean, by_rules[:_SHOWN_PATHS]))
        more = f" and {len(by_rules) - _SHOWN_PATHS} more" if len(by_rules) > _SHOWN_PATHS else ""
        click.echo(f"left out by rules: {shown}{more}")
    for left in left_out:
        if left.is_secret:
            path = clean(left.path)
            click.echo(f"left out: {path} {left.reason}; to pack it: --include {path}", err=True)


def print_report(report: Report) -> None:
    """Print what a check has found, one line each, and how many faults there are."""
    for finding in report.findings:
        mark = "" if finding.is_fault else "note: "
        click.echo(f"{mark}{clean(finding.place)}: {clean(finding.message)}")
    count = report.faults
    click.echo("no faults" if not count else f"{count} fault{'s' if count > 1 else ''}")


def print_bench(report: Mapping[str, Any]) -> None:
    """Print the results of ``vconnect bench``."""
    stated = [f"vconnect {report['version']}", report["python"], report["loop"], report["system"]]
    click.echo(f"{', '.join(stated)}, {report['cores']} cores")
    click.echo("a host and its plugins, which are Python, on the same machine\n")
    table = new_table("work", ">p50", ">p99", ">events/s", ">deliveries/s", ">payload")
    for result in report["results"]:
        _add_row(
            table,
            result["work"]["name"],
            _latency(result["p50_us"]),
            _latency(result["p99_us"]),
            f"{result['per_second']:,.0f}",
            f"{result['deliveries_per_second']:,.0f}",
            f"{result['bytes_per_second'] / 1e6:,.1f} MB/s",
        )
    print_table(table)


def format_size(size_bytes: int) -> str:
    """Format a size with the unit that suits it, such as ``1.2 MB``."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / 1_000_000:.1f} MB"


def _short(seconds: float) -> str:
    from vconnect.seeing.words import duration

    return duration(seconds)


def _latency(microseconds: float) -> str:
    if microseconds >= 1000:
        return f"{microseconds / 1000:,.2f} ms"
    return f"{microseconds:.1f} us"


def _encoded(value: Any, option: int | None = None) -> bytes:
    try:
        return orjson.dumps(value, default=_plain, option=option)
    except orjson.JSONEncodeError:
        from vconnect.seeing.encoding import mended

        # A path that is not UTF-8 contains lone surrogates, which JSON cannot represent.
        return orjson.dumps(mended(_plain(value)), option=option)


def _plain(value: Any) -> Any:
    """Turn structs into what JSON has."""
    import msgspec

    return msgspec.to_builtins(value)


def _escaped(encoded: bytes) -> bytes:
    """Escape characters in JSON that a terminal might interpret."""
    return _unescaped().sub(_as_escape, encoded.decode("utf-8")).encode("utf-8")


@cache
def _unescaped() -> re.Pattern[str]:
    """Return what orjson leaves unescaped; it escapes only characters below U+0020."""
    from vconnect.logs.text import UNSAFE_BEYOND_ASCII

    return re.compile(f"[{UNSAFE_BEYOND_ASCII}]")


def _as_escape(found: re.Match[str]) -> str:
    import json

    return json.dumps(found[0])[1:-1]


def _field(value: Any) -> str:
    return _quoted(value) if isinstance(value, str) else _compact(value)


def _quoted(text: str) -> str:
    """Quote what would look like several fields."""
    return _compact(text) if not text or _SEVERAL.search(text) else text


def _compact(value: Any) -> str:
    """Format ``value`` as JSON on one line."""
    return orjson.dumps(value).decode("utf-8")


def is_colored() -> bool:
    """Return whether to color: as ``--color`` says, else on a terminal without ``NO_COLOR``."""
    context = click.get_current_context(silent=True)
    if context is not None and context.color is not None:
        return context.color
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _console() -> Console:
    from rich.console import Console

    is_terminal, colored = sys.stdout.isatty(), is_colored()
    return Console(
        # rich asks the terminal for its width, and assumes 80 columns elsewhere.
        width=None if is_terminal else _PIPE_WIDTH,
        # Styles beyond color, such as bold, are codes too: without color there are none.
        force_terminal=is_terminal and colored,
        no_color=not colored,
        color_system="standard" if colored else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def print_table(table: Table) -> None:
    """Print a table; in a pipe or a file each row is one complete line."""
    console = _console()
    with console.capture() as captured:
        console.print(table)
    # rich fills each line up to the width of the widest one.
    # In the terminal's own encoding, which click would pass by.
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    sys.stdout.flush()


def new_table(*headings: str, header: bool = True) -> Table:
    """Make a table without borders; a heading that begins with ``>`` is right-aligned."""
    from rich.table import Table

    table = Table(box=None, show_header=header, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if heading.startswith(">") else "left",
            overflow="fold",
            no_wrap=heading.startswith(">") or heading == "STATE",
        )
    return table


def _add_row(table: Table, *cells: object) -> None:
    from rich.text import Text

    texts = ["" if cell is None else clean(str(cell)) for cell in cells]
    table.add_row(*map(Text, texts))


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _duration(seconds: float | None) -> str:
    """Format a duration with its two largest units, such as ``4h 05m``."""
    if seconds is None:
        return ""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}h"
    if hours:
        return f"{hour}h {minute:02}m"
    return f"{minute}m {second:02}s" if minutes else f"{second}s"


def _clock(unix_seconds: float | None) -> str:
    """Format a point in time in the local time zone."""
    if unix_seconds is None:
        return ""
    from datetime import datetime

    return datetime.fromtimestamp(unix_seconds).astimezone().isoformat(sep=" ", timespec="seconds")
