"""``vconnect serve``: runs the host in the foreground."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vconnect.cli.context import State, pass_state, source_for
from vconnect.cli.interrupts import ending_at_once
from vconnect.cli.options import admin_option, config_option
from vconnect.cli.progress import DownloadBar, is_terminal
from vconnect.names import LOG_LEVELS
from vconnect.settings.model import Settings

if TYPE_CHECKING:
    from vconnect.host.guardian import Lifeline
    from vconnect.logs.host_log import LogFormat


# The options that are not named like their keys.
_OPTIONS = {
    "socket_path": "--socket",
    "admin_path": "--admin",
    "dev_plugins": "--dev",
    "guardian": "--guardian/--no-guardian",
    "uvloop": "--uvloop/--no-uvloop",
    "verify_at_start": "--verify",
}


@click.command()
@config_option
@click.option("--plugin-dir", metavar="DIR", help="The directory of installed plugins.")
@click.option("--socket", metavar="PATH", help="The socket that plugins connect to.")
@admin_option
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Serve the dashboard and the administration interface there too; port 0 takes a free one.",
)
@click.option(
    "--http-token-file",
    metavar="FILE",
    help="The token for that, mode 0600.  [default: made, on loopback]",
)
@click.option(
    "--http-no-token",
    is_flag=True,
    help="Ask for no token; every user of this machine can then "
    "administer the host. Only on loopback.",
)
@click.option(
    "--dev",
    metavar="NAME:PATH",
    multiple=True,
    help="Run the plugin NAME from its source directory. Can be repeated.",
)
@click.option(
    "--install",
    metavar="SOURCE",
    multiple=True,
    help="Install a package (a path, a URL, or NAME[@RANGE] of an index) before starting. Can be "
    "repeated.",
)
@click.option("--debug", is_flag=True, help="Debug mode: pass --debug to plugins, log more.")
@click.option(
    "--log-level", type=click.Choice(list(LOG_LEVELS)), help="Pass --log-level to plugins."
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Write the host's log as lines for people, or as one JSON object a line.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Compare the files of the plugins with those of their packages before the first start.",
)
@click.option(
    "--allow-external",
    is_flag=True,
    help="Accept plugins that this host did not start, from processes of the same user.",
)
@click.option(
    "--insecure-paths",
    is_flag=True,
    help="Start although other users can change files that the host trusts.",
)
@click.option("--uvloop/--no-uvloop", default=None, help="Run on uvloop.  [default: if installed]")
@click.option(
    "--guardian/--no-guardian",
    default=None,
    help="Run a parent process that ends all plugins if the host is killed.  "
    "[default: unless systemd does that]",
)
@pass_state
@click.pass_context
def serve(
    context: click.Context,
    state: State,
    config: Path | None,
    plugin_dir: str | None,
    socket: str | None,
    admin: str | None,
    http: str | None,
    http_token_file: str | None,
    http_no_token: bool,
    dev: tuple[str, ...],
    install: tuple[str, ...],
    debug: bool,
    log_level: str | None,
    log_format: LogFormat,
    verify: bool,
    allow_external: bool,
    insecure_paths: bool,
    uvloop: bool | None,
    guardian: bool | None,
) -> None:
    """Run the host in the foreground until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.

    An option overrides its VCONNECT_* variable, which overrides the configuration file. --dev and
    --install replace the lists of the file rather than adding to them.
    """
    from vconnect.host.hang_up import EarlyHangUp

    early = EarlyHangUp()
    early.listen()
    # None means "not given", so that the variable or the file decides.
    overrides: dict[str, object] = {
        "plugin_dir": plugin_dir,
        "socket_path": socket,
        "admin_path": admin or state.admin,
        "http": http,
        "http_token_file": http_token_file,
        "http_no_token": http_no_token or None,
        "dev_plugins": dev or None,
        "install": install or None,
        "debug": debug or None,
        "log_level": log_level,
        "verify_at_start": verify or None,
        "allow_external": allow_external or None,
        "insecure_paths": insecure_paths or None,
        "uvloop": uvloop,
        # The setting has three values, of which the pair of options names two.
        "guardian": {None: None, True: "on", False: "off"}[guardian],
    }
    source = source_for(config, overrides, _OPTIONS)
    settings = source.load()
    lifeline = _lifeline(settings)
    # The host and its event loop are imported only once the settings are valid, and never in the
    # guardian, which must stay small and single-threaded.
    with ending_at_once():
        from vconnect.host.serve import serve as serve_host

    # A bar needs a terminal; in a service's log it would be thousands of lines.
    with DownloadBar() as bar:
        shown = bar if is_terminal() and log_format == "text" else None
        code = serve_host(settings, lifeline, shown, source, early, log_format)
    context.exit(code)


def _lifeline(settings: Settings) -> Lifeline | None:
    """Become a child of a guardian, if one is wanted."""
    from vconnect.host.guardian import guarded, is_wanted

    # Decided before anything heavy is imported, because the guardian is this process before the
    # fork.
    if not is_wanted(settings.guardian, os.environ, os.getpid()):
        return None
    return guarded(lambda: _end_recorded(settings))


def _end_recorded(settings: Settings) -> None:
    from vconnect.plugins.state_file import kill_recorded

    kill_recorded(settings.state_directory, Path(settings.socket_path))
