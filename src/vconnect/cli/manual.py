"""Writes a manual page in roff from click's tree of commands."""

from __future__ import annotations

from collections.abc import Iterator

import click

from vconnect.version import host_version

_EXIT_CODES = (
    ("0", "success"),
    ("1", "failure; the plugin does not serve; a check has found problems"),
    ("2", "wrong usage or configuration"),
    ("3", "the plugin does not run"),
    ("4", "there is no such plugin"),
    ("5", "no host answers"),
    ("6", "not permitted"),
    ("7", "conflict"),
    ("8", "not verified"),
    ("124", "timeout"),
    ("130", "interrupted by Ctrl-C"),
)


def manual_page(context: click.Context) -> str:
    """Return the page of a whole program, in section 1.

    Args:
        context: The context of its root command.
    """
    return "\n".join(_lines(context)) + "\n"


def _lines(context: click.Context) -> Iterator[str]:
    name = context.command.name or "vconnect"
    program = context.info_name or name
    yield f'.TH {program.upper()} 1 "" "vconnect {host_version() or ""}" "User Commands"'
    yield ".SH NAME"
    yield f"{program} \\- {_escape(_summary(context.command))}"
    yield ".SH SYNOPSIS"
    yield f".B {program}"
    yield "[OPTION]... COMMAND [ARGUMENT]..."
    yield ".SH DESCRIPTION"
    yield from _prose(context.command.help or "")
    yield ".SH OPTIONS"
    yield from _options(context)
    yield ".SH COMMANDS"
    yield from _commands(context, program)
    yield ".SH EXIT STATUS"
    for code, words in _EXIT_CODES:
        yield from (".TP", f".B {code}", _escape(words))


def _commands(context: click.Context, path: str) -> Iterator[str]:
    group = context.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        below = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(below, f"{path} {name}")
            continue
        yield f'.SS "{_escape(f"{path} {name}")} {_escape(_usage(below))}"'
        yield from _prose(command.help or "")
        yield from _options(below)


def _usage(context: click.Context) -> str:
    return " ".join(context.command.collect_usage_pieces(context))


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield from (".TP", f".B {_escape(record[0])}", _escape(record[1]))


def _prose(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.replace("\b", "").split("\n\n")):
        if number:
            yield ".PP"
        yield _escape(" ".join(paragraph.split()))


def _summary(command: click.Command) -> str:
    return (command.help or "").partition("\n")[0].rstrip(".").lower()


def _escape(text: str) -> str:
    """Escape what roff would read as a command."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text
