"""From a plugin to a running process: what to start, in what surroundings, how many at a time."""

from __future__ import annotations

import asyncio
import logging
import os

from .config import Settings
from .errors import ManifestError, PluginStartError
from .instance import Instance, Rest, failed_start
from .manifest import MANIFEST_NAME, read_manifest
from .package.launch import dev_command, host_arguments, production_command
from .plugin import PluginRuntime
from .process import LaunchSpec, PluginProcess, plugin_environment
from .registry import Registry
from .restart import Ended
from .state import HostState
from .status import Substate

HOST_PID_VARIABLE = "VCONNECT_HOST_PID"
NAME_VARIABLE = "VCONNECT_PLUGIN_NAME"

_log = logging.getLogger(__name__)


class Launcher:
    """Starts processes for all supervisors of a host.

    Args:
        settings: Arguments, environment, ``start_concurrency``.
        registry: Says what a plugin needs of others.
        socket_path: The plugins' socket, absolute.
        state: Where each process is noted, in case this host is killed.
    """

    def __init__(
        self, settings: Settings, registry: Registry, socket_path: str, state: HostState
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._socket_path = socket_path
        self._state = state
        self._free = settings.start_concurrency
        self._waiting: set[asyncio.Event] = set()

    def begin(self, runtime: PluginRuntime, wake: asyncio.Event) -> Instance | Rest:
        """Start a generation of a plugin. Blocks for about a millisecond.

        Args:
            runtime: The plugin; its generation has been counted.
            wake: Set when the process ends.

        Returns:
            The instance, or where the plugin comes to rest without one.
        """
        try:
            self._read_manifest(runtime)
            process = self._launch(runtime)
        except ManifestError as error:
            return failed_start(Substate.BAD_MANIFEST, str(error), Ended.FOR_A_PERSON)
        except PluginStartError as error:
            how = Ended.NOT_YET if error.is_transient else Ended.FOR_A_PERSON
            return failed_start(Substate.SPAWN_FAILED, error.message, how)
        process.exited.add_done_callback(lambda _: wake.set())
        instance = Instance(runtime.generation, process)
        timeout = self._settings.handshake_timeout
        instance.expect_handshake(self._settings.dev_handshake_timeout if runtime.dev else timeout)
        return instance

    def _read_manifest(self, runtime: PluginRuntime) -> None:
        """Read it anew: the package may have been replaced, or the author has edited it."""
        assert runtime.path is not None, "an external plugin is never launched"
        file = runtime.path / MANIFEST_NAME
        runtime.manifest = read_manifest(file) if os.path.lexists(file) else None
        self._registry.reindex()
        self._registry.check_order(runtime)
        self._registry.check_requirements(runtime)

    def _launch(self, runtime: PluginRuntime) -> PluginProcess:
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
