"""Which plugins there are: what is installed, what runs from source, who came by himself."""

from __future__ import annotations

import logging
from pathlib import Path

from vconnect.errors import ConfigError, InstallError
from vconnect.logs.plugin_logs import PluginLogs
from vconnect.packages.installer import PluginInstaller
from vconnect.packages.manifest import Manifest
from vconnect.packages.source import Source
from vconnect.packages.store import InstalledPlugin
from vconnect.settings.load import dev_plugin
from vconnect.settings.model import Settings
from vconnect.threads import in_thread

from .registry import Registry
from .runtime import PluginRuntime
from .state_file import HostState
from .status import PluginStatus, Substate

_log = logging.getLogger(__name__)


class Catalog:
    """Fills the registry.

    Args:
        registry: What is filled.
        installer: Installs packages, and lists what is there.
        settings: Dev plugins, packages, limits.
        logs: Gives each plugin its log.
        state: Knows what the operator wanted in earlier lives of the host.
    """

    def __init__(
        self,
        registry: Registry,
        installer: PluginInstaller,
        settings: Settings,
        logs: PluginLogs,
        state: HostState,
    ) -> None:
        self._registry = registry
        self._installer = installer
        self._settings = settings
        self._logs = logs
        self._state = state

    def register_dev(self, name: str, path: str | Path) -> None:
        """Make a plugin of a source directory; see `PluginRuntimeManager.register_dev_plugin`."""
        dev = dev_plugin(name, path)
        plugin, directory = dev.name, dev.path
        _log.info("registering dev plugin: %s from %s", plugin, directory)
        known = self._registry.exact(plugin)
        if known is not None:
            if known.dev and known.path == directory:
                return
            _check_idle(known)
        self._registry.add(self._make(plugin, directory, dev=True))
        _log.info("registered dev plugin: %s", plugin)

    def register_external(self, name: str) -> PluginRuntime:
        """Know a plugin that another program started."""
        plugin = self._make(name, None)
        plugin.want("stopped" if self._state.wants_stopped(name) else "running")
        self._registry.add(plugin)
        return plugin

    async def install(self, url: str) -> str:
        """Install a package; return its plugin's name."""
        return await self._install(self._installer.parse(url))

    async def install_all(self) -> None:
        """Install what the settings name.

        A source that is wrong, or a package on this machine that cannot be installed, is a
        mistake to be mended, so it stops the host. A server that is away must not: what is
        installed serves on.

        Raises:
            InstallError: See above.
        """
        for source in [self._installer.parse(url) for url in self._settings.install]:
            try:
                await self._install(source)
            except InstallError as error:
                if not source.is_remote:
                    raise
                _log.error("not installed: %s", error)

    async def _install(self, source: Source) -> str:
        installed = await self._installer.install(source)
        self._adopt(installed)
        return installed.name

    async def discover(self) -> set[str]:
        """Look into ``plugin_dir`` again; return the names of what is installed there.

        Raises:
            InstallError: The directory exists but cannot be read.
        """
        found = await in_thread(None, self._installer.discover)
        _log.info("discovered %d installed plugin(s)", len(found))
        for installed in found:
            _log_found(installed)
            self._adopt(installed)
        self._forget_all_but({installed.path for installed in found})
        return {installed.name for installed in found}

    def _make(
        self, plugin: str, path: Path | None, manifest: Manifest | None = None, *, dev: bool = False
    ) -> PluginRuntime:
        return PluginRuntime(
            plugin,
            path,
            manifest,
            dev=dev,
            policy=self._settings.plugin_policy(plugin),
            config=self._settings.plugin_config(plugin),
            log=self._logs.of(plugin),
            crash_dir=self._settings.state_directory / "crashes",
        )

    def _adopt(self, installed: InstalledPlugin) -> None:
        """Know an installed plugin, or learn its new version."""
        known = self._registry.exact(installed.name)
        if known is None or (known.is_external and known.session is None):
            plugin = self._make(installed.name, installed.path, installed.manifest)
            if installed.problem:
                plugin.move(PluginStatus.ERROR, Substate.BAD_MANIFEST, installed.problem)
            self._registry.add(plugin)
        elif known.path == installed.path and known.process is None:
            self._registry.learn(known, installed.manifest)
        elif known.dev:
            _log.info("plugin %s runs from %s instead", known.name, known.path)

    def _forget_all_but(self, paths: set[Path]) -> None:
        """Forget installed plugins whose directory is gone, once nothing of them runs."""
        for plugin in self._registry:
            gone = not (plugin.dev or plugin.is_external) and plugin.path not in paths
            if gone and not plugin.is_up:
                _log.info("plugin %s is not installed any more", plugin.name)
                self._registry.remove(plugin)
                self._logs.forget(plugin.name)


def _check_idle(plugin: PluginRuntime) -> None:
    if plugin.is_up:
        raise ConfigError(
            f"dev plugin {plugin.name}: a plugin of this name is {plugin.status}; stop it first"
        )


def _log_found(installed: InstalledPlugin) -> None:
    if installed.problem:
        _log.error("plugin %s cannot be used: %s", installed.name, installed.problem)
    else:
        _log.info("found plugin: %s", installed.name)
