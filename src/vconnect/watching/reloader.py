"""Restarts plugins that run from source when their source changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from vconnect.errors import PluginStartError
from vconnect.logs.text import escape_controls
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.sources.scan import Source
from vconnect.sources.watch import Change, SourceWatch
from vconnect.threads import in_thread

# A change is acted on after it has been stable for one look. Seconds.
_POLL_SECONDS = 0.5
# A file that changes again so soon after so many restarts is written by the plugin itself.
_STORM_SECONDS = 3.0
_STORM_RESTARTS = 3
_SHOWN_FILES = 3

_log = logging.getLogger(__name__)


class Restartable(Protocol):
    """What the reloader needs of a plugin's supervisor."""

    @property
    def restart(self) -> Callable[[], Coroutine[Any, Any, None]]:
        """Restart the plugin; see `vconnect.supervision.orders.Orders.restart`."""


class Reloader:
    """Watches the sources of all dev plugins that should be running.

    Args:
        registry: The plugins.
        supervise: Returns a plugin's supervisor.
        is_on: Returns whether sources are watched at present.
    """

    def __init__(
        self,
        registry: Registry,
        supervise: Callable[[PluginRuntime], Restartable],
        is_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._is_on = is_on
        self._registry = registry
        self._supervise = supervise
        self._watch = SourceWatch()
        self._is_watching = False
        self._reloads: dict[PluginRuntime, _Reloads] = {}
        self._restarts: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Look again and again until cancelled. Restarts that have begun continue."""
        try:
            while True:
                await asyncio.sleep(_POLL_SECONDS)
                try:
                    await self._look()
                except Exception:  # noqa: BLE001 - a bug of ours must not end the watch
                    _log.exception("looking at the sources of plugins failed")
        finally:
            self._watch.close()

    async def _look(self) -> None:
        # An order may still wait for its turn, which is a start from now on.
        sources = {
            _source_of(plugin): max(plugin.begun_at, plugin.ordered_at)
            for plugin in self._watched()
        }
        # Once more without any, so that those of the last look are forgotten.
        if not sources and not self._is_watching:
            return
        self._is_watching = bool(sources)
        changes, warnings = await in_thread(self._watch.stop, self._watch.look, sources)
        for warning in warnings:
            _log.warning("%s", warning)
        # Anew, because an operator may have stopped one meanwhile.
        for plugin in self._watched():
            if change := changes.get(plugin.name):
                self._reload(plugin, change)

    def _watched(self) -> list[PluginRuntime]:
        """Return the dev plugins that should be running, without those with a storm."""
        running = [
            plugin
            for plugin in self._registry
            if plugin.dev
            and plugin.path is not None
            and plugin.desired == "running"
            and self._is_on()
        ]
        known = self._reloads
        self._reloads = {plugin: known.get(plugin) or _Reloads() for plugin in running}
        return [plugin for plugin in running if not self._reloads[plugin].is_over(plugin)]

    def _reload(self, plugin: PluginRuntime, change: Change) -> None:
        reloads = self._reloads[plugin]
        if culprit := reloads.storm(change):
            reloads.end(plugin)
            _log.error(
                "plugin %s: its source is no longer watched: %s has changed within %g s after each "
                "of %d restarts; if the plugin writes it, name it in watch_ignore of "
                "plugins.options.%s or in .gitignore; to watch again: vconnect restart %s",
                plugin.name,
                escape_controls(culprit),
                _STORM_SECONDS,
                _STORM_RESTARTS,
                plugin.name,
                plugin.name,
            )
            return
        _log.info("plugin %s: its source has changed: %s", plugin.name, _shown(change.files))
        # Referenced here, because the loop only keeps weak references to tasks.
        restart = asyncio.create_task(self._restart(plugin, reloads))
        self._restarts.add(restart)
        restart.add_done_callback(self._restarts.discard)

    async def _restart(self, plugin: PluginRuntime, reloads: _Reloads) -> None:
        """Restart a plugin. If its new source does not build, the old process keeps running."""
        reloads.began()
        # The supervisor has logged the failure, and shows it as the plugin's reason.
        with suppress(PluginStartError):
            plugin.ordering("", "source")
            await self._supervise(plugin).restart()
        reloads.ended()


class _Reloads:
    """The restarts of one plugin by the watch, which must not go on forever."""

    def __init__(self) -> None:
        self._restarted_at = float("-inf")  # the end of the last restart, or its beginning
        self._returned: dict[str, int] = {}  # how often each file came back soon after a restart
        self._ended_by: float | None = None  # the last order before the storm

    def began(self) -> None:
        self._restarted_at = time.monotonic()

    def ended(self) -> None:
        self._restarted_at = time.monotonic()

    def storm(self, change: Change) -> str:
        """Count a change, and return the file that has changed too often; empty if none has."""
        is_soon = change.seen_at - self._restarted_at <= _STORM_SECONDS
        self._returned = {
            file: self._returned.get(file, -1) + 1 if is_soon else 0 for file in change.files
        }
        counts = self._returned
        return next((file for file in change.files if counts[file] >= _STORM_RESTARTS), "")

    def end(self, plugin: PluginRuntime) -> None:
        """Watch no longer, until the next order."""
        self._ended_by = plugin.ordered_at
        self._returned = {}

    def is_over(self, plugin: PluginRuntime) -> bool:
        """Return whether there was a storm, and no order since."""
        if self._ended_by != plugin.ordered_at:
            self._ended_by = None
        return self._ended_by is not None


def _source_of(plugin: PluginRuntime) -> Source:
    assert plugin.path is not None, "an external plugin has no source"
    policy = plugin.policy
    return Source(plugin.name, plugin.path, policy.watch_ignore, policy.watch_also)


def _shown(files: tuple[str, ...]) -> str:
    names = ", ".join(escape_controls(file) for file in files[:_SHOWN_FILES])
    more = len(files) - _SHOWN_FILES
    return f"{names} and {more} more" if more > 0 else names
