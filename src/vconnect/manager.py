"""`PluginRuntimeManager`: the only object that owns the others, and what an application embeds."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from .admission import check_external, merge_config
from .calls import HostCalls, HostFunction
from .config import LogLevel, Settings, load_settings, split_dev_plugin
from .dispatcher import Dispatcher, Outcome
from .errors import (
    ConfigError,
    HandshakeError,
    InstallError,
    PluginStartError,
    PluginUnavailableError,
)
from .installer import PluginInstaller
from .launcher import Launcher
from .logs import LogPage, PluginLogs
from .monitor import Monitor
from .package.fetch import Progress, check_scheme, expand_source, is_url
from .package.store import InstalledPlugin
from .package.worker import in_thread
from .plugin import PluginRuntime, PluginSummary
from .private import sweep
from .protocol import CONFIG_CHECK, CONFIG_UPDATE, PING, Handshake
from .registry import Registry
from .server import Admission, UnixSocketServer
from .session import LaneLimits, Peer, Session
from .status import PluginStatus, Substate
from .supervisor import Supervisor
from .version import host_version

HEARTBEAT_SECONDS = 1.0

F = TypeVar("F", bound=HostFunction)

_log = logging.getLogger(__name__)


class HostSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sees of the host itself.

    Attributes:
        loop: ``uvloop`` or ``asyncio``.
        uptime_s: Seconds since it began to listen.
        plugins: How many plugins it knows.
    """

    pid: int
    version: str
    loop: str
    uptime_s: float
    socket_path: str
    admin_path: str
    plugin_dir: str
    plugins: int


class PluginRuntimeManager:
    """Installs, starts, watches and talks to plugins.

    Use it as ``async with PluginRuntimeManager(...) as runtime``: inside the block the plugins'
    socket is served; at its end every plugin is stopped, also when the block raises. No plugin
    starts before `start_all` or `start_plugin`.

    A method that takes a plugin's name takes any of its names. All methods belong to the thread of
    the event loop.

    Args:
        settings: The host's settings; by default those of ``Settings``.
        progress: Called while a package is downloaded, with the bytes so far and the total where
            it is known.
        **options: Any key of `Settings`, over ``settings``: ``plugin_dir="./plugins"``.

    Raises:
        ConfigError: An option is unknown, or not what its key expects.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        progress: Progress | None = None,
        **options: Any,
    ) -> None:
        self.settings = settings = _with_options(settings, options)
        self._logs = PluginLogs(settings)
        self._registry = Registry(settings)
        self._dispatcher = Dispatcher(self._registry, settings)
        self._calls = HostCalls(self._registry, self._dispatcher, settings)
        self._supervisors: dict[str, Supervisor] = {}
        self._installer = PluginInstaller(
            Path(settings.plugin_dir),
            max_package_bytes=settings.max_package_bytes,
            allow_insecure_http=settings.allow_insecure_http,
            progress=progress,
        )
        self._server = UnixSocketServer(
            settings.socket_path, self, _lane_limits(settings), settings.handshake_timeout
        )
        self._launcher = Launcher(settings, str(self._server.path))
        #: Set when a plugin that the operator requires is in a crash loop; holds its name.
        self.required_lost: asyncio.Future[str] | None = None
        self._heartbeat: asyncio.Task[None] | None = None
        self._opened = time.monotonic()
        self._closing = False

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
        """Hold the socket, register the dev plugins, install what is to be installed, and listen.

        The socket is held first, so that a second host is refused before it changes anything.

        Raises:
            SocketError: The socket cannot be had; another host may hold it.
            ConfigError: A dev plugin is wrong.
            InstallError: A package from this machine cannot be installed.
        """
        self._server.bind()
        try:
            self._log_beginning()
            await in_thread(None, sweep, Path(self.settings.plugin_dir))
            for text in self.settings.dev_plugins:
                self.register_dev_plugin(*split_dev_plugin(text))
            await self._install_all()
            await self._server.start()
        except BaseException:
            await self.close()
            raise
        self._opened = time.monotonic()
        self.required_lost = asyncio.get_running_loop().create_future()
        self._heartbeat = asyncio.create_task(self._beat(), name="vconnect heartbeat")

    async def close(self) -> None:
        """Stop every plugin, all at the same time, then the socket. Safe to call twice."""
        self._closing = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            with suppress(asyncio.CancelledError):
                await self._heartbeat
            self._heartbeat = None
        await asyncio.gather(*(supervisor.close() for supervisor in self._supervisors.values()))
        await self._server.close()
        await self._logs.close()

    def kill_all(self) -> None:
        """Send SIGKILL to every process of every plugin, without waiting."""
        for supervisor in self._supervisors.values():
            supervisor.kill_now()

    # Plugins.

    def register_dev_plugin(self, name: str, path: str | Path) -> None:
        """Make a plugin of a source directory; it wins over an installed one of its name.

        Args:
            name: Its name, with or without prefix.
            path: The directory; ``~`` is expanded.

        Raises:
            ConfigError: The name is no plugin's, or the plugin of that name is in use.
        """
        plugin, _ = split_dev_plugin(f"{name}:{path}")
        directory = Path(path).expanduser().absolute()
        _log.info("registering dev plugin: %s from %s", plugin, directory)
        known = self._registry.exact(plugin)
        if known is not None:
            if known.dev and known.path == directory:
                return
            self._check_idle(known)
        limits = self.settings.plugin_limits(plugin)
        log = self._logs.of(plugin)
        self._registry.add(PluginRuntime(plugin, directory, dev=True, limits=limits, log=log))
        _log.info("registered dev plugin: %s", plugin)

    async def install_from_url(self, url: str) -> PluginSummary:
        """Install a package; a version that runs goes on until it is restarted.

        Args:
            url: A path, ``file://``, ``https://``, or ``http://`` where allowed.

        Returns:
            The plugin, as it stands now.

        Raises:
            InstallError: As `PluginInstaller.install_from_url`; the old version is untouched.
        """
        installed = await self._installer.install_from_url(url)
        self._adopt(installed)
        return self.summary(installed.name)

    async def discover_plugins(self) -> list[PluginSummary]:
        """Look into ``plugin_dir`` again and list what is installed there, by name.

        Raises:
            InstallError: The directory exists but cannot be read.
        """
        found = await in_thread(None, self._installer.discover)
        _log.info("discovered %d installed plugin(s)", len(found))
        for installed in found:
            _log_found(installed)
            self._adopt(installed)
        self._forget_all_but({installed.path for installed in found})
        names = {installed.name for installed in found}
        return [summary for summary in self.runtime_summaries() if summary.name in names]

    async def start_plugin(self, name: str) -> None:
        """Start a plugin and wait for its handshake; nothing to do if it is running.

        Cancelling it only stops the waiting.

        Raises:
            UnknownPluginError: There is no such plugin.
            PluginStartError: It did not start, did not shake hands, or was stopped meanwhile.
        """
        await self._supervisor_of(name).start()

    async def stop_plugin(self, name: str) -> None:
        """Stop a plugin, and return when no process of its group is left.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        await self._supervisor_of(name).stop()

    async def restart_plugin(self, name: str) -> None:
        """Stop a plugin if it runs, start it, and wait for its handshake.

        Raises:
            UnknownPluginError: There is no such plugin.
            PluginStartError: As `start_plugin`.
        """
        await self._supervisor_of(name).restart()

    async def start_all(self) -> None:
        """Discover, then start every installed and dev plugin, all at the same time.

        One that fails never stops the others; its reason is in the log and in its summary.

        Raises:
            InstallError: ``plugin_dir`` exists but cannot be read.
        """
        await self.discover_plugins()
        startable = [
            self._supervise(runtime)
            for runtime in self._registry
            if not runtime.is_external and runtime.substate is not Substate.BAD_MANIFEST
        ]
        async with asyncio.TaskGroup() as group:
            for supervisor in startable:
                group.create_task(_start_or_leave(supervisor))

    async def stop_all(self) -> None:
        """Stop every plugin, all at the same time; the socket is served on."""
        async with asyncio.TaskGroup() as group:
            for runtime in self._registry:
                group.create_task(self._supervise(runtime).stop())

    def runtime_summaries(self) -> list[PluginSummary]:
        """Describe every plugin as it is now, by name."""
        return [
            runtime.summary() for runtime in sorted(self._registry, key=lambda known: known.name)
        ]

    def summary(self, name: str) -> PluginSummary:
        """Describe one plugin as it is now.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return self._registry.get(name).summary()

    def plugin_logs(
        self, name: str, *, lines: int = 100, level: LogLevel = "trace", after: int | None = None
    ) -> LogPage:
        """Return what a plugin has printed and logged, oldest first.

        Args:
            name: The plugin.
            lines: How many records at most: the newest, or with ``after`` the oldest after it.
            level: The lowest level that is wanted.
            after: The ``next`` of an earlier answer, to go on without gap or duplicate.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        ring = self._registry.get(name).log.ring
        return ring.newest(lines, level) if after is None else ring.after(after, lines, level)

    def host_summary(self) -> HostSummary:
        """Describe the host itself."""
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        return HostSummary(
            pid=os.getpid(),
            version=host_version(),
            loop=loop,
            uptime_s=time.monotonic() - self._opened,
            socket_path=str(self._server.path),
            admin_path=_absolute(self.settings.admin_socket),
            plugin_dir=_absolute(self.settings.plugin_dir),
            plugins=len(self._registry),
        )

    # Events. These return the dispatcher's coroutines as they are: one frame less for each event.

    def emit(
        self, event: str, payload: Any, *, timeout: float | None = None, trace: str | None = None
    ) -> Coroutine[Any, Any, Outcome]:
        """Send an event through the chain; see `Dispatcher.emit`."""
        return self._dispatcher.emit(event, payload, timeout=timeout, trace=trace)

    def broadcast(
        self, event: str, payload: Any, *, timeout: float | None = None, trace: str | None = None
    ) -> Coroutine[Any, Any, Outcome]:
        """Send an event to all capable plugins at the same time; see `Dispatcher.broadcast`."""
        return self._dispatcher.broadcast(event, payload, timeout=timeout, trace=trace)

    def request(
        self, plugin: str, event: str, payload: Any, *, timeout: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Send an event to one plugin and return its answer's data; see `Dispatcher.request`."""
        return self._dispatcher.request(plugin, event, payload, timeout=timeout)

    def notify(self, event: str, payload: Any) -> int:
        """Send an event to all capable plugins and wait for nobody; see `Dispatcher.notify`."""
        return self._dispatcher.notify(event, payload)

    def notify_when_room(
        self, event: str, payload: Any, *, timeout: float | None = None
    ) -> Coroutine[Any, Any, int]:
        """Send an event as `notify`, but wait where a queue is full."""
        return self._dispatcher.notify_when_room(event, payload, timeout=timeout)

    # The native dialect.

    def host_call(self, name: str) -> Callable[[F], F]:
        """Let native plugins call a function of the application: ``@runtime.host_call("x.y")``.

        The function gets a `HostCall` and may be ``async``; what it returns is the reply's data.
        It raises `HostCallError` to reply with an error of its own; any other exception is logged
        here, and told to the plugin only as ``internal``. A plugin needs ``name`` among the
        permissions of its manifest.

        Raises:
            ConfigError: The name is taken.
        """

        def register(function: F) -> F:
            self._calls.register(name, function)
            return function

        return register

    async def ping(self, name: str, *, timeout: float | None = None) -> float:
        """Ask a native plugin for a sign of life.

        Returns:
            Seconds until it came.

        Raises:
            PluginError: There is none, or the plugin is not connected, or not native.
        """
        began = time.monotonic()
        await self._ask_native(name, PING, {}, timeout)
        return time.monotonic() - began

    async def update_config(
        self, name: str, values: dict[str, Any], *, timeout: float | None = None
    ) -> None:
        """Give a running native plugin another configuration, if it accepts it.

        It is asked to check the new one first; an error leaves the old one in force.

        Args:
            name: The plugin.
            values: The operator's part, laid over the manifest's defaults. It holds until the
                host ends; the configuration file is not changed.
            timeout: Seconds for each of the two questions.

        Raises:
            PluginReplyError: The plugin refuses it, and says why.
            PluginError: The plugin is not connected, not native, or does not answer.
        """
        runtime = self._registry.get(name)
        defaults = runtime.manifest.config if runtime.manifest is not None else {}
        config = {"config": merge_config(defaults, values)}
        await self._ask_native(name, CONFIG_CHECK, config, timeout)
        await self._ask_native(name, CONFIG_UPDATE, config, timeout)
        runtime.config = values

    # What the server calls (`vconnect.server.Gatekeeper`).

    def admit(self, handshake: Handshake, peer: Peer) -> Admission:
        """Decide about a handshake.

        Raises:
            HandshakeError: Who it is, what it claims, or when it comes is not right.
        """
        runtime = self._registry.find(handshake.plugin)
        own = self._owner(peer)
        if own is not None and own.runtime is not runtime:
            raise HandshakeError(
                "stranger",
                f"it gives the name {handshake.plugin!r}, but was started as {own.runtime.name!r}; "
                "use one name in both places",
            )
        if runtime is None:
            check_external(handshake.plugin, peer, self.settings)
            limits = self.settings.plugin_limits(handshake.plugin)
            log = self._logs.of(handshake.plugin)
            runtime = PluginRuntime(handshake.plugin, None, limits=limits, log=log)
            runtime.desired = "running"
            self._registry.add(runtime)
        return self._supervise(runtime).admit(handshake, peer)

    def attached(self, session: Session) -> None:
        """Hear of a session that was admitted and acknowledged."""
        runtime = self._registry.get(session.handshake.plugin)
        self._supervise(runtime).attached(session)

    def detached(self, session: Session, error: Exception | None) -> None:
        """Hear of its end."""
        self._calls.forget(session)
        runtime = self._registry.find(session.handshake.plugin)
        if runtime is not None and runtime.name in self._supervisors:
            self._supervisors[runtime.name].detached(session, error)

    def called(self, session: Session, message: dict[str, Any]) -> None:
        """Hear of what a native plugin asks."""
        runtime = self._registry.find(session.handshake.plugin)
        if runtime is not None:
            self._calls.accept(runtime, session, message)

    def refused(self, peer: Peer, error: HandshakeError) -> None:
        """Hear of a connection that was refused."""
        own = self._owner(peer)
        if own is not None:
            own.refused(peer, error)

    # Inside.

    def _given_up(self, runtime: PluginRuntime) -> None:
        """Hear of a crash loop."""
        lost = self.required_lost
        if runtime.limits.required and lost is not None and not lost.done():
            lost.set_result(runtime.name)

    def _supervise(self, runtime: PluginRuntime) -> Supervisor:
        """Return the plugin's supervisor, made when it is first needed."""
        supervisor = self._supervisors.get(runtime.name)
        if supervisor is None or supervisor.runtime is not runtime:
            if self._closing:
                raise PluginStartError(runtime.name, "the host is stopping")
            supervisor = Supervisor(
                runtime, self._registry, self.settings, self._launcher, self._given_up
            )
            self._supervisors[runtime.name] = supervisor
        return supervisor

    def _supervisor_of(self, name: str) -> Supervisor:
        return self._supervise(self._registry.get(name))

    def _owner(self, peer: Peer) -> Supervisor | None:
        """Find whose process connected."""
        for supervisor in self._supervisors.values():
            if supervisor.owns(peer.pid):
                return supervisor
        return None

    async def _ask_native(
        self, name: str, event: str, payload: dict[str, Any], timeout: float | None
    ) -> None:
        """Send one of the host's own events, which classic plugins do not know."""
        runtime = self._registry.get(name)
        if runtime.session is not None and not runtime.session.is_native:
            raise PluginUnavailableError(
                runtime.name, f"it speaks the classic dialect, which has no {event}"
            )
        await self._dispatcher.request(name, event, payload, timeout=timeout)

    async def _install_all(self) -> None:
        """Install what the settings name.

        A source that is wrong, or a package on this machine that cannot be installed, is a
        mistake to be mended, so it stops the host. A server that is away must not: what is
        installed serves on.
        """
        sources = [expand_source(url) for url in self.settings.install]
        remote = [source for source in sources if is_url(source)]
        for source in remote:
            check_scheme(source, self.settings.allow_insecure_http)
        for source in sources:
            try:
                await self.install_from_url(source)
            except InstallError as error:
                if source not in remote:
                    raise
                _log.error("not installed: %s", error)

    def _adopt(self, installed: InstalledPlugin) -> None:
        """Know an installed plugin, or learn its new version."""
        known = self._registry.exact(installed.name)
        if known is None or (known.is_external and known.session is None):
            self._add(installed)
        elif known.path == installed.path and known.process is None:
            known.manifest = installed.manifest
            self._registry.reindex()
        elif known.dev:
            _log.info("plugin %s runs from %s instead", known.name, known.path)

    def _add(self, installed: InstalledPlugin) -> None:
        limits = self.settings.plugin_limits(installed.name)
        log = self._logs.of(installed.name)
        runtime = PluginRuntime(
            installed.name, installed.path, installed.manifest, limits=limits, log=log
        )
        if installed.problem:
            runtime.move(PluginStatus.ERROR, Substate.BAD_MANIFEST, installed.problem)
        self._registry.add(runtime)

    def _forget_all_but(self, paths: set[Path]) -> None:
        """Forget installed plugins whose directory is gone, once nothing of them runs."""
        for runtime in self._registry:
            gone = not (runtime.dev or runtime.is_external) and runtime.path not in paths
            if gone and runtime.process is None and runtime.session is None:
                _log.info("plugin %s is not installed any more", runtime.name)
                self._registry.remove(runtime)
                self._logs.forget(runtime.name)

    def _check_idle(self, runtime: PluginRuntime) -> None:
        if runtime.process is not None or runtime.session is not None:
            raise ConfigError(
                f"dev plugin {runtime.name}: a plugin of this name is {runtime.status}; "
                "stop it first"
            )

    def _log_beginning(self) -> None:
        _log.info("plugin runtime manager initialized")
        if self.settings.debug:
            _log.info("plugin debug mode enabled")
        if self.settings.log_level is not None:
            _log.info("plugin log level: %s", self.settings.log_level)

    async def _beat(self) -> None:
        """Note every second which plugins are alive, and what they use."""
        monitor = Monitor(self.settings)
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await monitor.look(list(self._supervisors.values()))
            for runtime in self._registry:
                runtime.log.tell_suppressed()


async def _start_or_leave(supervisor: Supervisor) -> None:
    """Start a plugin; the supervisor has logged why it would not."""
    with suppress(PluginStartError):
        await supervisor.start()


def _log_found(installed: InstalledPlugin) -> None:
    if installed.problem:
        _log.error("plugin %s cannot be used: %s", installed.name, installed.problem)
    else:
        _log.info("found plugin: %s", installed.name)


def _with_options(settings: Settings | None, options: dict[str, Any]) -> Settings:
    plain = {
        key: str(value) if isinstance(value, Path) else value for key, value in options.items()
    }
    base = {} if settings is None else msgspec.structs.asdict(settings)
    return load_settings(overrides=base | plain)


def _lane_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(
        window=settings.window,
        max_queued=settings.max_queued,
        max_notified=settings.max_notified,
        max_abandoned=settings.max_abandoned or settings.window,
        stuck_after=settings.stuck_after,
        max_frame_bytes=settings.max_frame_bytes,
    )


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
