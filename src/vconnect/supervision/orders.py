"""Orders to one plugin, and those who wait until an order is carried out."""

# The idea: an order is a note that the supervisor's actor reads when it can. The last one counts: a
# hundred restarts at once are one, and a stop overrides a restart in progress. Whoever gave an
# order waits for the state that it asks for, not for the work. So a cancelled caller leaves nothing
# half done, and several callers can wait for the same work.

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, auto

from vconnect.errors import PluginStartError
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus
from vconnect.tasks import Changes

from .generations import Generations

_log = logging.getLogger(__name__)

IN_BETWEEN = (PluginStatus.STARTING, PluginStatus.STOPPING)
"""States that end by themselves, which callers wait out."""


class Order(Enum):
    """What has been ordered and not been carried out yet."""

    NONE = auto()
    START = auto()
    STOP = auto()
    RESTART = auto()


class Orders:
    """The orders to one plugin.

    `start`, `stop` and `restart` may be called at any time and concurrently. Cancelling one of them
    only ends the waiting: the order stands.

    Args:
        plugin: The plugin.
        generations: Its instances.
        wake: Called when there is something to do.

    Attributes:
        pending: The order that has been given and not been carried out yet.
        is_urgent: Whether the start that is asked for comes before starts that are not urgent.
        is_closing: Whether the supervisor is ending.
        failure: Why the last new process does not serve; empty if it does.
        changes: Is notified of each change that callers may wait for.
    """

    def __init__(
        self, plugin: PluginRuntime, generations: Generations, wake: Callable[[], None]
    ) -> None:
        self.pending = Order.NONE
        self.is_urgent = True
        self.is_closing = False
        self.failure = ""
        self.changes = Changes()
        self._plugin = plugin
        self._generations = generations
        self._wake = wake

    async def start(self, *, is_urgent: bool = True) -> None:
        """Start the plugin and wait until it is ready; do nothing if it is running.

        Args:
            is_urgent: Whether it starts before plugins whose start is not urgent.

        Raises:
            PluginStartError: It did not start or get ready, or was stopped meanwhile.
        """
        self._check_place()
        self._plugin.want("running")
        self._check_startable()
        self._plugin.crashes.release()
        if not self._serves_on():
            self._clear_history()
            self.is_urgent = is_urgent
            self.give(Order.START)
        # It still runs, so withdrawing the stop is all that is needed.
        elif self.pending is Order.STOP:
            self.give(Order.NONE)
        await self.changes.wait_for(self._has_settled)
        self._check_running()

    async def stop(self) -> bool:
        """Stop the plugin, and wait until nothing of its process tree is left.

        Returns:
            Whether it is stopped; false if a later start or restart has overtaken the stop.
        """
        self._plugin.want("stopped")
        self.give(Order.STOP)
        await self.changes.wait_for(self._is_past_stopping)
        is_stopped = self._plugin.desired == "stopped"
        if not is_stopped:
            _log.info("plugin %s: a later start has overtaken the stop", self._plugin.name)
        return is_stopped

    async def restart(self) -> None:
        """Restart the plugin and wait until the new process is ready.

        Unless the plugin is exclusive, the old process runs until then, and keeps running if the
        new one fails.

        Raises:
            PluginStartError: See `start`; also raised if the old process keeps running.
        """
        if self._plugin.is_external:
            raise PluginStartError(
                self._plugin.name, "it is started by another program; restart it there"
            )
        self._check_place()
        self._plugin.want("running")
        self._check_startable()
        self._plugin.crashes.release()
        self._clear_history()
        self.failure = ""
        self.is_urgent = True
        self.give(Order.RESTART)
        await self.changes.wait_for(
            lambda: self._has_settled() and not self._generations.are_leaving
        )
        self._check_running()
        if self.failure:
            raise PluginStartError(self._plugin.name, self.failure)

    async def wait_until_begun(self) -> None:
        """Wait until a plugin that is to be started has a process, or has failed to."""
        plugin = self._plugin
        at_rest = (PluginStatus.STOPPED, PluginStatus.ERROR)
        await self.changes.wait_for(
            lambda: (
                plugin.is_up
                or plugin.desired == "stopped"
                or (plugin.status in at_rest and self.pending is Order.NONE)
            )
        )

    def give(self, order: Order) -> None:
        """Replace the pending order."""
        self.pending = order
        self._wake()
        # Whoever waits for a stop has to hear that another order has overtaken it.
        self.changes.notify_all()

    def _clear_history(self) -> None:
        """Clear the failure history: a manual command overrides back-off."""
        self._plugin.restarts.forget()
        self._plugin.restarts.cancel()
        self._plugin.forget_past()

    def _has_settled(self) -> bool:
        current = self._generations.current
        return (
            self.pending is Order.NONE
            and self._generations.successor is None
            and self._plugin.status not in IN_BETWEEN
            # A condemned process is still `Running`, but about to be ended.
            and (current is None or current.verdict is None)
        )

    def _serves_on(self) -> bool:
        """Return whether it has a process that is not about to end."""
        current = self._generations.current
        if current is None or self._plugin.status is PluginStatus.STOPPING:
            return False
        if current.process is not None and not current.process.is_alive:
            return False  # it has crashed, and its supervisor has not looked at that yet
        return current.verdict is None and not current.is_ending

    def _is_past_stopping(self) -> bool:
        return (
            self.pending is not Order.STOP
            and self._plugin.status is not PluginStatus.STOPPING
            and not self._generations.are_leaving
        )

    def _check_place(self) -> None:
        current = self._generations.current
        if not self._plugin.is_external and current is not None and current.process is None:
            raise PluginStartError(
                self._plugin.name,
                "a process that this host has not started serves in its place; end that first",
            )

    def _check_startable(self) -> None:
        if self._plugin.is_external and self._generations.current is None:
            raise PluginStartError(
                self._plugin.name, "it is started by another program, which may attach again now"
            )
        if self.is_closing:
            raise PluginStartError(self._plugin.name, "the host is stopping")

    def _check_running(self) -> None:
        plugin = self._plugin
        if plugin.status is not PluginStatus.RUNNING:
            raise PluginStartError(plugin.name, plugin.reason or "stopped before it was running")
