"""``vconnect dev``: runs one plugin while it is being written."""

from __future__ import annotations

import re
from pathlib import Path

import click

from vconnect.cli.interrupts import ending_at_once
from vconnect.names import canonical_name


@click.command()
@click.argument(
    "directory",
    metavar="[DIR]",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
)
@click.option("--debug", is_flag=True, help="Pass --debug to the plugin.")
def dev(directory: Path, debug: bool) -> int:
    """Run the plugin in DIR alone, in a host of its own, until Ctrl-C.

    The terminal is the plugin's, so that breakpoint() works. It has no deadline, no circuit and no
    quarantine, and starts again when a file of it is saved. Each event is shown with its answer.
    """
    with ending_at_once():
        from vconnect.cli.developing import develop

    path = directory.resolve()
    return develop(name_of(path), path, debug=debug)


def name_of(path: Path) -> str:
    """Return the plugin's name: that of its manifest, else its directory's."""
    from vconnect.packages.manifest import MANIFEST_NAME, read_manifest

    file = path / MANIFEST_NAME
    if file.exists():
        return canonical_name(read_manifest(file).name)
    # A directory may have a name that no plugin may have.
    return re.sub(r"[^A-Za-z0-9._-]", "-", canonical_name(path.name))
