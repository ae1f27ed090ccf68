"""What a host finds when it begins: signals, descriptors, /proc; put right, or named."""

# Whoever starts a program passes on what it had blocked, ignored or closed, usually without
# knowing. `vconnect serve` is a program of its own and puts that right. A manager inside an
# application must leave the application's signals alone, so it only says what will go wrong.

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from vconnect.descriptors import limit, open_standard, raise_limit
from vconnect.errors import ConfigError
from vconnect.processes.procfs import has_proc
from vconnect.safe_paths import find_danger
from vconnect.settings.model import Settings
from vconnect.settings.variables import find_mistakes

# Two pipes, a pidfd and a connection for each plugin; sockets, logs and the loop for the host.
_PER_PLUGIN = 4
_OF_THE_HOST = 40

_log = logging.getLogger(__name__)


def put_right() -> None:
    """Undo what was inherited and would keep ``vconnect serve`` from working."""
    open_standard()
    unblock_signals()
    raise_limit()


def unblock_signals() -> None:
    """Let all signals through, and SIGTERM, SIGINT and SIGCHLD mean what they usually do.

    An ignored SIGHUP stays ignored: that is what ``nohup`` is for.
    """
    # With SIGCHLD ignored, the kernel forgets how each child has ended.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def log_beginning(settings: Settings) -> None:
    """Log that a manager begins, and what of its surroundings will cause trouble."""
    _log.info("plugin runtime manager initialized")
    if settings.debug:
        _log.info("plugin debug mode enabled")
    if settings.log_level is not None:
        _log.info("plugin log level: %s", settings.log_level)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        _log.warning(
            "this program ignores SIGCHLD, so the kernel forgets how its children end: no plugin's "
            "exit code will be known; use: signal.signal(signal.SIGCHLD, signal.SIG_DFL)"
        )
    if sys.platform == "linux" and not has_proc():
        _log.warning(
            "there is no /proc that shows this process; without it, only a plugin's process group "
            "can be ended, and nothing is measured; mount /proc"
        )


def check_paths(settings: Settings) -> None:
    """Refuse paths that other users can change: what is run and read from there would be theirs.

    Raises:
        ConfigError: There is one, and the operator has not said ``insecure_paths``.
    """
    trusted = {
        "plugin_dir": settings.plugin_dir,
        "state_dir": str(settings.state_directory),
        "socket_path": settings.socket_path,
        "admin_path": settings.admin_socket,
        "log_dir": settings.log_dir,
    }
    for key, path in trusted.items():
        if path is None or not (danger := find_danger(Path(path))):
            continue
        if not settings.insecure_paths:
            raise ConfigError(
                f"plugins.{key} is {path}, but {danger}; whoever can change it decides what this "
                "host runs. Use a directory of your own, or take the right from others; "
                "insecure_paths = true (--insecure-paths) starts all the same"
            )
        _log.warning("plugins.%s is not safe: %s (insecure_paths)", key, danger)


def warn_of_variables(settings: Settings) -> None:
    """Warn of variables ``VCONNECT_*`` that are probably typos: nothing reads them."""
    for mistake in find_mistakes(os.environ, settings.inherit_env):
        _log.warning("%s", mistake)


def warn_of_limit(plugins: int) -> None:
    """Warn if the limit on open descriptors is too low for a number of plugins."""
    allowed, needed = limit(), plugins * _PER_PLUGIN + _OF_THE_HOST
    if allowed is not None and allowed < needed:
        _log.warning(
            "this host may open %d descriptors, but %d plugins need about %d; raise the limit: "
            "ulimit -n, or LimitNOFILE= in the unit",
            allowed,
            plugins,
            needed,
        )
