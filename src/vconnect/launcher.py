"""From a plugin to a running process: what to start, in what surroundings, how many at a time."""

from __future__ import annotations

import asyncio
import logging
import os

from .config import Settings
from .package.launch import dev_command, host_arguments, production_command
from .plugin import PluginRuntime
from .process import LaunchSpec, PluginProcess, plugin_environment
from .state import HostState

HOST_PID_VARIABLE = "VCONNECT_HOST_PID"
NAME_VARIABLE = "VCONNECT_PLUGIN_NAME"

_log = logging.getLogger(__name__)


class Launcher:
    """Starts processes for all supervisors of a host.

    Args:
        settings: Arguments, environment, ``start_concurrency``.
        socket_path: The plugins' socket, absolute.
        state: Where each process is noted, in case this host is killed.
    """

    def __init__(self, settings: Settings, socket_path: str, state: HostState) -> None:
        self._settings = settings
        self._socket_path = socket_path
        self._state = state
        self._free = settings.start_concurrency
        self._waiting: set[asyncio.Event] = set()

    def launch(self, runtime: PluginRuntime) -> PluginProcess:
        """Start the plugin's process. Blocks for about a millisecond.

        Raises:
            PluginStartError: There is nothing to start, or the kernel refuses.
        """
        process = PluginProcess.spawn(self._spec(runtime), runtime.log)
        self._state.started(runtime.name, process.pid, runtime.generation)
        process.released.add_done_callback(lambda _: self._state.ended(process.pid))
        return process

    def take_place(self, wake: asyncio.Event) -> bool:
        """Take one of the places for starting plugins, if one is free.

        Many plugins that start at once would keep the machine, and with it the host, busy.

        Args:
            wake: Set once it is worth asking again.
        """
        if self._free > 0:
            self._free -= 1
            return True
        self._waiting.add(wake)
        return False

    def give_place(self) -> None:
        """Give the place back: the plugin has started, or it never will."""
        self._free += 1
        while self._waiting:
            self._waiting.pop().set()

    def _spec(self, runtime: PluginRuntime) -> LaunchSpec:
        settings = self._settings
        assert runtime.path is not None, "an external plugin is never launched"
        if runtime.dev:
            command = dev_command(runtime.name, runtime.path)
            _log.info("starting dev plugin %s with %s", runtime.name, _shown(command))
        else:
            command = production_command(runtime.name, runtime.path, runtime.manifest)
        arguments = host_arguments(self._socket_path, settings.debug, settings.log_level)
        own = {HOST_PID_VARIABLE: str(os.getpid()), NAME_VARIABLE: runtime.name}
        return LaunchSpec(
            plugin=runtime.name,
            argv=(*command, *arguments),
            directory=runtime.path.absolute(),
            environment=plugin_environment(
                os.environ, settings.env | own, inherit=settings.inherit_env, dev=runtime.dev
            ),
        )


def _shown(command: list[str]) -> str:
    """Name the tool, as ``cargo run``; all of its arguments would only hide it."""
    return " ".join(command[:2])
