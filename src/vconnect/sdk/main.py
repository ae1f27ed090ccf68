"""`run_plugin`: from a command line to a running plugin, and to its exit code."""

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
from vconnect.names import HOST_PID_VARIABLE, LOG_LEVELS, MAX_SOCKET_PATH_BYTES

from .client import PluginClient
from .plugin import Plugin, check_plugin

if TYPE_CHECKING:
    import argparse

EXIT_FAILURE = 1
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h
EXIT_INTERRUPTED = 130


def run_plugin(plugin: type[Plugin] | Plugin, argv: Sequence[str] | None = None) -> None:
    """Run a plugin to its end, as its program's main function.

    It returns once the plugin was stopped (SIGTERM, SIGINT) or its host is gone.

    Args:
        plugin: A `Plugin` class, or an instance.
        argv: The arguments; by default those of the process: ``--socket PATH``, ``--debug``,
            ``--log-level LEVEL``.

    Raises:
        SystemExit: With code 2 for wrong arguments, 78 for a wrong configuration, 1 for a failure
            in ``on_start`` or ``on_stop``. The last line on stderr says what is wrong.
        TypeError: The plugin's class attributes are not what they must be.
    """
    instance = plugin() if isinstance(plugin, type) else plugin
    check_plugin(instance)
    options = _parse_arguments(instance.name, argv)
    _set_up_output(_log_level(options))
    code = _run(instance, options.socket)
    if code:
        raise SystemExit(code)


def _parse_arguments(name: str, argv: Sequence[str] | None) -> argparse.Namespace:
    import argparse  # here, so that tests of a plugin never load it

    parser = argparse.ArgumentParser(
        prog=name, description=f"The plugin {name}; a vconnect host starts it.", allow_abbrev=False
    )
    parser.add_argument(
        "--socket", default=f"./plugins/{name}.sock", help="the host's socket (%(default)s)"
    )
    parser.add_argument("-d", "--debug", action="store_true", help="same as --log-level debug")
    parser.add_argument("--log-level", type=str.lower, choices=list(LOG_LEVELS))
    options = parser.parse_args(argv)
    length = len(os.fsencode(options.socket))
    if length > MAX_SOCKET_PATH_BYTES:
        parser.error(
            f"--socket: the path has {length} bytes; a Unix socket's may have "
            f"{MAX_SOCKET_PATH_BYTES}; choose a shorter one"
        )
    return options


def _log_level(options: argparse.Namespace) -> int:
    """Return the level asked for; the more exact flag wins, as a host may pass both."""
    if options.log_level is not None:
        return LOG_LEVELS[options.log_level]
    return logging.DEBUG if options.debug else logging.INFO


def _set_up_output(level: int) -> None:
    logging.addLevelName(LOG_LEVELS["trace"], "TRACE")
    # A host's log has a time of its own before each line.
    time = "" if HOST_PID_VARIABLE in os.environ else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr, level=level, format=f"{time}%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger().setLevel(level)  # also where the author has set up logging before
    logging.getLogger("asyncio").setLevel(max(level, logging.INFO))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # a print() must reach the host's log at once


def _run(plugin: Plugin, socket_path: str) -> int:
    try:
        asyncio.run(_serve(plugin, socket_path))
    except ConfigError as error:
        plugin.log.error(
            "wrong configuration: %s; set it in [plugins.config.%s] of the host's settings",
            error,
            plugin.name,
        )
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception:  # the process ends here; the host must be able to show why
        plugin.log.exception("ended by a failure")
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
    log.warning("%s is %r; a process id was expected, so it is ignored", HOST_PID_VARIABLE, text)
    return None


@contextlib.contextmanager
def _stop_signals(client: PluginClient, log: logging.Logger) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the client in order; the same one again ends the process at once.

    A host sends both, one after the other, and only then kills.
    """
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop(received: signal.Signals) -> None:
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
