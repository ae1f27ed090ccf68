"""``vconnect top``: the plugins, again and again."""

from __future__ import annotations

import click

from .control import RunningHost, asks_host


@click.command()
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="End after N times.")
@click.option(
    "-d",
    "--delay",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds between.",
)
@asks_host
def top(host: RunningHost, count: int | None, delay: float) -> None:
    """Watch the plugins: rates, latencies, queues, processor and memory.

    Keys: q quits, p pauses, s sorts, the arrows choose a plugin, Enter says why. With -n 1 or in a
    pipe it prints once. --json prints one value per line.
    """
    from vconnect.cli.watching import Screen, print_frames
    from vconnect.cli.watching import is_interactive as is_terminal

    if host.as_json or count is not None or not is_terminal():
        host.ask(lambda client: print_frames(client, count or 1, delay, as_json=host.as_json))
    else:
        host.ask(lambda client: Screen(client, delay).run())
