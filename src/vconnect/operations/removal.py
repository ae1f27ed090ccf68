"""Removes plugins with all of their versions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Protocol

from vconnect.errors import ConflictError, InstallError, PluginError
from vconnect.order import dependents
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.processes.directories import data_directory
from vconnect.removal import remove_tree
from vconnect.store.store import PluginStore
from vconnect.threads import in_thread


class Orders(Protocol):
    """What is asked of the host."""

    async def start_plugin(self, name: str) -> None:
        """Start a plugin."""

    async def stop_plugin(self, name: str) -> bool:
        """Stop a plugin."""


class Removal:
    """Stops plugins and removes them.

    Args:
        orders: Starts and stops plugins.
        catalog: Forgets plugins.
        registry: The plugins.
        store: What is installed.
        state_dir: Where the plugins' data is.
    """

    def __init__(
        self,
        orders: Orders,
        catalog: Catalog,
        registry: Registry,
        store: PluginStore,
        state_dir: Path,
    ) -> None:
        self._orders = orders
        self._catalog = catalog
        self._registry = registry
        self._store = store
        self._state_dir = state_dir

    async def remove(self, plugin: PluginRuntime, *, purge: bool) -> None:
        """Stop a plugin and remove it; if it cannot be removed, it goes on.

        Args:
            plugin: An installed plugin.
            purge: Whether to remove its data too.

        Raises:
            ConflictError: It was started again meanwhile.
            InstallError: It cannot be removed.
        """
        assert plugin.home is not None, "it is installed"
        was_wanted = plugin.desired == "running"
        if not await self._orders.stop_plugin(plugin.name):
            raise ConflictError(f"{plugin.name} was started again meanwhile; it is not removed")
        try:
            await in_thread(None, self._store.uninstall, plugin.home.name)
        except InstallError:
            if was_wanted:
                with suppress(PluginError):  # its own state says why
                    await self._orders.start_plugin(plugin.name)
            raise
        self._catalog.uninstalled(plugin)
        if purge:
            await in_thread(None, _purge, data_directory(plugin.name, self._state_dir))

    def check_not_required(self, plugin: PluginRuntime, going: set[str]) -> None:
        """Refuse to remove what others require.

        Args:
            plugin: The plugin.
            going: The plugins that are removed with it.

        Raises:
            ConflictError: Some plugin that stays requires it.
        """
        required = {other.name: other.required_plugins for other in self._registry}
        if others := sorted(dependents(required).get(plugin.name, set()) - going):
            raise ConflictError(
                f"{plugin.name} is required by {', '.join(others)}; remove them too, or use --force"
            )

    async def what_stays(self, plugin: PluginRuntime) -> str:
        """Say which data of a plugin stays; empty if there is none."""
        data = data_directory(plugin.name, self._state_dir)
        if not await in_thread(None, _has_files, data):
            return ""
        return f"its data stays in {data}; to remove it too, use --purge"


def _has_files(directory: Path) -> bool:
    try:
        return next(directory.iterdir(), None) is not None
    except OSError:
        return False


def _purge(directory: Path) -> None:
    try:
        remove_tree(directory)
    except OSError as error:
        raise InstallError(f"{directory}: cannot be removed: {error.strerror}") from error
