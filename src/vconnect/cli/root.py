"""The command ``vconnect`` itself: the options before a command, and the list of commands."""

from __future__ import annotations

import click

from .commands import (
    bench,
    checking,
    control,
    index,
    logs,
    packages,
    projects,
    serve,
    settings,
    signing,
    trust,
)
from .context import State, pass_state


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    # During shell completion nothing may be printed.
    if not wanted or context.resilient_parsing:
        return
    from vconnect import __version__

    click.echo(f"vconnect {__version__}")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Print the traceback of an error.")
@click.option(
    "--admin",
    metavar="PATH",
    envvar="VCONNECT_ADMIN",
    show_envvar=True,
    help="The administration socket, for the following command.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
@pass_state
def root(state: State, debug: bool, admin: str | None) -> None:
    """Run and control out-of-process plugins.

    Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 not running, 4 no such
    plugin, 5 no host answers, 6 not permitted, 7 conflict, 8 not verified, 124 timeout,
    130 interrupted.
    """
    state.debug = debug
    state.admin = admin


for _command in (
    serve.serve,
    control.list_plugins,
    control.status,
    logs.logs,
    control.emit,
    control.start,
    control.stop,
    control.restart,
    control.enable,
    control.disable,
    control.release,
    packages.install,
    packages.upgrade,
    packages.rollback,
    packages.uninstall,
    packages.rescan,
    packages.verify,
    packages.outdated,
    index.search,
    index.info,
    index.index,
    settings.reload,
    settings.config,
    projects.pack,
    projects.new,
    checking.check,
    checking.schema,
    signing.keygen,
    signing.sign,
    trust.trust,
    trust.untrust,
    trust.trusted,
    bench.bench,
):
    root.add_command(_command)
