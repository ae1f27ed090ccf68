"""`PluginRuntimeManager`: owns all other objects, and is what an application embeds."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from vconnect.dispatch.dispatcher import Dispatcher
from vconnect.dispatch.host_calls import HostCalls, HostFunction
from vconnect.dispatch.sending import Sender
from vconnect.errors import ConflictError, NotOpenError
from vconnect.logs.plugin_logs import PluginLogs
from vconnect.logs.ring import LogPage
from vconnect.names import LogLevel
from vconnect.operations.packages import Packages
from vconnect.packages.source import Progress
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.state_file import (
    DISABLED_BY_OPERATOR,
    STOPPED_BY_OPERATOR,
    HostState,
)
from vconnect.plugins.status import Ordered
from vconnect.plugins.summary import PluginSummary, summarize
from vconnect.processes.cgroup_tree import CgroupTree
from vconnect.processes.peer import gains_no_privileges, identify
from vconnect.settings.keywords import SettingsOptions
from vconnect.settings.load import parse_dev_plugin, with_options
from vconnect.settings.model import Settings
from vconnect.settings.parts import (
    CgroupSettings,
    ConnectionSettings,
    HeartbeatSettings,
    LaunchSettings,
    LogSettings,
    StoreSettings,
    SupervisionSettings,
)
from vconnect.store.installer import PluginInstaller
from vconnect.store.releases import Releases
from vconnect.supervision.admission import lane_limits
from vconnect.supervision.launcher import Launcher
from vconnect.supervision.start_slots import StartSlots
from vconnect.supervision.supervisor import Supervisor
from vconnect.tasks import finish
from vconnect.threads import in_thread
from vconnect.watching.loop_watch import LoopWatch
from vconnect.watching.monitor import Monitor
from vconnect.watching.reloader import Reloader
from vconnect.wire._inflight import ByteBudget
from vconnect.wire.server import UnixSocketServer

from .gatekeeper import HostGatekeeper
from .in_order import run_in_order, start_in_order
from .native import NativeRequests
from .roster import Roster, stop_order
from .summary import HostSummary, summarize_host
from .surroundings import check_paths, log_beginning, warn_of_limit
from .takeover import Takeover

F = TypeVar("F", bound=HostFunction)

_log = logging.getLogger(__name__)


class PluginRuntimeManager(Sender):
    """Installs, starts, watches and talks to plugins.

    Use it as ``async with PluginRuntimeManager(...) as runtime``. The block serves the plugin
    socket; on exit every plugin is stopped, even if the block raises. No plugin starts before
    `start_all` or `start_plugin`.

    A plugin can be given by any of its names. All methods belong to the event loop's thread.

    Args:
        settings: The host's settings; by default those of ``Settings``.
        progress: Called during a download, with the bytes so far and the total if it is known.
        guardian_pid: The PID of the host's guardian, shown in `host_summary`.
        listening: A socket that already listens on ``socket_path``, opened by a service manager;
            by default the host opens its own.
        **options: Any key of `Settings`, overriding ``settings``: ``plugin_dir="./plugins"``.

    Raises:
        ConfigError: An option is unknown, or its value is invalid.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        progress: Progress | None = None,
        guardian_pid: int | None = None,
        listening: socket.socket | None = None,
        **options: Unpack[SettingsOptions],
    ) -> None:
        self.settings = settings = with_options(settings, options)
        self._logs = PluginLogs(settings.part(LogSettings))
        self._registry = Registry(settings.event_policy)
        super().__init__(Dispatcher(self._registry, settings.max_frame_bytes))
        self._loop_watch = LoopWatch()
        self._queued = ByteBudget(settings.max_total_queued_bytes)
        self._native = NativeRequests(self._registry)
        self._calls = HostCalls(self._dispatcher, settings.max_calls)
        self._state = HostState(settings.state_directory, Path(settings.socket_path))
        installer = PluginInstaller.of(settings, progress)
        self._releases = Releases(installer.store, settings.part(StoreSettings))
        self._catalog = Catalog(self._registry, installer, settings, self._logs, self._state)
        #: Installs, upgrades, rolls back and removes plugins.
        self.packages = Packages(
            self, self._catalog, self._registry, installer.store, settings.state_directory
        )
        self._guardian_pid = guardian_pid
        self._cgroups = CgroupTree(
            settings.part(CgroupSettings), settings.socket_path, settings.needed_controllers
        )
        self._launcher = Launcher(
            settings.part(LaunchSettings),
            self._registry,
            self._state,
            self._cgroups,
            self._releases,
        )
        self._supervision = settings.part(SupervisionSettings)
        self._slots = StartSlots(settings.start_concurrency)
        self._roster = Roster(self._new_supervisor)
        self._server = self._make_server(listening)
        #: Set to the name of a required plugin when it is in a crash loop; cancelled at the close.
        self.required_lost: asyncio.Future[str] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None
        self._opened = time.monotonic()

    # Life.

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Bind the socket, install packages, register dev plugins, and start listening.

        The socket is bound first, so that a second host is refused before it changes anything.
        Then plugin processes that a killed host left behind are ended.

        Raises:
            SocketError: The socket cannot be bound; another host may hold it.
            StateError: The state file was written by a newer vconnect.
            ConfigError: A dev plugin is invalid, ``cgroup`` is ``on`` but not available, or other
                users can change a directory that the host trusts.
            InstallError: A local package cannot be installed.
            NotOpenError: It was closed; each manager has one life.
        """
        if self._closing is not None:
            raise NotOpenError("this plugin runtime was closed; create another one")
        check_paths(self.settings)
        self._server.bind()
        try:
            log_beginning(self.settings)
            await Takeover(self.settings).run(self._state)
            await self._releases.collect_all()
            await in_thread(None, self._cgroups.open, self._guardian_pid)
            for text in self.settings.dev_plugins:
                dev = parse_dev_plugin(text)
                self.register_dev_plugin(dev.name, dev.path)
            await self._catalog.install_all()
            await self._server.start()
        except BaseException:
            await self.close()
            raise
        self._opened = time.monotonic()
        self._open_sending()
        self.required_lost = asyncio.get_running_loop().create_future()
        monitor = Monitor(self.settings.part(HeartbeatSettings))
        beat = monitor.run(lambda: list(self._roster), lambda: list(self._registry))
        self._tasks = [
            asyncio.create_task(beat, name="vconnect heartbeat"),
            asyncio.create_task(self._loop_watch.run(), name="vconnect loop watch"),
        ]
        if self.settings.watch:
            reloader = Reloader(self._registry, self._roster.of)
            self._tasks.append(asyncio.create_task(reloader.run(), name="vconnect sources"))

    async def close(self) -> None:
        """Stop every plugin, required ones last, then close the socket. May be called twice.

        If it is cancelled, it kills the plugins instead of stopping them, and returns as soon as
        they are gone: no process is left, and the socket is free.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="vconnect close")
        await finish(self._closing, self.kill_all)

    async def _close(self) -> None:
        try:
            await self._stop_everything()
        except asyncio.CancelledError:
            # The loop itself is ending, so nothing more can be awaited.
            self.kill_all()
            self._server.release()
            raise

    async def _stop_everything(self) -> None:
        self._close_sending()
        if self.required_lost is not None:
            self.required_lost.cancel()  # whoever still waits for it would wait for ever
        # Nothing may start from now on: neither by an order nor by the watch over sources.
        self._roster.begin_closing()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        supervisors = list(self._roster)
        await run_in_order({s.plugin.name: s.close for s in supervisors}, stop_order(supervisors))
        await self._roster.closed()
        await self._state.flush()
        await asyncio.gather(*(plugin.crashes.flush() for plugin in self._registry))
        await self._launcher.close()  # before the cgroups' parent is removed
        self._cgroups.close()
        # Last, because plugins that stop still use the connection, and logs their pipes.
        await self._server.close()
        await self._logs.close()

    def kill_all(self) -> None:
        """Send SIGKILL to every process of every plugin, without waiting."""
        for supervisor in self._roster:
            supervisor.kill_now()

    # Plugins.

    def register_dev_plugin(self, name: str, path: str | Path) -> None:
        """Register a source directory as a plugin; it overrides an installed plugin of that name.

        Args:
            name: The plugin's name, with or without prefix.
            path: The directory; ``~`` is expanded.

        Raises:
            ConfigError: The name is invalid, or the plugin with that name is in use.
        """
        self._catalog.register_dev(name, path)

    async def install_from_url(self, url: str) -> PluginSummary:
        """Install a package. A running version continues until it is restarted.

        Args:
            url: A path, ``file://``, ``https://``, or ``http://`` if that is allowed.

        Returns:
            The plugin's summary.

        Raises:
            InstallError: See `PluginInstaller.install_from_url`; the old version is unchanged.
        """
        return self.summary(await self._catalog.install(url))

    async def discover_plugins(self) -> list[PluginSummary]:
        """Read ``plugin_dir`` again, and return what is installed there, by name.

        Raises:
            InstallError: The directory exists but cannot be read.
        """
        names = await self._catalog.discover()
        return [summary for summary in self.runtime_summaries() if summary.name in names]

    async def start_plugin(self, name: str) -> None:
        """Start a plugin and wait for its handshake; do nothing if it is running.

        Cancelling it only ends the waiting.

        Raises:
            UnknownPluginError: There is no such plugin.
            ConflictError: It is disabled.
            PluginStartError: It did not start or complete its handshake, or was stopped meanwhile.
        """
        await self._to_start(name).start()

    async def stop_plugin(self, name: str) -> bool:
        """Stop a plugin, and wait until no process of it is left.

        It stays stopped even if the host restarts, until `start_plugin` or `restart_plugin`.

        Returns:
            Whether it is stopped; false if a later start or restart has overtaken the stop.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        is_disabled = self._state.is_disabled(self._registry.get(name).name)
        is_stopped = await self._ordered(name, "disabled" if is_disabled else "stopped").stop()
        await self._state.flush()  # the stop must survive a kill right after this call
        return is_stopped

    async def disable_plugin(self, name: str) -> None:
        """Stop a plugin, and let nobody start it until `enable_plugin`, not even the next host.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        supervisor = self._ordered(name, "disabled")
        await supervisor.stop()
        await self._state.flush()
        supervisor.plugin.explain(supervisor.plugin.substate, DISABLED_BY_OPERATOR)

    def is_disabled(self, name: str) -> bool:
        """Return whether the operator has disabled a plugin.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return self._state.is_disabled(self._registry.get(name).name)

    async def enable_plugin(self, name: str) -> None:
        """Allow a plugin to be started again, and start it, see `start_plugin`."""
        supervisor = self._ordered(name, "running")
        await self._state.flush()
        await supervisor.start()

    async def release_plugin(self, name: str) -> int:
        """Lift a plugin's quarantine, as `start_plugin` and `restart_plugin` do, too.

        Returns:
            How many events it gets again.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        self._check_open()
        return self._registry.get(name).crashes.release()

    async def restart_plugin(self, name: str) -> None:
        """Restart a plugin and wait for the new process's handshake.

        The old process runs until then, and keeps running if the new one fails. An ``exclusive``
        plugin is stopped first.

        Raises:
            UnknownPluginError: There is no such plugin.
            PluginStartError: See `start_plugin`; also raised if the old process keeps running.
        """
        await self._to_start(name).restart()

    async def start_all(self) -> None:
        """Discover and start all installed and dev plugins; required plugins come first.

        A failure does not affect other plugins; it is logged and shown in the summary. Plugins
        stopped with `stop_plugin`, even in an earlier run of the host, are left out.

        Raises:
            NotOpenError: The manager is not open.
            InstallError: ``plugin_dir`` exists but cannot be read.
            ConfigError: Two tables of the settings are for one plugin, or one is for two; or a
                ``required`` plugin is not installed.
        """
        self._check_open()
        await self.discover_plugins()
        self._catalog.check_tables()
        startable = [
            self._roster.of(plugin)
            for plugin in self._registry
            if not plugin.is_external and not self._stays_stopped(plugin)
        ]
        warn_of_limit(len(startable))
        await start_in_order(startable)

    async def stop_all(self) -> None:
        """Stop every plugin, required ones last. The socket stays open."""
        self._check_open()
        supervisors = [self._roster.of(plugin) for plugin in self._registry]
        await run_in_order({s.plugin.name: s.stop for s in supervisors}, stop_order(supervisors))
        await self._state.flush()

    def runtime_summaries(self) -> list[PluginSummary]:
        """Describe every plugin, by name."""
        return [
            summarize(plugin) for plugin in sorted(self._registry, key=lambda known: known.name)
        ]

    def summary(self, name: str) -> PluginSummary:
        """Describe one plugin.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return summarize(self._registry.get(name))

    def plugin_logs(
        self,
        name: str,
        *,
        lines: int = 100,
        level: LogLevel = "trace",
        after: int | None = None,
        states: bool = False,
    ) -> LogPage:
        """Return a plugin's log records, oldest first.

        Args:
            name: The plugin.
            lines: The maximum number of records: the newest, or with ``after`` the oldest after it.
            level: The lowest level to return.
            after: The ``next`` of an earlier page, to continue without gaps or duplicates.
            states: Return what the host says about the plugin instead, such as starts and ends.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        log = self._registry.get(name).log
        ring = log.states if states else log.ring
        return ring.newest(lines, level) if after is None else ring.after(after, lines, level)

    def host_summary(self) -> HostSummary:
        """Describe the host itself."""
        return summarize_host(
            self.settings,
            self._cgroups,
            guardian_pid=self._guardian_pid,
            uptime_s=time.monotonic() - self._opened,
            plugins=len(self._registry),
            queued_bytes=self._queued.used,
            loop_watch=self._loop_watch,
        )

    def is_confined(self, pid: int) -> bool:
        """Return whether a process belongs to a plugin that runs in a sandbox.

        Such a process must not get the operator's power by another way. One that has left its tree
        is recognized by what it cannot give back: that it gains no privileges.
        """
        if all(plugin.policy.sandbox == "off" for plugin in self._registry):
            return False
        owner = self._roster.owner(pid)
        if owner is not None:
            return owner[0].plugin.policy.sandbox != "off"
        return gains_no_privileges(pid) and not gains_no_privileges(os.getpid())

    # The native dialect.

    def host_call(self, name: str) -> Callable[[F], F]:
        """Let native plugins call a function of the application: ``@runtime.host_call("x.y")``.

        The function gets a `HostCall`, may be ``async``, and returns the reply's data. It raises
        `HostCallError` to reply with an error; any other exception is logged here, and reported to
        the plugin as ``internal``. The plugin's manifest must list ``name`` in its permissions.

        Raises:
            ConfigError: The name is already in use.
        """

        def register(function: F) -> F:
            self._calls.register(name, function)
            return function

        return register

    async def ping(self, name: str, *, timeout: float | None = None) -> float:
        """Ping a native plugin.

        Returns:
            The round-trip time in seconds.

        Raises:
            PluginError: It did not answer, is not connected, or is not native.
        """
        self._check_open()
        return await self._native.ping(name, timeout)

    async def update_config(
        self, name: str, values: dict[str, Any], *, timeout: float | None = None
    ) -> None:
        """Give a running native plugin another configuration, if it accepts it.

        The plugin checks the new configuration first; after an error, the old one stays in force.

        Args:
            name: The plugin.
            values: The operator's values, which are merged into the manifest's defaults. They apply
                until the host ends; the configuration file is not changed.
            timeout: Seconds for the check, and again for the update.

        Raises:
            ConfigError: It violates the manifest's ``config_schema``.
            PluginReplyError: The plugin rejected it; the text is the plugin's reason.
            PluginError: The plugin is not connected, not native, or did not answer.
        """
        self._check_open()
        await self._native.update_config(name, values, timeout)

    # Internals.

    def _make_server(self, listening: socket.socket | None) -> UnixSocketServer:
        gatekeeper = HostGatekeeper(
            self._registry,
            self._catalog,
            self._roster,
            self._calls,
            loop_watch=self._loop_watch,
            allow_external=self.settings.allow_external,
        )
        return UnixSocketServer(
            Path(self.settings.socket_path),
            gatekeeper,
            lane_limits(self.settings.part(ConnectionSettings), self.settings.plugin_policy("")),
            self.settings.handshake_timeout,
            listening,
            self._queued,
            identify,
        )

    def _given_up(self, plugin: PluginRuntime) -> None:
        """Called when a crash loop has begun."""
        lost = self.required_lost
        if plugin.policy.required and lost is not None and not lost.done():
            lost.set_result(plugin.name)

    def _new_supervisor(self, plugin: PluginRuntime) -> Supervisor:
        return Supervisor(
            plugin,
            self._supervision,
            self._launcher,
            self._slots,
            self._given_up,
            None if plugin.dev else self._releases,
        )

    def _to_start(self, name: str) -> Supervisor:
        """Return the supervisor of a plugin that is to be started.

        Raises:
            ConflictError: The operator has disabled it.
        """
        plugin = self._registry.get(name).name
        if self._state.is_disabled(plugin):
            raise ConflictError(f"{plugin} is disabled; to allow it, use: vconnect enable {plugin}")
        return self._ordered(name, "running")

    def _ordered(self, name: str, desired: Ordered) -> Supervisor:
        """Return the plugin's supervisor, and record what the operator asked for."""
        self._check_open()
        supervisor = self._roster.of(self._registry.get(name))
        self._state.want(supervisor.plugin.name, desired)
        return supervisor

    def _stays_stopped(self, plugin: PluginRuntime) -> bool:
        """Return whether the operator has stopped it; if so, say so in its summary and the log."""
        stopped = self._state.wants_stopped(plugin.name)
        if stopped:
            is_disabled = self._state.is_disabled(plugin.name)
            words = DISABLED_BY_OPERATOR if is_disabled else STOPPED_BY_OPERATOR
            plugin.explain(plugin.substate, words)
            _log.info(
                "plugin %s stays stopped (%s); to start it: vconnect %s %s",
                plugin.name,
                words,
                "enable" if is_disabled else "start",
                plugin.name,
            )
        return stopped
