"""Every plugin's supervisor, each made when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from vconnect.errors import PluginStartError
from vconnect.plugins.runtime import PluginRuntime

from .instance import Instance
from .supervisor import Supervisor


class Roster:
    """The supervisors of one host.

    Args:
        hire: Makes the supervisor of a plugin.
    """

    def __init__(self, hire: Callable[[PluginRuntime], Supervisor]) -> None:
        self._hire = hire
        self._supervisors: dict[str, Supervisor] = {}
        self._closings: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def __iter__(self) -> Iterator[Supervisor]:
        return iter(list(self._supervisors.values()))

    def of(self, plugin: PluginRuntime) -> Supervisor:
        """Return the plugin's supervisor.

        Raises:
            PluginStartError: There is none yet, and the host is stopping.
        """
        supervisor = self._supervisors.get(plugin.name)
        if supervisor is not None and supervisor.plugin is plugin:
            return supervisor
        if self._is_closing:
            raise PluginStartError(plugin.name, "the host is stopping")
        if supervisor is not None:  # of a plugin that is gone, and had this name
            self._close(supervisor)
        supervisor = self._supervisors[plugin.name] = self._hire(plugin)
        return supervisor

    def find(self, name: str) -> Supervisor | None:
        """Return the supervisor of the plugin with this canonical name, if there is one."""
        return self._supervisors.get(name)

    def owner(self, pid: int) -> tuple[Supervisor, Instance] | None:
        """Find out whose process this is.

        Most often it is a leader, which is known by its PID; else the kernel is asked for the
        session and the group of ``pid``.
        """
        owned = [(one, instance) for one in self for instance in one.instances()]
        for owner in owned:
            process = owner[1].process
            if process is not None and process.pid == pid:
                return owner
        return next((owner for owner in owned if owner[1].owns(pid)), None)

    def begin_closing(self) -> None:
        """Make no more supervisors."""
        self._is_closing = True

    async def closed(self) -> None:
        """Return when the supervisors of plugins that are gone have ended."""
        await asyncio.gather(*self._closings)

    def _close(self, supervisor: Supervisor) -> None:
        closing = asyncio.create_task(supervisor.close())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)
