"""``vconnect doctor``: checks the machine, and the host if one runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vconnect.cli.exit_codes import FAILED
from vconnect.cli.output import clean, is_colored
from vconnect.errors import AdminError, HostUnreachableError

from .control import RunningHost, asks_host

if TYPE_CHECKING:
    from vconnect.admin.client.client import AdminClient
    from vconnect.checks.doctor import Check, Diagnosis

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}
_WORDS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}


@click.command()
@asks_host
def doctor(host: RunningHost) -> None:
    """Check the machine and the host, and say what to do.

    Without a running host it checks what a host would find: sockets, directories, limits,
    sandboxes, free space, and what a dead host has left. The exit code is 1 if anything fails.
    """
    found = _of_host(host) or _of_machine(host.config, host.path)
    host.show(found, print_diagnosis)
    host.exit(0 if found.ok else FAILED)


def _of_host(host: RunningHost) -> Diagnosis | None:
    """Return what the running host finds; ``None`` if none answers."""
    import msgspec

    from vconnect.checks.doctor import Check, Diagnosis, diagnose

    async def ask(client: AdminClient) -> tuple[dict[str, Any], Any, Any]:
        described = await client.host()
        try:
            told = await client.doctor()
        except AdminError as error:
            if error.code != "unknown_route":
                raise
            told = {"ok": True, "checks": []}  # a host of an earlier version
        return told, described, await client.plugins()

    try:
        told, described, listed = host.ask(ask)
    except HostUnreachableError:
        return None
    from vconnect.cli.showing_plugins import headline

    own = msgspec.convert(told, Diagnosis).checks
    words = f"PID {described['pid']} answers at {host.path}, version {described['version']}"
    checks = [Check("host", "ok", words), *own]
    if listed.plugins:
        line, _, step = headline(listed.plugins).partition(". Next: ")
        checks.append(Check("serving", "warn" if step else "ok", line, step))
    return diagnose(checks)


def _of_machine(config: Path | None, admin: Path) -> Diagnosis:
    from vconnect.checks.doctor import Check, diagnose, examine
    from vconnect.cli.context import settings_for
    from vconnect.plugins.state_file import survivors_of

    settings = settings_for(config)
    left = survivors_of(settings.state_directory, Path(settings.socket_path))
    words = f"none answers at {admin}"
    checks = examine(settings, left).checks
    return diagnose([Check("host", "warn", words, "start one: vconnect serve"), *checks])


def print_diagnosis(found: Diagnosis) -> None:
    """Print each finding, and how many problems there are."""
    width = max(len(one.id) for one in found.checks)
    for one in found.checks:
        _print_check(one, width)
    failed = sum(one.level == "fail" for one in found.checks)
    warned = sum(one.level == "warn" for one in found.checks)
    parts = [_many(failed, "problem"), *([_many(warned, "warning")] if warned else [])]
    click.echo(", ".join(parts))


def _print_check(one: Check, width: int) -> None:
    word = f"{_WORDS[one.level]:<4}"
    shown = click.style(word, fg=_COLORS[one.level]) if is_colored() else word
    step = f". Next: {one.next}" if one.next else ""
    click.echo(f"{shown}  {one.id:<{width}}  {clean(one.detail + step)}")


def _many(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
