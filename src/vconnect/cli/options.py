"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

from vconnect.names import DEFAULT_CONFIG_FILE

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The configuration file.  [default: ./{DEFAULT_CONFIG_FILE} if it exists]",
)
admin_option = click.option(
    "--admin",
    metavar="PATH",
    help="The administration socket.  [default: from the configuration]",
)
