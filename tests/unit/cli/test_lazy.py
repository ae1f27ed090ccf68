"""Commands are imported when they are needed."""

from __future__ import annotations

import click

from vconnect.cli.root import root


def test_each_place_has_its_command_and_its_help_begins_likewise() -> None:
    context = click.Context(root)
    for name, place in root.places.items():
        command = root.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert place.help.endswith(".")
    assert root.get_command(context, "nothing") is None
