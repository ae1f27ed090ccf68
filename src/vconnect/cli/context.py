"""What the commands share: options before the command, and how to find the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

# What reads settings is imported by who needs it: it takes longer than `--help` may.
if TYPE_CHECKING:
    from pathlib import Path

    from vconnect.settings.model import Settings
    from vconnect.settings.source import SettingsSource


@dataclass
class State:
    """The options given before the command.

    Attributes:
        debug: Whether to print tracebacks of errors.
        admin: The administration socket from ``--admin`` or ``VCONNECT_ADMIN``.
        quiet: Whether to print nothing but errors.
    """

    debug: bool = False
    admin: str | None = None
    quiet: bool = False


pass_state = click.make_pass_decorator(State, ensure=True)


def source_for(
    config: Path | None,
    overrides: dict[str, object] | None = None,
    options: dict[str, str] | None = None,
) -> SettingsSource:
    """Return the settings' source: ``config``, or ``./vconnect.toml`` if it exists.

    Args:
        config: The file of ``--config``.
        overrides: What the command line gave, by key.
        options: The name of the option that sets a key, where it is not the key itself.
    """
    from pathlib import Path

    from vconnect.names import DEFAULT_CONFIG_FILE
    from vconnect.settings.paths import absolute_path
    from vconnect.settings.source import SettingsSource

    # The file is optional only if it was not asked for: a missing `--config` is an error.
    default = Path(DEFAULT_CONFIG_FILE)
    if config is None and default.exists():
        config = default
    # Absolute, for a host that reads it again after its working directory has gone.
    file = absolute_path(config) if config is not None else None
    return SettingsSource(
        file=file, environ=dict(os.environ), overrides=overrides or {}, options=options or {}
    )


def settings_for(config: Path | None) -> Settings:
    """Load the settings from ``config``, or from ``./vconnect.toml`` if it exists."""
    return source_for(config).load()


def find_admin_socket(state: State, admin: str | None, config: Path | None) -> Path:
    """Return the path of the host's administration socket.

    The command's own option wins, then the one before the command or ``VCONNECT_ADMIN``, then the
    configuration, which is not read if an option decides. A directory means the one in it.

    Raises:
        HostUnreachableError: It is a directory without the socket of a host that answers.
        click.UsageError: It is one with several.
    """
    from vconnect.settings.paths import absolute_path

    # A broken configuration must not keep an operator from reaching a host whose socket is known.
    path = admin or state.admin or _configured_socket(config)
    place = absolute_path(path)
    return _only_socket(place) if place.is_dir() else place


def _only_socket(directory: Path) -> Path:
    """Return the socket of the one host that has one in a directory.

    Raises:
        HostUnreachableError: No host serves one there.
        click.UsageError: Several hosts do.
    """
    from vconnect.errors import HostUnreachableError

    from .probing import admin_sockets

    found = admin_sockets(directory.glob("*.sock"))
    if not found:
        raise HostUnreachableError(f"no vconnect host has an administration socket in {directory}")
    if len(found) > 1:
        shown = ", ".join(map(str, found))
        raise click.UsageError(f"{len(found)} hosts have a socket there; give --admin one: {shown}")
    return found[0]


def _configured_socket(config: Path | None) -> str:
    from vconnect.settings.variables import find_mistakes

    settings = settings_for(config)
    # A mistyped variable is the likely reason if no host is found.
    for mistake in find_mistakes(os.environ, settings.inherit_env):
        click.echo(f"warning: {mistake}", err=True)
    return settings.admin_socket
