"""``vconnect tail``: shows events as they pass, with what each plugin did."""

from __future__ import annotations

import sys
import time
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from vconnect.cli.moments import as_duration
from vconnect.cli.output import clean, is_colored, print_json_lines

from .completion import complete_plugin
from .control import RunningHost, asks_host

if TYPE_CHECKING:
    from vconnect.admin.client.client import AdminClient
    from vconnect.seeing.trace import Hop, Trace

_SAMPLED_EVERY_S = 10.0
_MARKS = {"late": " late", "error": " !", "lost": " lost", "stopped": " stop", "changed": "*"}


@click.command()
@click.option("--event", metavar="PATTERN", default="", help="Only such events, as 'message.*'.")
@click.option(
    "--plugin",
    metavar="NAME",
    default="",
    shell_complete=complete_plugin,
    help="Only events in which NAME took part.",
)
@click.option(
    "--slow",
    callback=as_duration,
    metavar="TIME",
    help="Only events that took longer, such as 50ms, or that failed.",
)
@click.option("--passed-over", is_flag=True, help="Only events that passed a plugin over.")
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@asks_host
def tail(
    host: RunningHost,
    event: str,
    plugin: str,
    slow: float | None,
    passed_over: bool,
    count: int | None,
) -> None:
    """Show events as they pass, until Ctrl-C.

    Each line has the time, the event, how long it took, what became of it, and each plugin with its
    milliseconds: * changed the payload, ! failed. Of more than 200 events a second only a sample is
    shown, and each one that failed or was slow; that is said. --json prints one value per line.
    """
    filters: dict[str, Any] = {
        "event": event,
        "plugin": plugin,
        "slow_ms": slow * 1000 if slow else None,
    }

    async def follow(client: AdminClient) -> None:
        shown = 0
        sampled = _Sampled(as_json=host.as_json)
        async with aclosing(client.stream(["trace"], **filters)) as events:
            async for one in events:
                if one.kind == "trace" and (trace := _wanted(one.data, passed_over)):
                    _show(trace, one.data, as_json=host.as_json)
                    shown += 1
                elif one.kind == "sampled":
                    sampled.tell(one.data["events"])
                elif one.kind in ("dropped", "lost"):
                    _tell(one.kind, one.data, as_json=host.as_json)
                if shown == count:
                    return

    host.ask(follow)


class _Sampled:
    """Says now and then that what is shown is a sample."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._again = 0.0

    def tell(self, events: int) -> None:
        """Say it, unless it was said within the last seconds.

        Args:
            events: How many events plugins got within a second.
        """
        if (now := time.monotonic()) < self._again:
            return
        self._again = now + _SAMPLED_EVERY_S
        if self._as_json:
            print_json_lines([{"sampled": events}])
            return
        sys.stdout.flush()
        click.echo(f"-- a sample: plugins got {events:,} events in the last second --", err=True)


def _wanted(data: Any, passed_over: bool) -> Trace | None:
    import msgspec

    from vconnect.seeing.trace import Trace

    trace = msgspec.convert(data, Trace)
    if passed_over and all(hop.outcome != "passed_over" for hop in trace.hops):
        return None
    return trace


def _show(trace: Trace, data: Any, *, as_json: bool) -> None:
    if as_json:
        print_json_lines([data])
    else:
        click.echo(format_trace(trace))
    sys.stdout.flush()


def _tell(kind: str, data: Any, *, as_json: bool) -> None:
    if kind == "lost":
        click.echo("the host is gone; waiting for it", err=True)
    elif as_json:
        print_json_lines([{"dropped": data.get("count")}])
    else:
        sys.stdout.flush()
        count = data.get("count")
        click.echo(f"-- {count if count is not None else 'some'} not shown: too many --", err=True)


def format_trace(trace: Trace) -> str:
    """Format an event as one line."""
    moment = datetime.fromtimestamp(trace.time).astimezone()
    is_bad = trace.outcome in ("refused", "failed")
    outcome = f"{trace.outcome.upper() if is_bad else trace.outcome:<8}"
    if is_bad and is_colored():
        outcome = click.style(outcome, fg="red", bold=True)
    took = f"{trace.duration_s * 1000:,.1f} ms"
    hops = " · ".join(_format_hop(hop) for hop in trace.hops) or "nobody wants it"
    return (
        f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03} {clean(trace.event):<20} {took:>11}  "
        f"{outcome} {clean(hops)}"
    )


def _format_hop(hop: Hop) -> str:
    if hop.outcome == "passed_over":
        return f"{hop.plugin} ⊘ {hop.reason.replace('_', ' ')}"
    default = " (default)" if hop.is_default else ""
    reason = f" {hop.reason}" if hop.reason else ""
    mark = _MARKS.get(hop.outcome, "")
    return f"{hop.plugin} {hop.duration_s * 1000:.1f}{mark}{reason}{default}"
