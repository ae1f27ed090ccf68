"""Restarts plugins that run from source when their source changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vconnect.errors import PluginStartError
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.threads import in_thread

from .source_watch import SourceWatch
from .supervisor import Supervisor

# A change is acted on after it has been stable for one look, so about a second after it.
_POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


class Reloader:
    """Watches the sources of all dev plugins that should be running.

    Args:
        registry: The plugins.
        supervise: Returns a plugin's supervisor.
    """

    def __init__(
        self, registry: Registry, supervise: Callable[[PluginRuntime], Supervisor]
    ) -> None:
        self._registry = registry
        self._supervise = supervise
        self._watch = SourceWatch()
        self._restarts: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Poll until cancelled. Restarts that have begun continue."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if running := self._running():
                changed = set(await in_thread(None, self._watch.changed, list(running)))
                # Anew, because an operator may have stopped one meanwhile.
                for path, plugins in self._running().items():
                    for plugin in plugins if path in changed else ():
                        self._reload(plugin)

    def _running(self) -> dict[Path, list[PluginRuntime]]:
        """Return the dev plugins that should be running, by source directory."""
        running: dict[Path, list[PluginRuntime]] = {}
        for plugin in self._registry:
            if plugin.dev and plugin.path is not None and plugin.desired == "running":
                running.setdefault(plugin.path, []).append(plugin)
        return running

    def _reload(self, plugin: PluginRuntime) -> None:
        _log.info("plugin %s: its source has changed", plugin.name)
        # Referenced here, because the loop only keeps weak references to tasks.
        restart = asyncio.create_task(_restart(self._supervise(plugin)))
        self._restarts.add(restart)
        restart.add_done_callback(self._restarts.discard)


async def _restart(supervisor: Supervisor) -> None:
    """Restart a plugin. If its new source does not build, the old process keeps running."""
    # The supervisor has logged the failure, and shows it as the plugin's reason.
    with suppress(PluginStartError):
        await supervisor.restart()
