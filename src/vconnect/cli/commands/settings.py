"""Commands for the settings of a running host: reload, and the configurations of plugins."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from typing import Any

import click

from vconnect.cli.exit_codes import FAILED, exit_code_of, worst
from vconnect.cli.printing_settings import print_config, print_config_change, print_reloaded
from vconnect.json_rule import find_problem

from .control import RunningHost, asks_host, check_word, check_words, name_argument

_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
_MAX_TYPED = 1 << 20
_save = click.option("--save", is_flag=True, help="Write it to the configuration file, too.")


@click.command()
@_dry_run
@asks_host
def reload(host: RunningHost, dry_run: bool) -> None:
    """Read the configuration again, and change only what has changed.

    SIGHUP does the same. What cannot change while the host runs is named first, and stays. The exit
    code is 2 if the configuration is invalid, and 1 if a plugin has refused its part; it keeps its
    old settings. A package of `install` that is refused has the exit code of its installation.
    """
    done = host.ask(lambda client: client.reload(dry_run=dry_run))
    host.show(done, print_reloaded)
    failed = [one for one in done["changes"] if one["result"] == "failed"]
    codes = [exit_code_of(one["code"]) for one in failed]
    host.exit(worst([*codes, FAILED if done["failed"] else 0]))


@click.group()
def config() -> None:
    """Show or change the configuration of a plugin while it runs."""


@config.command("get")
@name_argument
@click.argument("key", required=False, callback=check_word)
@asks_host
def get_config(host: RunningHost, name: str, key: str | None) -> None:
    """Show the configuration of the plugin NAME, and where each value is from.

    With KEY, such as limits.rate, show only that value and what is inside of it.
    """
    values = host.ask(lambda client: client.config(name))["values"]
    if key is not None:
        values = [one for one in values if f"{one['key']}.".startswith(f"{key}.")]
        if not values:
            raise click.ClickException(f"{name} has no value {key!r}")
    host.show(values, print_config)


@config.command("set")
@name_argument
@click.argument("assignments", metavar="[KEY=VALUE]...", nargs=-1, callback=check_words)
@click.option(
    "--stdin",
    "typed",
    metavar="KEY",
    help="Read the text of KEY from the standard input, where no other user can see it.",
)
@_save
@_dry_run
@asks_host
def set_config(
    host: RunningHost,
    name: str,
    assignments: Sequence[str],
    typed: str | None,
    save: bool,
    dry_run: bool,
) -> None:
    """Change values in the configuration of the plugin NAME.

    VALUE is what TOML has: 5, true, "text", [1, 2]; anything else is text. The plugin checks the
    new configuration, and refuses it as a whole. Without --save it applies until the host ends.
    """
    values = dict(map(_assignment, assignments))
    if len(values) < len(assignments) or typed in values:
        raise click.UsageError("a key has two values; give each key once")
    if typed is not None:
        values[typed] = _typed(typed)
    if not values:
        raise click.UsageError("expected KEY=VALUE, such as limits.rate=5, or --stdin KEY")
    for key, value in values.items():
        if problem := find_problem(value, key):
            raise click.BadParameter(problem)
    change = host.ask(lambda client: client.set_config(name, values, save=save, dry_run=dry_run))
    host.show(change, print_config_change)


@config.command("unset")
@name_argument
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, callback=check_words)
@_save
@_dry_run
@asks_host
def unset_config(
    host: RunningHost, name: str, keys: Sequence[str], save: bool, dry_run: bool
) -> None:
    """Drop values that were set in the configuration of the plugin NAME.

    They get back the values of the configuration file. With --save they are removed from the file,
    too, and get those of the plugin's manifest.
    """
    change = host.ask(
        lambda client: client.set_config(name, unset=keys, save=save, dry_run=dry_run)
    )
    host.show(change, print_config_change)


def _assignment(text: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE``; the key may have quotes, and in them an equals sign."""
    for at in (index for index, char in enumerate(text) if char == "="):
        key, value = text[:at].strip(), text[at + 1 :]
        if key.count('"') % 2 == 0 and key.count("'") % 2 == 0:
            return key, _value(value)
    raise click.BadParameter(f"{text!r} has no value; expected KEY=VALUE, such as limits.rate=5")


def _typed(key: str) -> str:
    """Read a text from the standard input, without the end of its last line."""
    if sys.stdin.isatty():
        return str(click.prompt(key, hide_input=True, err=True))
    text = sys.stdin.read(_MAX_TYPED + 1)
    if len(text) > _MAX_TYPED:
        raise click.BadParameter(f"has more than {_MAX_TYPED} characters", param_hint="--stdin")
    return text.removesuffix("\n").removesuffix("\r")


def _value(text: str) -> Any:
    """Read a value as TOML has it; bare words are text."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text
