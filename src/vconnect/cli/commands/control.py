"""Commands that give orders to a running host: start, stop, restart, emit and others."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from orjson import JSONDecodeError

from vconnect._framing import parse_message
from vconnect.cli.context import State, find_admin_socket, pass_state
from vconnect.cli.exit_codes import FAILED, exit_code_of, worst
from vconnect.cli.interrupts import ending_at_once
from vconnect.cli.options import admin_option, config_option
from vconnect.cli.output import (
    print_done,
    print_json,
    print_outcome,
    print_planned,
    print_rows,
)
from vconnect.errors import AdminError, RemoteProtocolError, UnknownPluginError
from vconnect.wire.messages import why_not_json

if TYPE_CHECKING:
    from vconnect.admin.client.client import AdminClient

_Printer = Callable[[Any], None]
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
T = TypeVar("T")


class RunningHost:
    """A running host as a command uses it: send requests, print the results.

    Attributes:
        path: The path of its administration socket.
        as_json: Whether to print JSON.
        config: The configuration file that was named; ``None`` if none was.
        is_quiet: Whether to print nothing but errors.
    """

    def __init__(
        self, path: Path, as_json: bool, config: Path | None = None, *, is_quiet: bool = False
    ) -> None:
        self.path = path
        self.as_json = as_json
        self.config = config
        self.is_quiet = is_quiet

    def act(self, name: str, action: str) -> Any:
        """Start, stop, restart, release, enable or disable a plugin; return its summary."""
        return _plain(self.ask(lambda client: client.order(name, action)))

    def act_on(
        self, names: Sequence[str], everybody: bool, action: str, *, dry_run: bool = False
    ) -> None:
        """Do the same with several plugins at once; print what came of it, and exit."""
        if dry_run:
            rows = self.ask(lambda client: _act_on(client, self.choose, names, everybody, ""))
            self.show(rows, lambda rows: print_planned(rows, action))
            self.exit(worst(exit_code_of(row["error"]["code"]) for row in rows if "error" in row))
        if len(names) == 1 and not everybody and not _is_pattern(names[0]):
            plugin = self.act(names[0], action)
            self.show(plugin, print_done)
            self.exit(FAILED if _is_overtaken(plugin, action) else 0)
        rows = self.ask(lambda client: _act_on(client, self.choose, names, everybody, action))
        self.show(rows, print_rows)
        codes = (exit_code_of(row["error"]["code"]) for row in rows if "error" in row)
        overtaken = any("error" not in row and _is_overtaken(row, action) for row in rows)
        self.exit(worst([*codes, FAILED if overtaken else 0]))

    def choose(self, plugins: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
        """Return the plugins that names and patterns mean, all if there are none.

        Raises:
            UnknownPluginError: A pattern means none.
        """
        there = [plugin["name"] for plugin in plugins]
        chosen: dict[str, None] = {} if names else dict.fromkeys(there)
        for name in names:
            found = [name]
            if _is_pattern(name) and not (found := fnmatch.filter(there, name)):
                raise UnknownPluginError(name, f"no plugin is named like {name!r}")
            chosen.update(dict.fromkeys(found))
        return list(chosen)

    def installed(self, names: Sequence[str], everybody: bool) -> list[str]:
        """Return the installed plugins that names and patterns mean, or all of them."""
        if not everybody and not any(map(_is_pattern, names)):
            return list(names)
        plugins = _plain(self.ask(lambda client: client.plugins()).plugins)
        there = [one for one in plugins if not (one["dev"] or one["external"])]
        return self.choose(there, [] if everybody else names)

    def exit(self, code: int) -> NoReturn:
        """End the command with an exit code."""
        click.get_current_context().exit(code)

    def show(self, value: Any, printer: _Printer) -> None:
        """Print ``value`` as JSON if that was requested, else with ``printer``."""
        if self.as_json:
            print_json(_plain(value))
        elif not self.is_quiet:
            printer(value)

    def ask(self, ask: Callable[[AdminClient], Awaitable[T]]) -> T:
        """Ask the host with a method of its client."""
        import asyncio

        # Imported here, because aiohttp takes longer to import than most commands take to run.
        with ending_at_once():
            from vconnect.admin.client.client import AdminClient

        async def talk() -> T:
            async with AdminClient(self.path) as client:
                return await ask(client)

        return asyncio.run(talk())


def asks_host(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that find a host and ``--json``, and pass a `RunningHost`."""
    return finds_host(_json(command))


def finds_host(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that find a host, and pass a `RunningHost` as the first argument."""

    def wrapper(
        state: State,
        /,
        admin: str | None,
        config: Path | None,
        as_json: bool = False,
        **arguments: Any,
    ) -> Any:
        path = find_admin_socket(state, admin, config)
        host = RunningHost(path, as_json, config, is_quiet=state.quiet)
        return command(host, **arguments)

    # click reads the help text and the parameters from the wrapped function.
    update_wrapper(wrapper, command)
    return admin_option(config_option(pass_state(wrapper)))


async def _act_on(
    client: AdminClient,
    choose: Callable[[Sequence[Mapping[str, Any]], Sequence[str]], list[str]],
    names: Sequence[str],
    everybody: bool,
    action: str,
) -> list[Any]:
    """Ask for an action on each plugin, or with an empty one for its summary."""
    import asyncio

    from vconnect.cli.forms import ErrorWords, Refused

    async def act(name: str) -> Any:
        try:
            if not action:
                return _plain(await client.status(name))
            return _plain(await client.order(name, action))
        except AdminError as error:
            words = ErrorWords(
                code=error.code, message=error.detail, next=error.next, status=error.status
            )
            return _plain(Refused(name=name, error=words))

    plugins = _plain((await client.plugins()).plugins)
    chosen = choose(plugins, [] if everybody else names)
    return await asyncio.gather(*map(act, chosen))


def _plain(value: Any) -> Any:
    """Turn structs into what JSON has."""
    import msgspec

    return msgspec.to_builtins(value)


def _is_pattern(name: str) -> bool:
    return any(char in name for char in "*?[")


def _is_overtaken(plugin: Mapping[str, Any], action: str) -> bool:
    """Return whether a later start has overtaken a stop."""
    return action == "stop" and plugin["desired"] == "running"


def check_word(_: click.Context, __: click.Parameter, word: str | None) -> str | None:
    """Reject what the host would misread: an empty name, or bytes that are not UTF-8."""
    if word == "":
        raise click.BadParameter("expected a name, got an empty string")
    # Python decodes such bytes of an argument to surrogates.
    if word is not None and any("\ud800" <= char <= "\udfff" for char in word):
        raise click.BadParameter(f"{word!r} is not UTF-8")
    return word


def check_words(
    context: click.Context, parameter: click.Parameter, words: tuple[str, ...]
) -> tuple[str, ...]:
    """Check each of several words, see `check_word`."""
    for word in words:
        check_word(context, parameter, word)
    return words


name_argument = click.argument("name", callback=check_word)
names_argument = click.argument("names", metavar="NAME...", nargs=-1, callback=check_words)


def on_plugins(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments that choose plugins: names, patterns, or ``--all``."""

    def wrapper(host: RunningHost, names: tuple[str, ...], everybody: bool, **more: Any) -> Any:
        if bool(names) == everybody:
            raise click.UsageError("give the names of plugins, or --all")
        return command(host, names, everybody, **more)

    update_wrapper(wrapper, command)
    everybody = click.option("--all", "everybody", is_flag=True, help="All plugins.")
    return names_argument(everybody(asks_host(wrapper)))


def on_running(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments that choose plugins, and ``--dry-run``."""
    return click.option(
        "--dry-run", is_flag=True, help="Show which plugins are meant, and do nothing."
    )(on_plugins(command))


@click.command()
@on_running
def start(host: RunningHost, names: Sequence[str], everybody: bool, dry_run: bool) -> None:
    """Start plugins and wait until they are ready.

    NAME may be a pattern, such as 'chat-*'.
    """
    host.act_on(names, everybody, "start", dry_run=dry_run)


@click.command()
@on_running
def stop(host: RunningHost, names: Sequence[str], everybody: bool, dry_run: bool) -> None:
    """Stop plugins and wait until their last processes have ended.

    NAME may be a pattern, such as 'chat-*'. The exit code is 1 if a later start or restart has
    overtaken the stop.
    """
    host.act_on(names, everybody, "stop", dry_run=dry_run)


@click.command()
@on_running
def restart(host: RunningHost, names: Sequence[str], everybody: bool, dry_run: bool) -> None:
    """Start new processes of plugins, which take over from the running ones.

    NAME may be a pattern, such as 'chat-*'.
    """
    host.act_on(names, everybody, "restart", dry_run=dry_run)


@click.command()
@on_running
def enable(host: RunningHost, names: Sequence[str], everybody: bool, dry_run: bool) -> None:
    """Allow plugins to be started again, and start them."""
    host.act_on(names, everybody, "enable", dry_run=dry_run)


@click.command()
@on_running
def disable(host: RunningHost, names: Sequence[str], everybody: bool, dry_run: bool) -> None:
    """Stop plugins; nobody starts them until they are enabled, not even the next host."""
    host.act_on(names, everybody, "disable", dry_run=dry_run)


@click.command()
@on_running
def release(host: RunningHost, names: Sequence[str], everybody: bool, dry_run: bool) -> None:
    """Lift the quarantine of plugins, so that they get these events again.

    An event is quarantined for a plugin that has crashed with it twice. A start, a restart, and
    another version of the plugin release it too.
    """
    host.act_on(names, everybody, "release", dry_run=dry_run)


@click.command()
@click.argument("event", callback=check_word)
@click.argument("payload", metavar="JSON")
@click.option("--mode", type=click.Choice(["chain", "broadcast"]), help="[default: chain]")
@click.option("--plugin", metavar="NAME", callback=check_word, help="Send to this plugin only.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Seconds for the whole call.  [default: from the host's configuration]",
)
@asks_host
def emit(
    host: RunningHost,
    event: str,
    payload: str,
    mode: str | None,
    plugin: str | None,
    timeout: float | None,
) -> None:
    """Send EVENT with the payload JSON to the plugins that want it, and show their answers.

    JSON may be - to read it from stdin. The exit code is 0 if every plugin that was called answered
    without an error, including when one of them stopped the chain or none wanted the event, else 1.
    """
    if mode and plugin:
        raise click.UsageError(
            "--mode cannot be combined with --plugin, which sends to one plugin only"
        )
    sent = _read_payload(payload)

    def send(client: AdminClient) -> Awaitable[dict[str, Any]]:
        if plugin is not None:
            return client.request(plugin, event, sent, timeout=timeout)
        call = client.broadcast if mode == "broadcast" else client.emit
        return call(event, sent, timeout=timeout)

    outcome = host.ask(send)
    host.show(outcome, lambda outcome: print_outcome(outcome, sent))
    # Printed first, so that a script that only looks at the exit code still leaves a trace of the
    # reason.
    is_refused = outcome["reason"] is not None  # also if nobody was asked
    if is_refused or not all(result["ok"] for result in outcome["results"]):
        click.get_current_context().exit(FAILED)


def _read_payload(text: str) -> Any:
    """Decode the argument, or stdin if it is ``-``."""
    # Bytes, because the argument may contain bytes that are not UTF-8, for which the parser has an
    # error.
    data = sys.stdin.buffer.read() if text == "-" else os.fsencode(text)
    try:
        return parse_message(data)
    except RemoteProtocolError as error:
        near = ""
        if isinstance(error.__context__, JSONDecodeError):
            near = f"; near {_excerpt(data, error.__context__.pos)!r}"
        words = f"not valid JSON: {why_not_json(error)}{near}"
        raise click.BadParameter(words, param_hint="JSON") from None


def _excerpt(data: bytes, position: int) -> str:
    """Return the text around an error, whose position is in characters."""
    text = data.decode("utf-8", "replace")
    # Ten characters on both sides fit on one line of a terminal with the message.
    return text[max(0, position - 10) : position + 10]
