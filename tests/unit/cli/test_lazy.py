"""Commands are imported when they are needed."""

from __future__ import annotations

import click
import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root


def test_each_place_has_its_command_and_its_help_begins_likewise() -> None:
    context = click.Context(root)
    for name, place in root.places.items():
        command = root.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert place.help.endswith(".")
    assert root.get_command(context, "nothing") is None


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("lst", "no such command 'lst' (did you mean 'list'?); see: vconnect --help"),
        ("xyzzy", "no such command 'xyzzy'; see: vconnect --help"),
    ],
)
def test_a_mistyped_command_is_told_what_it_may_mean(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, [command]) == 2
    assert capsys.readouterr().err == f"error: {words}\n"
