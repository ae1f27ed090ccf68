"""How plugins are shown: the list with shapes, the details of one, and why it does not serve."""

# All words about what is wrong come from the host's one explanation. Here they are only laid out.

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from vconnect.seeing.words import clock, duration, many

from .output import (
    SHAPE_STYLES,
    clean,
    format_crash,
    format_quarantined,
    new_table,
    print_list,
    print_table,
)

if TYPE_CHECKING:
    from rich.table import Table

    from vconnect.admin.answers import PluginList
    from vconnect.plugins.crashes import CrashReport
    from vconnect.plugins.latency import Latency
    from vconnect.seeing.last_minute import EventLatency
    from vconnect.seeing.summary import PluginSummary
    from vconnect.seeing.why import Why

_SHAPES = {
    "running": ("●", "[+]"),
    "starting": ("◐", "[~]"),
    "error": ("▲", "[!]"),
    "barred": ("⊘", "[x]"),
    "quarantine": ("◆", "[?]"),
    "stopped": ("○", "[ ]"),
    "installed": ("□", "[-]"),
}
_UNKNOWN = "\N{EN DASH}"
#: Codes of plugins that do not serve because a person wants it so.
_ON_PURPOSE = ("stopped", "disabled", "not_started")
# With fewer answers, the 99th percentile is close to the maximum.
_ENOUGH = 100
_BY_EVENT = 8


class _Column(NamedTuple):
    heading: str
    cell: Callable[[PluginSummary], str]


def shape_of(plugin: PluginSummary) -> str:
    """Return what is drawn beside a plugin's state."""
    symbol, plain = _SHAPES.get(plugin.shape, ("?", "[?]"))
    return symbol if _has_symbols() else plain


def _has_symbols() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return encoding.lower().replace("-", "").startswith("utf")


def short_why(plugin: PluginSummary) -> str:
    """Return why, without what the state says already.

    >>> from types import SimpleNamespace as Plugin
    >>> short_why(Plugin(state="stopped", why="stopped by alice, 3 d ago"))
    'by alice, 3 d ago'
    """
    why = plugin.why
    for said in (f"{plugin.state}: ", f"{plugin.state} ", "runs, but "):
        why = why.removeprefix(said)
    return why


def is_down(plugin: PluginSummary) -> bool:
    """Return whether a plugin does not serve although it should.

    While its circuit is not closed, it gets one event now and then, which is no service.
    """
    if plugin.code in _ON_PURPOSE:
        return False
    return not plugin.serving or plugin.code == "circuit_open"


def rate(per_second: float | None) -> str:
    """Format a rate; unknown is not zero."""
    if per_second is None:
        return _dash()
    digits = ".2g" if per_second < 0.095 else ".1f" if per_second < 10 else ",.0f"
    return f"{per_second:{digits}}/s"


def latency(seconds: float | None) -> str:
    """Format a latency; unknown is not zero."""
    return _dash() if seconds is None else _ascii(duration(seconds))


def memory(size: int | None) -> str:
    """Format a size of memory."""
    return _dash() if size is None else f"{size / (1 << 20):,.0f} MiB"


def percent(value: float | None) -> str:
    """Format a use of the processor."""
    return _dash() if value is None else f"{value:.0f} %"


def _dash() -> str:
    return _UNKNOWN if _has_symbols() else "-"


def _ascii(text: str) -> str:
    return text if _has_symbols() else text.replace("µ", "u")


def _p50(plugin: PluginSummary) -> str:
    return latency(plugin.latency.p50_s if plugin.latency else None)


def p99(plugin: PluginSummary) -> str:
    """Format a plugin's 99th percentile."""
    return latency(plugin.latency.p99_s if plugin.latency else None)


def _uptime(plugin: PluginSummary) -> str:
    return "" if plugin.uptime_s is None else _ascii(duration(max(1.0, round(plugin.uptime_s))))


_SHORT = (
    _Column("EVENTS", lambda one: rate(one.events_per_s)),
    _Column("P99", p99),
    _Column("WHY", short_why),
)
_WIDE = (
    _Column(">EVENTS", lambda one: rate(one.events_per_s)),
    _Column(">P50", _p50),
    _Column(">P99", p99),
    _Column(">N", lambda one: f"{one.latency.count:,}" if one.latency else "0"),
    _Column(">IN FLIGHT", lambda one: f"{one.in_flight}/{one.window}"),
    _Column(">QUEUE", lambda one: f"{one.queue.events}/{one.queue.limit}"),
    _Column(">PASSED", lambda one: str(sum(one.passed_over.values()))),
    _Column(">REFUSED", lambda one: str(one.passed_over.get("refused", 0))),
    _Column(">RESTARTS", lambda one: str(one.restarts)),
    _Column(">CPU", lambda one: percent(one.cpu_percent)),
    _Column(">MEMORY", lambda one: memory(one.rss_bytes)),
    _Column("VERSION", lambda one: one.version),
    _Column(">PRIO", lambda one: str(one.priority)),
    _Column(">PID", lambda one: "" if one.pid is None else str(one.pid)),
    _Column("UP", _uptime),
)


def print_plugins(listed: PluginList, *, wide: bool = False) -> None:
    """Print the table of all plugins, and below it what needs attention."""
    if not listed.plugins:
        click.echo(
            "no plugins; install one, or run one from source with: vconnect serve --dev NAME:PATH"
        )
        return
    columns = _WIDE if wide else _SHORT
    table = new_table("", "NAME", "STATE", *(one.heading for one in columns))
    for plugin in listed.plugins:
        style = SHAPE_STYLES.get(plugin.shape, "")
        cells = [column.cell(plugin) for column in columns]
        _add_styled(table, [shape_of(plugin), plugin.name, plugin.state, *cells], style)
    print_table(table)
    click.echo(clean(headline(listed.plugins)))


def _add_styled(table: Table, cells: Sequence[str], style: str) -> None:
    """Add a row whose shape and state have a color."""
    from rich.text import Text

    texts = [
        Text(clean(cell), style=style if at in (0, 2) else "") for at, cell in enumerate(cells)
    ]
    table.add_row(*texts)


def headline(plugins: Sequence[PluginSummary]) -> str:
    """Say in one sentence whether anything is wrong, and what to do first."""
    down = [one for one in plugins if is_down(one)]
    refused = sum(one.passed_over.get("refused", 0) for one in plugins)
    skipped = sum(one.passed_over.get("skipped", 0) for one in plugins)
    parts = []
    if down:
        verb = "does" if len(down) == 1 else "do"
        parts.append(f"{len(down)} of {len(plugins)} {verb} not serve")
    if refused:
        parts.append(f"{many(refused, 'event')} refused in the last minute")
    elif skipped:
        parts.append(f"{many(skipped, 'event')} passed a plugin over in the last minute")
    troubled = [one for one in plugins if one.why and one.code not in _ON_PURPOSE]
    if not parts and troubled:
        parts.append(f"all serve; {many(len(troubled), 'plugin')} with trouble")
    if not parts:
        stopped = sum(not one.serving for one in plugins)
        note = f"; {stopped} stopped on purpose" if stopped else ""
        return f"{len(plugins) - stopped} of {len(plugins)} serve{note}"
    first = next((one.name for one in (*down, *troubled)), plugins[0].name)
    return f"{'; '.join(parts)}. Next: vconnect why {first}"


def print_why(why: Why) -> None:
    """Print why a plugin does not serve, in one line, and what else is wrong below."""
    click.echo(clean(_ascii(why.in_words())))
    for also in why.also:
        click.echo(clean(_ascii(f"also: {also.cause}")))


def print_plugin(plugin: PluginSummary, *, crashes: bool = False) -> None:
    """Print what an operator must know of one plugin."""
    since = f" since {clock(plugin.since)}" if plugin.since else ""
    version = f" {plugin.version}" if plugin.version else ""
    head = clean(f"{plugin.name}{version}, {plugin.state}{since}")
    click.echo(f"{click.style(shape_of(plugin), **_click_style(plugin))} {head}")
    for name, words in _facts(plugin):
        if words:
            click.echo(f"  {name:<12} {clean(_ascii(words))}")
    print_list("quarantine", [format_quarantined(one) for one in plugin.quarantine])
    if crashes:
        print_list("crashes", [line for one in plugin.crashes for line in _crash_lines(one)])
    print_list("last stderr", plugin.last_stderr)


def _click_style(plugin: PluginSummary) -> dict[str, Any]:
    style = SHAPE_STYLES.get(plugin.shape, "")
    color = next((one for one in ("red", "green", "yellow") if one in style), None)
    return {"fg": color, "bold": "bold" in style or None}


def _crash_lines(crash: CrashReport) -> list[str]:
    return [format_crash(crash), *(f"  {line}" for line in crash.last_stderr[-5:])]


def _facts(plugin: PluginSummary) -> list[tuple[str, str]]:
    """Return the lines of a plugin's details; empty ones are left out."""
    return [
        ("why", plugin.why),
        ("next", plugin.next),
        *(("also", one.cause) for one in plugin.also),
        ("serves", _serves(plugin)),
        ("process", _process(plugin)),
        ("answers", _answers(plugin)),
        *(("", _by_event(one)) for one in _busiest(plugin)),
        ("passed over", _passed_over(plugin)),
        ("queue", _queue(plugin)),
        ("restarts", _restarts(plugin)),
        ("ends", f"{len(plugin.crashes)} unexpected; see --crashes" if plugin.crashes else ""),
        ("allowed", ", ".join(plugin.permissions)),
        ("withheld", ", ".join(plugin.withheld)),
        ("requires", ", ".join(plugin.requires)),
        ("about", plugin.description),
        ("path", plugin.path),
    ]


def _busiest(plugin: PluginSummary) -> list[EventLatency]:
    several = [one for one in plugin.latency_by_event if one.count]
    ordered = sorted(several, key=lambda one: -one.count)
    return ordered[:_BY_EVENT] if len(several) > 1 else []


def _by_event(one: EventLatency) -> str:
    limit = f", at most {duration(one.timeout_s)}" if one.timeout_s is not None else ""
    return f"{one.event}: p50 {latency(one.p50_s)}, p99 {latency(one.p99_s)} of {one.count}{limit}"


def _serves(plugin: PluginSummary) -> str:
    wants = ", ".join((*plugin.capabilities, *plugin.subscriptions)) or "no event"
    required = ", required" if plugin.required else ""
    return f"{wants} ({plugin.role}, priority {plugin.priority}{required})"


def _process(plugin: PluginSummary) -> str:
    if plugin.pid is None:
        end = plugin.exit_signal or (
            f"code {plugin.exit_code}" if plugin.exit_code is not None else ""
        )
        return f"none; the last one ended with {end}" if end else "none"
    up = f"up {_uptime(plugin)}" if plugin.uptime_s is not None else ""
    use = [
        percent(plugin.cpu_percent) if plugin.cpu_percent is not None else "",
        memory(plugin.rss_bytes) if plugin.rss_bytes is not None else "",
    ]
    parts = [str(plugin.pid), f"generation {plugin.generation}", up, *use]
    return ", ".join(filter(None, parts))


def _answers(plugin: PluginSummary) -> str:
    counts = {name: count for name, count in plugin.outcomes.items() if count}
    if not counts:
        return ""
    total = sum(counts.values())
    shown = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    return f"{shown} of {total:,}{_quantiles(plugin.latency)}"


def _quantiles(found: Latency | None) -> str:
    if found is None:
        return ""
    few = f" of {found.count}" if found.count < _ENOUGH else ""
    return f"; p50 {duration(found.p50_s)}, p99 {duration(found.p99_s)}{few}"


def _passed_over(plugin: PluginSummary) -> str:
    counts = {name: count for name, count in plugin.passed_over.items() if count}
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{shown} in the last minute" if shown else ""


def _queue(plugin: PluginSummary) -> str:
    if not (plugin.queue.events or plugin.in_flight or plugin.dropped_last_minute):
        return ""
    dropped = (
        f", {plugin.dropped_last_minute:,} dropped in the last minute"
        if plugin.dropped_last_minute
        else ""
    )
    return (
        f"{plugin.queue.events:,} of {plugin.queue.limit:,} wait, "
        f"{plugin.in_flight} of {plugin.window} in flight{dropped}"
    )


def _restarts(plugin: PluginSummary) -> str:
    if plugin.next_retry_at is not None:
        return f"{plugin.restarts}; next try {clock(plugin.next_retry_at)}"
    return str(plugin.restarts) if plugin.restarts else ""
