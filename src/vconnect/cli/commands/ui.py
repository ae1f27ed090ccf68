"""``vconnect ui``: the plugins, their logs and orders on the whole terminal."""

from __future__ import annotations

from importlib.util import find_spec

import click

from .control import RunningHost, finds_host


@click.command()
@finds_host
def ui(host: RunningHost) -> None:
    """Watch and steer the plugins on the whole terminal.

    The list is on the left, the log of the chosen plugin on the right, and why it does not serve
    below. Keys: r restart, s stop or start, u upgrade, x release, f follow, / filter, y copy the
    last line, o log in $PAGER, ? keys, q quit.
    """
    from vconnect.cli.watching import is_interactive

    if not is_interactive():
        raise click.UsageError("it needs a terminal for its input and its output")
    if find_spec("textual") is None:
        raise click.ClickException(
            'the terminal interface needs the extra "tui": pip install "vconnect[tui]"'
        )

    async def run(client: object) -> None:
        from vconnect.admin.client.client import AdminClient
        from vconnect.cli.terminal_ui import Ui

        assert isinstance(client, AdminClient)
        await client.host()  # a host that is not there is an error, and no empty screen
        await Ui(client).run_async()

    host.ask(run)
