"""``vconnect man``: the manual page, made from the commands themselves."""

from __future__ import annotations

import click


@click.command()
@click.pass_context
def man(context: click.Context) -> None:
    """Print the manual page; to read it: vconnect man | man -l -."""
    from vconnect.cli.manual import manual_page

    click.echo(manual_page(context.find_root()), nl=False)
