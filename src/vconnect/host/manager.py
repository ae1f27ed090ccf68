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
from vconnect.dispatch.spans import Spans
from vconnect.dispatch.tracing import Tracing
from vconnect.environments.keeper import Keeper
from vconnect.errors import NotOpenError
from vconnect.index.client import Indexes
from vconnect.logs.plugin_logs import PluginLogs
from vconnect.logs.ring import LogPage
from vconnect.names import LogLevel
from vconnect.operations.configuration import Configuration
from vconnect.operations.packages import Packages
from vconnect.operations.reload import Reload, Reloaded
from vconnect.operations.turns import Turns
from vconnect.packages.source import Progress
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.state_file import (
    HostState,
)
from vconnect.processes.cgroup_tree import CgroupTree
from vconnect.processes.peer import gains_no_privileges, identify
from vconnect.seeing.feed import Feed
from vconnect.seeing.happenings import Happenings
from vconnect.seeing.overview import Overview
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.trace import Traces
from vconnect.settings.dev_plugins import parse_dev_plugin
from vconnect.settings.keywords import SettingsOptions
from vconnect.settings.live import LiveSettings
from vconnect.settings.load import with_options
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
from vconnect.settings.source import SettingsSource
from vconnect.store.blobs import Blobs
from vconnect.store.installer import PluginInstaller, environments_of
from vconnect.store.releases import Releases
from vconnect.store.signatures import signatures_of
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
from .in_order import run_in_order
from .native import NativeRequests
from .orders import Orders
from .roster import Roster, stop_order
from .summary import HostSummary, summarize_host
from .surroundings import check_paths, log_beginning
from .takeover import Takeover

F = TypeVar("F", bound=HostFunction)

_log = logging.getLogger(__name__)


class PluginRuntimeManager(Orders):
    """Installs, starts, watches and talks to plugins.

    Use it as ``async with PluginRuntimeManager(...) as runtime``. The block serves the plugin
    socket; on exit every plugin is stopped, even if the block raises. No plugin starts before
    `start_all` or `start_plugin`.

    A plugin can be given by any of its names. All methods belong to the event loop's thread.

    Args:
        settings: The host's settings; by default those of ``Settings``.
        progress: Called during a download, with the bytes so far and the total if it is known.
        guardian_pid: The PID of the host's guardian, shown in `host_summary`.
        source: Where the settings come from, for `reload`.
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
        source: SettingsSource | None = None,
        listening: socket.socket | None = None,
        **options: Unpack[SettingsOptions],
    ) -> None:
        settings = with_options(settings, options)
        self._live = live = LiveSettings(settings)
        #: What happened lately.
        self.happenings = Happenings()
        self._logs = PluginLogs(live.part(LogSettings), self.happenings.add)
        self._registry = Registry(
            lambda event: live.now.event_policy(event), lambda event: event in live.now.events
        )
        #: What an operator sees; also `why`.
        self.overview = Overview(self._registry, lambda: live.now.slow_ms / 1000)
        super().__init__(Dispatcher(self._registry, settings.max_frame_bytes))
        self._tracing = Tracing(self._dispatcher)
        self._tracing.on_cover = self._bind_sending
        #: Traces of single events, made while somebody watches.
        self.traces = self._tracing.traces = Traces(
            lambda: live.now.slow_ms / 1000, self._switch_tracing
        )
        #: News for those who follow.
        self.feed = Feed(self._registry, self.overview, self.traces)
        self.happenings.on_happening = self.feed.happened
        self._loop_watch = LoopWatch(self.overview.minute.lag.observe)
        self._queued = ByteBudget(settings.max_total_queued_bytes)
        self._native = NativeRequests(self._registry)
        self._calls = HostCalls(self._dispatcher, settings.max_calls)
        self._state = HostState(settings.state_directory, Path(settings.socket_path))
        installer = PluginInstaller.of(settings, progress)
        self._installer = installer
        #: Packages that clients have sent.
        self.blobs = Blobs(installer.store.blobs)
        indexes = Indexes(live, installer.store)
        installer.resolve = indexes.resolve
        self._releases = Releases(installer.store, live.part(StoreSettings))
        self._catalog = Catalog(self._registry, installer, live, self._logs, self._state)
        turns = Turns()
        #: Installs, upgrades, rolls back and removes plugins.
        self.packages = Packages(
            self,
            self._catalog,
            self._registry,
            installer.store,
            settings.state_directory,
            turns,
            indexes,
        )
        #: Shows and changes the configurations of plugins.
        self.configuration = Configuration(
            self.restart_plugin,
            self._native.ask_config,
            self._registry,
            self._catalog.tables,
            live,
            turns,
            source.file if source is not None else None,
        )
        self._guardian_pid = guardian_pid
        self._cgroups = CgroupTree(
            live.part(CgroupSettings), settings.socket_path, settings.needed_controllers
        )
        self._launcher = Launcher(
            live.part(LaunchSettings),
            self._registry,
            self._state,
            self._cgroups,
            self._releases,
            Keeper(
                lambda: environments_of(live.now),
                lambda plugin: live.now.python_of(plugin),
                settings.state_directory,
            ),
        )
        self._supervision = live.part(SupervisionSettings)
        self._slots = StartSlots(settings.start_concurrency)
        self._roster = Roster(self._new_supervisor)
        self._gatekeeper = self._make_gatekeeper()
        self._server = self._make_server(listening)
        self._reload = Reload(
            live,
            source,
            self._follow,
            self._registry,
            self._catalog,
            self._roster.of,
            self._launcher,
            self.configuration,
            self.packages,
            turns,
        )
        #: Called with the settings when others come into force.
        self.on_settings: Callable[[Settings], None] = lambda _: None
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
            await self._reload.remember_file()
            await self._server.start()
        except BaseException:
            await self.close()
            raise
        self._opened = time.monotonic()
        self._open_sending()
        self.required_lost = asyncio.get_running_loop().create_future()
        monitor = Monitor(self._live.part(HeartbeatSettings))
        beat = monitor.run(lambda: list(self._roster), lambda: list(self._registry))
        self._tasks = [
            asyncio.create_task(beat, name="vconnect heartbeat"),
            asyncio.create_task(self._loop_watch.run(), name="vconnect loop watch"),
            asyncio.create_task(self.overview.minute.run(), name="vconnect last minute"),
        ]
        reloader = Reloader(self._registry, self._roster.of, lambda: self.settings.watch)
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
        await self.feed.close()
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
            url: A path, ``file://``, ``https://``, or ``http://`` if that is allowed; or
                ``NAME[@RANGE]`` of an index.

        Returns:
            The plugin's summary.

        Raises:
            InstallError: See `PluginInstaller.install_from_url`; the old version is unchanged.
        """
        return self.summary(await self._catalog.install(url))

    def plugin_logs(
        self,
        name: str,
        *,
        lines: int = 100,
        level: LogLevel = "trace",
        after: int | None = None,
        states: bool = False,
        host: bool = False,
    ) -> LogPage:
        """Return a plugin's log records, oldest first.

        Args:
            name: The plugin.
            lines: The maximum number of records: the newest, or with ``after`` the oldest after it.
            level: The lowest level to return.
            after: The ``next`` of an earlier page, to continue without gaps or duplicates.
            states: Return what the host says about the plugin instead, such as starts and ends.
            host: Return that and its output in the order in which they came.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        log = self._registry.get(name).log
        ring = log.whole if host else log.states if states else log.ring
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

    @property
    def registry(self) -> Registry:
        """The plugins, for those who only look."""
        return self._registry

    def loop_name(self) -> str:
        """Return ``uvloop`` or ``asyncio``."""
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    def missing(self) -> list[str]:
        """Return the required plugins that do not serve."""
        return [
            plugin.name
            for plugin in self._registry
            if plugin.policy.required and (plugin.session is None or plugin.breaker.is_open)
        ]

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
        await self.configuration.replace(name, values, timeout=timeout)

    # The host's own settings.

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._live.now

    async def reload(
        self, settings: Settings | None = None, *, dry_run: bool = False, by: str = ""
    ) -> Reloaded:
        """Bring other settings into force, and touch only what has changed.

        Keys that need nothing else change at once. A plugin whose configuration has changed is
        asked for it; one that cannot be asked, or needs another process for what has changed, is
        replaced without a gap. A plugin that refuses keeps its old tables. What only another host
        can have is named, and stays.

        Args:
            settings: The new settings; by default ``source`` is read again.
            dry_run: Say only what would be done.
            by: Who asks for it; by default the user of this process.

        Raises:
            ConfigError: The new settings are invalid, and nothing was done; or there are none.
            NotOpenError: The manager is not open.
        """
        self._check_open()
        return await self._reload.run(settings, dry_run=dry_run, by=by)

    # Internals.

    def trace_with(self, provider: Any = None) -> None:
        """Make spans of OpenTelemetry for events from now on; the extra ``otel``.

        Args:
            provider: A ``TracerProvider``; by default the application's global one.

        Raises:
            ConfigError: OpenTelemetry is not installed.
        """
        self._tracing.trace_with(Spans(provider))

    def _switch_tracing(self, is_on: bool) -> None:
        self._tracing.switch(is_on=is_on)

    def _follow(self, settings: Settings) -> None:
        """Bring settings into force, with everything that needs no plugin."""
        self._live.follow(settings)
        self._registry.forget_policies()
        self._dispatcher.forget_policies()
        self._slots.resize(settings.start_concurrency)
        self._calls.max_calls = settings.max_calls
        self._gatekeeper.allow_external = settings.allow_external
        self._installer.configure(
            max_package_bytes=settings.max_package_bytes,
            allow_insecure_http=settings.allow_insecure_http,
            signatures=signatures_of(settings),
            interfaces=settings.interfaces,
            require_interface=settings.require_interface,
            environments=environments_of(settings),
            python_of=settings.python_of,
        )
        self._logs.follow(settings.log_lines_per_second, settings.log_bytes_per_second)
        self.on_settings(settings)

    def _make_gatekeeper(self) -> HostGatekeeper:
        return HostGatekeeper(
            self._registry,
            self._catalog,
            self._roster,
            self._calls,
            loop_watch=self._loop_watch,
            allow_external=self.settings.allow_external,
        )

    def _make_server(self, listening: socket.socket | None) -> UnixSocketServer:
        return UnixSocketServer(
            Path(self.settings.socket_path),
            self._gatekeeper,
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
