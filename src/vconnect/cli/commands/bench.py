"""``vconnect bench``: measures the performance of this machine, in half a minute."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from vconnect.cli.output import print_bench, print_json

if TYPE_CHECKING:
    from vconnect.bench.works import Work


@click.command()
@click.option("--quick", is_flag=True, help="Take about five seconds, for rough figures.")
@click.option("--uvloop/--no-uvloop", default=None, help="The event loop of the host.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def bench(quick: bool, uvloop: bool | None, as_json: bool) -> None:
    """Measure how fast this machine delivers events to plugins and back.

    The command starts its own host and a hundred small plugins in one other process, for half a
    minute, and leaves nothing behind. A running host is not involved.
    """
    import logging

    import msgspec

    from vconnect.bench.run import run_bench

    # The loop is loaded on purpose, and a pause of the machine is in the figures.
    logging.getLogger("vconnect.watching").setLevel(logging.ERROR)
    report = msgspec.to_builtins(run_bench(quick=quick, uvloop=uvloop, progress=_say))
    if as_json:
        print_json(report)
    else:
        print_bench(report)


def _say(work: Work) -> None:
    """Show progress on a terminal."""
    if sys.stderr.isatty():
        click.echo(f"{work.name} ...", err=True)
