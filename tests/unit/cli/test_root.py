"""What stands before a command, and the list of commands."""

from __future__ import annotations

import click
import pytest

from vconnect import __version__
from vconnect.cli.boundary import run
from vconnect.cli.context import State
from vconnect.cli.root import root

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def seen() -> list[tuple[bool, str | None]]:
    return []


@pytest.fixture
def probe(seen: list[tuple[bool, str | None]], monkeypatch: pytest.MonkeyPatch) -> str:
    """A command beside ours that writes down the options before it."""

    @click.command()
    @click.pass_obj
    def command(state: State) -> None:
        seen.append((state.debug, state.admin))

    monkeypatch.setitem(root.commands, "probe", command)
    monkeypatch.delenv("VCONNECT_ADMIN", raising=False)
    return "probe"


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ((), (False, None)),
        (("--debug",), (True, None)),
        (("--admin", "a.sock"), (False, "a.sock")),
        (("--admin=a.sock", "--debug"), (True, "a.sock")),
    ],
)
def test_options_before_a_command_reach_it(
    options: tuple[str, ...],
    state: tuple[bool, str | None],
    probe: str,
    seen: list[tuple[bool, str | None]],
) -> None:
    assert run(root, [*options, probe]) == 0
    assert seen == [state]


def test_a_variable_stands_in_for_the_option_and_yields_to_it(
    probe: str, seen: list[tuple[bool, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCONNECT_ADMIN", "of-env.sock")
    assert run(root, [probe]) == 0
    assert run(root, ["--admin", "own.sock", probe]) == 0
    assert seen == [(False, "of-env.sock"), (False, "own.sock")]


def test_the_version_comes_before_everything_else(
    probe: str, seen: list[tuple[bool, str | None]], capsys: Printed
) -> None:
    assert run(root, ["--version", probe]) == 0
    assert capsys.readouterr().out == f"vconnect {__version__}\n"
    assert seen == []


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_command_with_its_words(arguments: list[str], capsys: Printed) -> None:
    assert run(root, arguments) == 0
    listing = capsys.readouterr().out.partition("Commands:")[2].splitlines()
    words = {line.split()[0]: line.split()[1:] for line in listing if line.strip()}
    assert sorted(words) == sorted(root.places)
    assert all(words.values())


@pytest.mark.parametrize("name", sorted(root.places))
def test_every_command_has_both_options_for_help(name: str, capsys: Printed) -> None:
    assert run(root, [name, "-h"]) == 0
    short = capsys.readouterr().out
    assert run(root, [name, "--help"]) == 0
    assert capsys.readouterr().out == short
    assert short.startswith(f"Usage: vconnect {name} ")


def test_every_option_says_what_it_is_for() -> None:
    context = click.Context(root)
    commands = [root.get_command(context, name) for name in root.list_commands(context)]
    for command in (root, *commands):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{command.name} {parameter.name}"


def test_an_unknown_command_is_wrong_usage(capsys: Printed) -> None:
    assert run(root, ["nope"]) == 2
    assert "'nope'" in capsys.readouterr().err
