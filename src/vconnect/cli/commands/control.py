"""The commands that talk to a running host: list, status, emit, start, stop, restart, release."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from orjson import JSONDecodeError

from vconnect._framing import parse_message
from vconnect.cli.boundary import FAILED
from vconnect.cli.context import State, admin_option, config_option, find_admin_socket, pass_state
from vconnect.cli.output import (
    print_done,
    print_host,
    print_json,
    print_outcome,
    print_plugin,
    print_plugins,
)
from vconnect.errors import RemoteProtocolError
from vconnect.wire.messages import why_not_json

if TYPE_CHECKING:
    from vconnect.admin.client import AdminClient

_Printer = Callable[[Any], None]


class RunningHost:
    """A running host as a command uses it: send requests, print the results.

    Attributes:
        path: The path of its administration socket.
        as_json: Whether to print JSON.
    """

    def __init__(self, path: Path, as_json: bool) -> None:
        self.path = path
        self.as_json = as_json

    def get(self, route: str) -> Any:
        """Query the host."""
        return self._ask(lambda client: client.get(route))

    def post(self, route: str, body: Any = None) -> Any:
        """Request an action and wait until it is done."""
        return self._ask(lambda client: client.post(route, body))

    def act(self, name: str, action: str) -> Any:
        """Start, stop, restart or release a plugin; return its summary afterwards."""
        from vconnect.admin.client import plugin_route

        return self.post(plugin_route(name, action))

    def show(self, value: Any, printer: _Printer) -> None:
        """Print ``value`` as JSON if that was requested, else with ``printer``."""
        if self.as_json:
            print_json(value)
        else:
            printer(value)

    def _ask(self, ask: Callable[[AdminClient], Awaitable[Any]]) -> Any:
        import asyncio

        # Imported here, because aiohttp takes longer to import than most commands take to run.
        from vconnect.admin.client import AdminClient

        async def talk() -> Any:
            async with AdminClient(self.path) as client:
                return await ask(client)

        return asyncio.run(talk())


def asks_host(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that find a host, and pass a `RunningHost` as the first argument."""

    def wrapper(
        state: State,
        /,
        admin: str | None,
        config: Path | None,
        as_json: bool,
        **arguments: Any,
    ) -> Any:
        return command(RunningHost(find_admin_socket(state, admin, config), as_json), **arguments)

    # click reads the help text and the parameters from the wrapped function.
    update_wrapper(wrapper, command)
    json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
    return admin_option(config_option(json_option(pass_state(wrapper))))


def check_word(_: click.Context, __: click.Parameter, word: str | None) -> str | None:
    """Reject what the host would misread: an empty name, or bytes that are not UTF-8."""
    if word == "":
        raise click.BadParameter("expected a name, got an empty string")
    # Python decodes such bytes of an argument to surrogates.
    if word is not None and any("\ud800" <= char <= "\udfff" for char in word):
        raise click.BadParameter(f"{word!r} is not UTF-8")
    return word


name_argument = click.argument("name", callback=check_word)


@click.command("list")
@asks_host
def list_plugins(host: RunningHost) -> None:
    """List the plugins with their status."""
    host.show(host.get("/api/plugins")["plugins"], print_plugins)


@click.command()
@click.argument("name", required=False, callback=check_word)
@asks_host
def status(host: RunningHost, name: str | None) -> None:
    """Show all details of the plugin NAME, or of the host itself."""
    from vconnect.admin.client import plugin_route

    if name is None:
        host.show(host.get("/api/host"), print_host)
    else:
        host.show(host.get(plugin_route(name, "status")), print_plugin)


@click.command()
@name_argument
@asks_host
def start(host: RunningHost, name: str) -> None:
    """Start the plugin NAME and wait until it is ready."""
    host.show(host.act(name, "start"), print_done)


@click.command()
@name_argument
@asks_host
def stop(host: RunningHost, name: str) -> None:
    """Stop the plugin NAME and wait until its last process has ended.

    The exit code is 1 if a later start or restart has overtaken the stop.
    """
    plugin = host.act(name, "stop")
    host.show(plugin, print_done)
    if plugin["desired"] == "running":
        click.get_current_context().exit(FAILED)


@click.command()
@name_argument
@asks_host
def restart(host: RunningHost, name: str) -> None:
    """Start a new process of the plugin NAME, which takes over from the running one."""
    host.show(host.act(name, "restart"), print_done)


@click.command()
@name_argument
@asks_host
def release(host: RunningHost, name: str) -> None:
    """Lift the quarantine of the plugin NAME, so that it gets these events again.

    An event is quarantined for a plugin that has crashed with it twice. A start, a restart, and
    another version of the plugin release it too.
    """
    host.show(host.act(name, "release"), print_done)


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
    # Only what was given is sent, so that the host's defaults apply to the rest.
    fields = {"mode": mode, "plugin": plugin, "timeout": timeout}
    sent = _read_payload(payload)
    body = {"event": event, "payload": sent}
    body |= {field: value for field, value in fields.items() if value is not None}
    outcome = host.post("/api/events", body)
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
