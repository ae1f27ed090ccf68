"""A group whose commands are imported when they are needed, so that help comes at once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import click


class Place(NamedTuple):
    """Where a command is.

    Attributes:
        module: Its module among the commands.
        attribute: Its name there.
        help: What it does, in a few words; the first sentence of its own help.
    """

    module: str
    attribute: str
    help: str


class LazyGroup(click.Group):
    """A group that knows its commands by their places.

    Set `places` after it is made.
    """

    places: Mapping[str, Place] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*self.places, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, unless it is there already."""
        place = self.places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"vconnect.cli.commands.{place.module}")
        command = getattr(module, place.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; if there is none of its name, tell one with nearly the same."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            if not near:
                raise
            words = f"{error.message.rstrip('.')} (did you mean {near[0]!r}?)"
            raise click.UsageError(words, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.places[name].help) for name in sorted(self.places)])
