"""`run_plugin`: from a command line to a running plugin and its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vconnect.errors import ConfigError
from vconnect.names import EXIT_CONFIG, HOST_PID_VARIABLE, LOG_LEVELS, MAX_SOCKET_PATH_BYTES

from .client import PluginClient
from .plugin import Plugin, check_plugin

if TYPE_CHECKING:
    import argparse

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130  # as a shell reports SIGINT: 128 + 2


def run_plugin(plugin: type[Plugin] | Plugin, argv: Sequence[str] | None = None) -> None:
    """Run a plugin until it ends, as its program's main function.

    Returns after the plugin was stopped (SIGTERM, SIGINT) or its host is gone.

    Args:
        plugin: A `Plugin` class or instance.
        argv: The arguments, by default those of the process: ``--socket PATH``, ``--debug``,
            ``--log-level LEVEL``.

    Raises:
        SystemExit: With code 2 for invalid arguments, 78 for an invalid configuration, 1 if
            ``on_start`` or ``on_stop`` raised. The last line on stderr is the reason.
        TypeError: A class attribute of the plugin is invalid.
    """
    instance = plugin() if isinstance(plugin, type) else plugin
    check_plugin(instance)
    # Before the output is set up, since argparse reports mistakes on its own.
    options = _parse_arguments(instance.name, argv)
    _set_up_output(_log_level(options))
    code = _run(instance, options.socket)
    if code:
        raise SystemExit(code)


def _parse_arguments(name: str, argv: Sequence[str] | None) -> argparse.Namespace:
    import argparse  # here, so that tests of a plugin never load it

    parser = argparse.ArgumentParser(
        prog=name, description=f"The plugin {name}, started by a vconnect host.", allow_abbrev=False
    )
    parser.add_argument(
        "--socket", default=f"./plugins/{name}.sock", help="the host's socket (%(default)s)"
    )
    parser.add_argument("-d", "--debug", action="store_true", help="same as --log-level debug")
    parser.add_argument("--log-level", type=str.lower, choices=list(LOG_LEVELS))
    options = parser.parse_args(argv)
    # The kernel's own error for a long path does not say what is wrong with it.
    length = len(os.fsencode(options.socket))
    if length > MAX_SOCKET_PATH_BYTES:
        parser.error(
            f"--socket: the path has {length} bytes; a Unix socket's path may have at most "
            f"{MAX_SOCKET_PATH_BYTES}; use a shorter path"
        )
    return options


def _log_level(options: argparse.Namespace) -> int:
    """Return the requested level. The more exact flag wins, because a host may pass both."""
    if options.log_level is not None:
        return LOG_LEVELS[options.log_level]
    return logging.DEBUG if options.debug else logging.INFO


def _set_up_output(level: int) -> None:
    logging.addLevelName(LOG_LEVELS["trace"], "TRACE")
    # A host's log has its own time on each line.
    time = "" if HOST_PID_VARIABLE in os.environ else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr, level=level, format=f"{time}%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger().setLevel(level)  # even if the author's own logging setup came first
    # At DEBUG, asyncio logs its selector, which says nothing about the plugin.
    logging.getLogger("asyncio").setLevel(max(level, logging.INFO))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # a print() must reach the host's log at once


def _run(plugin: Plugin, socket_path: str) -> int:
    try:
        asyncio.run(_serve(plugin, socket_path))
    except ConfigError as error:
        plugin.log.error(
            "invalid configuration: %s; set it in [plugins.config.%s] of the host's settings",
            error,
            plugin.name,
        )
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception:  # the process ends here, and the host shows the reason
        plugin.log.exception("failed")
        return EXIT_FAILURE
    return 0


async def _serve(plugin: Plugin, socket_path: str) -> None:
    client = PluginClient(plugin, socket_path, host_pid=_host_pid(plugin.log))
    with _stop_signals(client, plugin.log):
        await client.run()


def _host_pid(log: logging.Logger) -> int | None:
    text = os.environ.get(HOST_PID_VARIABLE)
    if text is None:
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    log.warning("%s is %r; expected a PID, so it is ignored", HOST_PID_VARIABLE, text)
    return None


@contextlib.contextmanager
def _stop_signals(client: PluginClient, log: logging.Logger) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop the client; the same signal again ends the process at once.

    A host sends both, one after the other, before it kills.
    """
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop(received: signal.Signals) -> None:
        # The second signal of the kind then has its default effect: it ends the process.
        loop.remove_signal_handler(received)
        log.info("stopping: %s", received.name)
        client.stop()

    for number in signals:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
