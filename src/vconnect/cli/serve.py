"""``vconnect serve``: run the host in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from vconnect.config import LOG_LEVELS

from .state import State, admin_option, config_option, pass_state, settings_for


@click.command()
@config_option
@click.option("--plugin-dir", metavar="DIR", help="Where installed plugins live.")
@click.option("--socket", metavar="PATH", help="The socket that plugins connect to.")
@admin_option
@click.option(
    "--dev",
    metavar="NAME:PATH",
    multiple=True,
    help="Run the plugin NAME from its source directory. May be given several times.",
)
@click.option(
    "--install",
    metavar="URL",
    multiple=True,
    help="Install a package (a path or a URL) before starting. May be given several times.",
)
@click.option("--debug", is_flag=True, help="Debug mode: pass --debug to plugins, log more.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="Pass --log-level to plugins.")
@click.option(
    "--allow-external",
    is_flag=True,
    help="Let processes of the same user that this host did not start attach as plugins.",
)
@click.option("--uvloop/--no-uvloop", default=None, help="Run on uvloop.  [default: if installed]")
@pass_state
@click.pass_context
def serve(
    context: click.Context,
    state: State,
    config: Path | None,
    plugin_dir: str | None,
    socket: str | None,
    admin: str | None,
    dev: tuple[str, ...],
    install: tuple[str, ...],
    debug: bool,
    log_level: str | None,
    allow_external: bool,
    uvloop: bool | None,
) -> None:
    """Run the host in the foreground until SIGTERM or Ctrl-C.

    An option wins over its VCONNECT_* variable, which wins over the configuration file. --dev and
    --install replace the lists of the file, they do not add to them.
    """
    overrides: dict[str, object] = {
        "plugin_dir": plugin_dir,
        "socket_path": socket,
        "admin_path": admin or state.admin,
        "dev_plugins": dev or None,
        "install": install or None,
        "debug": debug or None,
        "log_level": log_level,
        "allow_external": allow_external or None,
        "uvloop": uvloop,
    }
    settings = settings_for(config, overrides)
    # The host and its event loop are loaded only once the settings are known to be good.
    from vconnect import runtime

    context.exit(runtime.serve(settings))
