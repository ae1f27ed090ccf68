"""What an operator orders: start, stop, restart, enable, disable; and what they see."""

from __future__ import annotations

import logging

from vconnect.dispatch.sending import Sender
from vconnect.errors import ConflictError
from vconnect.operations.packages import Packages
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.state_file import DISABLED_BY_OPERATOR, STOPPED_BY_OPERATOR, HostState
from vconnect.plugins.status import Ordered, PluginStatus, Substate
from vconnect.seeing.overview import Overview
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.why import Why
from vconnect.settings.live import LiveSettings
from vconnect.supervision.supervisor import Supervisor

from .in_order import run_in_order, start_in_order
from .roster import Roster, stop_order
from .surroundings import warn_of_limit

_log = logging.getLogger(__name__)


class Orders(Sender):
    """Takes orders for plugins; the manager gives it what it needs."""

    _registry: Registry
    _catalog: Catalog
    _roster: Roster
    _state: HostState
    _live: LiveSettings
    packages: Packages
    overview: Overview

    async def discover_plugins(self) -> list[PluginSummary]:
        """Read ``plugin_dir`` again, and return what is installed there, by name.

        Raises:
            InstallError: The directory exists but cannot be read.
        """
        names = await self._catalog.discover()
        return [summary for summary in self.runtime_summaries() if summary.name in names]

    async def start_plugin(self, name: str, *, by: str = "") -> None:
        """Start a plugin and wait for its handshake; do nothing if it is running.

        Cancelling it only ends the waiting.

        Raises:
            UnknownPluginError: There is no such plugin.
            ConflictError: It is disabled.
            PluginStartError: It did not start or complete its handshake, or was stopped meanwhile.
        """
        await self._to_start(name, by).start()

    async def stop_plugin(self, name: str, *, by: str = "") -> bool:
        """Stop a plugin, and wait until no process of it is left.

        It stays stopped even if the host restarts, until `start_plugin` or `restart_plugin`.

        Returns:
            Whether it is stopped; false if a later start or restart has overtaken the stop.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        is_disabled = self._state.is_disabled(self._registry.get(name).name)
        supervisor = self._ordered(name, "disabled" if is_disabled else "stopped", by)
        is_stopped = await supervisor.stop()
        await self._state.flush()  # the stop must survive a kill right after this call
        if is_stopped and not is_disabled:
            plugin = supervisor.plugin
            plugin.explain(plugin.substate, plugin.reason or STOPPED_BY_OPERATOR)
        return is_stopped

    async def disable_plugin(self, name: str, *, by: str = "") -> None:
        """Stop a plugin, and let nobody start it until `enable_plugin`, not even the next host.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        supervisor = self._ordered(name, "disabled", by)
        await supervisor.stop()
        await self._state.flush()
        supervisor.plugin.explain(supervisor.plugin.substate, DISABLED_BY_OPERATOR)

    def is_disabled(self, name: str) -> bool:
        """Return whether the operator has disabled a plugin.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return self._state.is_disabled(self._registry.get(name).name)

    async def enable_plugin(self, name: str, *, by: str = "") -> None:
        """Allow a plugin to be started again, and start it, see `start_plugin`."""
        supervisor = self._ordered(name, "running", by)
        await self._state.flush()
        await supervisor.start()

    async def kill_plugin(self, name: str, *, by: str = "") -> None:
        """Kill every process of a plugin; its restart policy then decides. No event is blamed.

        Raises:
            UnknownPluginError: There is no such plugin.
            ConflictError: It has no process of this host.
        """
        self._check_open()
        plugin = self._registry.get(name)
        if plugin.process is None:
            raise ConflictError(f"{plugin.name} has no process; it is {plugin.state_in_words}")
        plugin.say("warn", f"its process is killed by {by or 'an order'}")
        self._roster.of(plugin).kill_now()

    async def close_circuit(self, name: str, *, by: str = "") -> None:
        """Send events to a plugin again although its circuit is open.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        self._check_open()
        plugin = self._registry.get(name)
        if plugin.breaker.is_open:
            plugin.say("info", f"its circuit is closed by {by or 'an order'}")
            plugin.close_circuit()

    async def release_plugin(self, name: str, *, by: str = "") -> int:  # noqa: ARG002 - as others
        """Lift a plugin's quarantine, as `start_plugin` and `restart_plugin` do, too.

        Returns:
            How many events it gets again.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        self._check_open()
        return self._registry.get(name).crashes.release()

    async def restart_plugin(self, name: str, *, by: str = "") -> None:
        """Restart a plugin and wait for the new process's handshake.

        The old process runs until then, and keeps running if the new one fails. An ``exclusive``
        plugin is stopped first.

        Raises:
            UnknownPluginError: There is no such plugin.
            PluginStartError: See `start_plugin`; also raised if the old process keeps running.
        """
        await self._to_start(name, by).restart()

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
        changed = await self._find_changed() if self._live.now.verify_at_start else {}
        startable = [
            self._roster.of(plugin)
            for plugin in self._registry
            if not plugin.is_external and not self._stays_down(plugin, changed.get(plugin.name))
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
        """Describe every plugin: trouble first, then in the order of chains."""
        return self.overview.summaries()

    def summary(self, name: str) -> PluginSummary:
        """Describe one plugin.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return self.overview.summary(name)

    def why(self, name: str) -> Why:
        """Say why a plugin does not serve, or what is wrong with its service.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        return self.overview.why(name)

    # Internals.

    def _to_start(self, name: str, by: str) -> Supervisor:
        """Return the supervisor of a plugin that is to be started.

        Raises:
            ConflictError: The operator has disabled it.
        """
        plugin = self._registry.get(name).name
        if self._state.is_disabled(plugin):
            raise ConflictError(f"{plugin} is disabled; to allow it, use: vconnect enable {plugin}")
        return self._ordered(name, "running", by)

    def _ordered(self, name: str, desired: Ordered, by: str) -> Supervisor:
        """Return the plugin's supervisor, and record what the operator asked for."""
        self._check_open()
        supervisor = self._roster.of(self._registry.get(name))
        self._state.want(supervisor.plugin.name, desired, by)
        supervisor.plugin.ordering(by)
        return supervisor

    async def _find_changed(self) -> dict[str, str]:
        """Return the plugins whose current version is not what was installed, and how."""
        found = await self.packages.verify()
        return {one.name: one.in_words() for one in found if one.is_current and not one.is_sound}

    def _stays_down(self, plugin: PluginRuntime, change: str | None) -> bool:
        """Return whether it is not to be started; if so, say so in its summary and the log."""
        if self._stays_stopped(plugin):
            return True
        if change is None:
            return False
        reason = (
            f"its files are not those of its package ({change}); install the package again, or "
            f"start it as it is: vconnect start {plugin.name}"
        )
        plugin.move(PluginStatus.ERROR, Substate.CHANGED, reason)
        _log.error("plugin %s is not started: %s", plugin.name, reason)
        return True

    def _stays_stopped(self, plugin: PluginRuntime) -> bool:
        """Return whether the operator has stopped it; if so, say so in its summary and the log."""
        stopped = self._state.wants_stopped(plugin.name)
        if stopped:
            is_disabled = self._state.is_disabled(plugin.name)
            words = DISABLED_BY_OPERATOR if is_disabled else STOPPED_BY_OPERATOR
            plugin.explain(plugin.substate, words)
            if (order := self._state.orders.get(plugin.name)) is not None:
                plugin.was_ordered(order.by, order.at)
            _log.info(
                "plugin %s stays stopped (%s); to start it: vconnect %s %s",
                plugin.name,
                words,
                "enable" if is_disabled else "start",
                plugin.name,
            )
        return stopped
