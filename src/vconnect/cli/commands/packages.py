"""Commands that change which plugins and versions a running host has."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from vconnect.cli.exit_codes import FAILED, NOT_VERIFIED, exit_code_of, worst
from vconnect.cli.output import (
    clean,
    print_changes,
    print_consent,
    print_outdated,
    print_verified,
)
from vconnect.cli.progress import ProgressKind, shown_progress
from vconnect.names import split_request

from .control import RunningHost, asks_host, check_word, check_words, name_argument, on_plugins

if TYPE_CHECKING:
    from vconnect.admin.client.client import AdminClient
    from vconnect.packages.progress import Report

    Changing: TypeAlias = Awaitable[list[dict[str, Any]]]
    #: Asks for a change with a method of the client.
    Ask: TypeAlias = Callable[[AdminClient, Report | None], Changing]

_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")

_progress = click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "json", "none"]),
    default="auto",
    help="Show downloads on stderr, with a bar or in lines of JSON.  "
    "[default: a bar on a terminal, else nothing]",
)


def _consent(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that grant permissions; pass them as ``grant``."""

    def wrapper(*arguments: Any, yes: bool, grant: str | None, **options: Any) -> None:
        if yes and grant is not None:
            raise click.UsageError("give --yes, which grants what is asked for, or --grant")
        granted = ["*"] if yes else grant
        if isinstance(granted, str):
            granted = [one.strip() for one in granted.split(",") if one.strip()]
        command(*arguments, grant=granted, **options)

    update_wrapper(wrapper, command)
    everything = click.option(
        "--yes", "-y", is_flag=True, help="Grant the permissions that are asked for."
    )
    some = click.option("--grant", metavar="NAME,...", help="Grant these permissions only.")
    return everything(some(wrapper))


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, callback=check_words)
@click.option("--upgrade", is_flag=True, help="Replace another version of the plugin.")
@click.option("--start/--no-start", default=True, help="Start the plugins.  [default: --start]")
@click.option("--sha256", metavar="HEX", help="The digest that the package must have.")
@click.option("--frozen", is_flag=True, help="Install only exactly what vconnect.lock has.")
@click.option(
    "--allow-similar", is_flag=True, help="Accept a name that looks like that of another plugin."
)
@_dry_run
@_progress
@asks_host
@_consent
def install(
    host: RunningHost,
    sources: Sequence[str],
    upgrade: bool,
    start: bool,
    sha256: str | None,
    frozen: bool,
    allow_similar: bool,
    dry_run: bool,
    progress: ProgressKind,
    grant: list[str] | None,
) -> None:
    """Install packages from paths, URLs or indexes, and start their plugins.

    SOURCE is a path, a URL, or NAME[@RANGE] of an index that the host's configuration names. A path
    has a slash, or ends in .vp or .wkp.

    With --upgrade, a new version of a running plugin is started beside the old one and takes over
    when it is ready. If it does not get ready, the old one serves on.

    The permissions that a package asks for are shown and asked about; without a terminal, give
    --yes or --grant.
    """
    if sha256 is not None:
        if len(sources) > 1:
            raise click.UsageError(
                "--sha256 is of one package; write SOURCE#sha256=HEX for several"
            )
        sources = [f"{sources[0]}#sha256={_checked(sha256)}"]
    wanted = [_absolute(one) for one in sources]
    options: dict[str, Any] = {
        "upgrade": upgrade,
        "start": start,
        "frozen": frozen,
        "allow_similar": allow_similar,
        "grant": grant,
        "dry_run": dry_run,
    }

    def ask(client: AdminClient, report: Report | None) -> Changing:
        return client.install(wanted, report=report, **options)

    def again(row: int, change: Mapping[str, Any]) -> Ask:
        # What was shown is what is installed, and nothing that the source has by then.
        pinned = f"{wanted[row].partition('#sha256=')[0]}#sha256={change['digest']}"
        granted = {**options, "grant": change["permissions"]}
        return lambda client, report: client.install([pinned], report=report, **granted)

    _note_on_paths(sources, host.as_json)
    _change(host, ask, progress, again)


@click.command()
@on_plugins
@_dry_run
@_progress
@_consent
def upgrade(
    host: RunningHost,
    names: Sequence[str],
    everybody: bool,
    dry_run: bool,
    progress: ProgressKind,
    grant: list[str] | None,
) -> None:
    """Install what the sources of plugins have now, as `install --upgrade` does."""
    chosen = host.installed(names, everybody)

    def ask(client: AdminClient, report: Report | None) -> Changing:
        return client.upgrade(chosen, report=report, grant=grant, dry_run=dry_run)

    def again(_: int, change: Mapping[str, Any]) -> Ask:
        name, granted = change["name"], change["permissions"]
        digests = {name: change["digest"]}
        return lambda client, report: client.upgrade(
            [name], report=report, grant=granted, digests=digests, dry_run=dry_run
        )

    _change(host, ask, progress, again)


@click.command()
@name_argument
@click.argument("version", required=False, callback=check_word)
@_dry_run
@asks_host
def rollback(host: RunningHost, name: str, version: str | None, dry_run: bool) -> None:
    """Return to an earlier version of the plugin NAME.

    VERSION is one that `list --versions` shows; by default the one before. It takes over when it is
    ready, without a gap.
    """
    _change(host, lambda client, _: client.rollback(name, version or "", dry_run=dry_run))


@click.command()
@click.option("--purge", is_flag=True, help="Remove their data too.")
@click.option("--force", is_flag=True, help="Remove what other plugins require.")
@on_plugins
@_dry_run
def uninstall(
    host: RunningHost,
    names: Sequence[str],
    everybody: bool,
    purge: bool,
    force: bool,
    dry_run: bool,
) -> None:
    """Stop plugins and remove them with all of their versions. Their data stays."""
    chosen = host.installed(names, everybody)
    _change(
        host,
        lambda client, _: client.uninstall(chosen, purge=purge, force=force, dry_run=dry_run),
    )


@click.command()
@_dry_run
@asks_host
def rescan(host: RunningHost, dry_run: bool) -> None:
    """Take in what was put into the plugin directory, or removed from it, by hand."""
    _change(host, lambda client, _: client.rescan(dry_run=dry_run))


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, callback=check_words)
@asks_host
def verify(host: RunningHost, names: Sequence[str]) -> None:
    """Compare the files of installed plugins with those of their packages.

    The exit code is 8 if any differs.
    """
    found = host.ask(lambda client: client.verify(names))
    host.show(found, print_verified)
    sound = all(one["verdict"] in ("ok", "not from a package") for one in found)
    host.exit(0 if sound else NOT_VERIFIED)


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, callback=check_words)
@click.option(
    "--exit-code",
    is_flag=True,
    help="End with 1 if any plugin is outdated or was withdrawn, or cannot be told.",
)
@asks_host
def outdated(host: RunningHost, names: Sequence[str], exit_code: bool) -> None:
    """Show what the sources of plugins have now. Nothing is changed."""
    found = host.ask(lambda client: client.outdated(names))
    host.show(found, print_outdated)
    is_any = any(one["state"] != "current" or one["yanked"] for one in found)
    host.exit(FAILED if exit_code and is_any else 0)


def _change(
    host: RunningHost,
    ask: Ask,
    progress: ProgressKind = "none",
    again: Callable[[int, Mapping[str, Any]], Ask] | None = None,
) -> None:
    """Ask for a change, print a row for each plugin, and exit.

    Args:
        host: The host.
        ask: Asks for it; gets what is called with how far downloads are.
        progress: How downloads are shown.
        again: Returns the request for one row whose permissions were granted on the terminal.
    """
    changes = _asked(host, ask, progress)
    if again is not None and not host.as_json and sys.stdin.isatty():
        for row, change in enumerate(changes):
            if change["code"] != "consent_required":
                continue
            if not _is_granted(change):
                changes[row] = {**change, "reason": "you have not granted what it asks for"}
                continue
            (changes[row],) = _asked(host, again(row, change), progress)
    host.show(changes, print_changes)
    failed = [one for one in changes if one["result"] == "failed"]
    host.exit(worst(exit_code_of(one["code"]) for one in failed))


def _asked(host: RunningHost, ask: Ask, progress: ProgressKind) -> list[dict[str, Any]]:
    with shown_progress(progress) as report:
        return host.ask(lambda client: ask(client, report))


def _is_granted(change: Mapping[str, Any]) -> bool:
    """Show what a package asks for, and ask the operator."""
    print_consent(change)
    return click.confirm("Go on?", err=True)


def _checked(digest: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", digest):
        raise click.BadParameter(
            f"{digest!r} is no sha256; expected 64 hex digits, as sha256sum prints them",
            param_hint="--sha256",
        )
    return digest


def _note_on_paths(sources: Sequence[str], as_json: bool) -> None:
    """Say which names are those of files here too, which are not meant."""
    for source in sources:
        # `lexists`, because whoever sees a broken link there may mean it too.
        if not as_json and split_request(source) is not None and os.path.lexists(source):
            click.echo(
                clean(
                    f"note: {source} is looked up in the indexes; for the one in this directory, "
                    f"write ./{source}"
                ),
                err=True,
            )


def _absolute(source: str) -> str:
    """Make a path absolute, since the host works elsewhere; leave any other source as it is."""
    from vconnect.settings.paths import absolute_path

    if split_request(source.partition("#sha256=")[0]) is not None or source.startswith("sha256:"):
        return source
    for prefix in ("file://./", "file://../"):
        if source.startswith(prefix):
            return f"file://{absolute_path(source.removeprefix('file://'))}"
    return source if "://" in source or source.startswith("file:") else str(absolute_path(source))
