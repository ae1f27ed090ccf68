"""Commands that show a running host: list, status, why."""

from __future__ import annotations

import click

from vconnect.cli.exit_codes import FAILED
from vconnect.cli.output import print_host, print_versions
from vconnect.cli.showing_plugins import print_plugin, print_plugins, print_why

from .completion import complete_plugin
from .control import RunningHost, asks_host, check_word

_SORTS = ("trouble", "name", "p99", "events", "memory")


@click.command("list")
@click.option("--wide", is_flag=True, help="Show more: latencies, queues, memory, versions.")
@click.option(
    "--sort",
    type=click.Choice(_SORTS),
    default="trouble",
    show_default=True,
    help="The order of the plugins.",
)
@click.option(
    "--versions",
    metavar="NAME",
    callback=check_word,
    shell_complete=complete_plugin,
    help="List the versions of NAME.",
)
@asks_host
def list_plugins(host: RunningHost, wide: bool, sort: str, versions: str | None) -> None:
    """List the plugins: whether they serve and why not, or the versions of one.

    Rates, latencies and counts are those of the last minute. With --wide, N is the number of
    answers that P50 and P99 are made of; of less than 100, P99 is close to the slowest one.
    """
    if versions is not None:
        host.show(host.ask(lambda client: client.versions(versions)), print_versions)
        return
    listed = host.ask(lambda client: client.plugins(sort=sort))
    host.show(listed, lambda listed: print_plugins(listed, wide=wide))


@click.command()
@click.argument("name", required=False, callback=check_word, shell_complete=complete_plugin)
@click.option("--crashes", is_flag=True, help="Show the reports of unexpected ends.")
@asks_host
def status(host: RunningHost, name: str | None, crashes: bool) -> None:
    """Show the details of the plugin NAME, or of the host itself."""
    if name is None:
        if crashes:
            raise click.UsageError("--crashes needs the NAME of a plugin")
        host.show(host.ask(lambda client: client.host()), print_host)
    else:
        plugin = host.ask(lambda client: client.status(name))
        host.show(plugin, lambda plugin: print_plugin(plugin, crashes=crashes))


@click.command()
@click.argument("name", callback=check_word, shell_complete=complete_plugin)
@asks_host
def why(host: RunningHost, name: str) -> None:
    """Say in one line why the plugin NAME does not serve, and what to do.

    The exit code is 0 if it serves, 1 if it does not, and 4 if there is no such plugin.
    """
    found = host.ask(lambda client: client.why(name))
    host.show(found, print_why)
    # An event now and then that tries an open circuit is no service.
    serves = found.serving and found.code != "circuit_open"
    host.exit(0 if serves else FAILED)
