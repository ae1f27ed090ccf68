"""``vconnect dashboard``: an address of the page that logs in once."""

from __future__ import annotations

from typing import Any

import click

from .control import RunningHost, asks_host


@click.command()
@asks_host
def dashboard(host: RunningHost) -> None:
    """Print an address of the dashboard, which logs in once within a minute.

    The host must have been started with --http.
    """
    host.show(host.ask(lambda client: client.login_url()), _print)


def _print(found: Any) -> None:
    click.echo(found["url"])
