"""The supervisors of all plugins, each created on first use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from vconnect.errors import PluginStartError
from vconnect.order import dependents
from vconnect.plugins.runtime import PluginRuntime
from vconnect.processes.tree import Origin, origin_of
from vconnect.supervision.instance import Instance
from vconnect.supervision.supervisor import Supervisor


class Roster:
    """The supervisors of one host.

    Args:
        hire: Creates the supervisor of a plugin.
    """

    def __init__(self, hire: Callable[[PluginRuntime], Supervisor]) -> None:
        self._hire = hire
        self._supervisors: dict[str, Supervisor] = {}
        self._closings: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def __iter__(self) -> Iterator[Supervisor]:
        # A copy, because supervisors come and go while a caller awaits inside its loop.
        return iter(list(self._supervisors.values()))

    def of(self, plugin: PluginRuntime) -> Supervisor:
        """Return the plugin's supervisor, creating it if necessary.

        Raises:
            PluginStartError: There is none, and the host is stopping.
        """
        supervisor = self._supervisors.get(plugin.name)
        if supervisor is not None and supervisor.plugin is plugin:
            return supervisor
        if self._is_closing:
            raise PluginStartError(plugin.name, "the host is stopping")
        if supervisor is not None:  # of an uninstalled plugin that had the same name
            self._close(supervisor)
        supervisor = self._supervisors[plugin.name] = self._hire(plugin)
        return supervisor

    def find(self, name: str) -> Supervisor | None:
        """Return the supervisor of the plugin with this canonical name, or ``None``."""
        return self._supervisors.get(name)

    def owner(self, pid: int) -> tuple[Supervisor, Instance] | None:
        """Find the supervisor and the instance that a process belongs to.

        Usually the process is a leader, which is known by its PID. Otherwise the kernel is asked
        for the session and the group of ``pid``, once for each instance; and at last, for what has
        begun a session of its own, for its cgroup and its ancestors.
        """
        for one in self._supervisors.values():
            if (leader := one.led_by(pid)) is not None:
                return one, leader
        owned = [(one, instance) for one in self for instance in one.instances()]
        for owner in owned:
            if owner[1].owns(pid):
                return owner
        origin = origin_of(pid) if owned else None  # looked up once, because it reads files
        return next((owner for owner in owned if origin and _begat(owner[1], origin)), None)

    def let_go(self, is_known: Callable[[PluginRuntime], bool]) -> None:
        """End the supervisors of plugins that the host has forgotten."""
        for supervisor in self:
            if not is_known(supervisor.plugin):
                del self._supervisors[supervisor.plugin.name]
                self._close(supervisor)

    def begin_closing(self) -> None:
        """Create no more supervisors."""
        self._is_closing = True

    async def closed(self) -> None:
        """Wait until the supervisors of uninstalled plugins have ended."""
        await asyncio.gather(*self._closings)

    def _close(self, supervisor: Supervisor) -> None:
        # Not awaited here: the new plugin of this name need not wait for the old one's end.
        closing = asyncio.create_task(supervisor.close())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)


def _begat(instance: Instance, origin: Origin) -> bool:
    return instance.process is not None and instance.process.begat(origin)


def stop_order(supervisors: Iterable[Supervisor]) -> dict[str, set[str]]:
    """Map each plugin's name to those of its dependents, which stop before it."""
    return dependents({one.plugin.name: one.plugin.required_plugins for one in supervisors})
