"""Installed plugins, plugins run from source, and plugins that attached on their own."""

# The idea: a plugin enters the host in one of three ways, and each has its own rules. A source
# directory overrides an installed version of the same name. An installed plugin is updated only
# while it is not running. An external plugin is known from its first handshake on.

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from vconnect.bucket import Bucket
from vconnect.errors import (
    ConfigError,
    ConsentRequiredError,
    HandshakeError,
    InstallError,
    ManifestError,
)
from vconnect.logs.plugin_logs import PluginLogs
from vconnect.ownership import settle
from vconnect.packages.manifest import MANIFEST_NAME, Manifest, read_manifest_if_any
from vconnect.packages.source import Progress
from vconnect.settings.dev_plugins import dev_plugin
from vconnect.settings.live import LiveSettings
from vconnect.store.installer import Check, PluginInstaller
from vconnect.store.listing import InstalledPlugin
from vconnect.threads import in_thread

from .registry import Registry
from .runtime import PluginRuntime
from .state_file import HostState
from .status import PluginStatus, Substate
from .tables import PluginTables

_log = logging.getLogger(__name__)

# External plugins that are shown although they have gone. How many of them make room for others: at
# once, and per second. Each costs the host some work and a few lines in its log.
_MAX_GONE = 64
_FORGOTTEN_AT_ONCE = 16
_FORGOTTEN_PER_S = 5
# How long it may take from the handshake to the acknowledgment.
_LET_IN_S = 10.0


class Catalog:
    """Fills the registry.

    Args:
        registry: The registry.
        installer: Installs packages, and lists installed plugins.
        settings: Dev plugins, packages, limits.
        logs: Provides each plugin's log.
        state: Knows what the operator asked for in earlier runs of the host.
    """

    def __init__(
        self,
        registry: Registry,
        installer: PluginInstaller,
        settings: LiveSettings,
        logs: PluginLogs,
        state: HostState,
    ) -> None:
        self._registry = registry
        self._installer = installer
        self._live = settings
        self._logs = logs
        self._state = state
        #: Whose the tables of the settings are.
        self.tables = PluginTables(settings, registry)
        self._forgetting = Bucket(_FORGOTTEN_AT_ONCE, _FORGOTTEN_PER_S)

    def check_tables(self) -> None:
        """Check the names of plugins in the settings; see `PluginTables.check`."""
        self.tables.check()

    def register_dev(self, name: str, path: str | Path) -> None:
        """Register a source directory; see `PluginRuntimeManager.register_dev_plugin`."""
        dev = dev_plugin(name, path)
        plugin, directory = dev.name, dev.path
        _log.info("registering dev plugin: %s from %s", plugin, directory)
        known = self._registry.exact(plugin)
        if known is not None:
            # Registering a directory again is not a mistake, and must not disturb the plugin.
            if known.dev and known.path == directory:
                return
            _check_idle(known)
        manifest = _manifest_of(directory)
        self._add(self._make(plugin, directory, manifest, dev=True))
        _log.info("registered dev plugin: %s", plugin)
        _log_names(plugin, directory, manifest)

    def stays_stopped(self, name: str) -> bool:
        """Return whether the operator has stopped or disabled a plugin."""
        return self._state.wants_stopped(name)

    def move_dev(self, plugin: PluginRuntime, path: str | Path) -> None:
        """Let the next start of a plugin from source use another directory."""
        dev = dev_plugin(plugin.name, path)
        _log.info("dev plugin %s: from %s instead of %s", plugin.name, dev.path, plugin.path)
        plugin.path = plugin.home = dev.path

    def register_external(self, name: str) -> PluginRuntime:
        """Register a plugin that another program started.

        Raises:
            HandshakeError: There are too many, or too many new names.
        """
        self._make_room()
        plugin = self._make(name, None)
        # An operator's stop outlives the host, and applies to plugins that attach again, too.
        plugin.want("stopped" if self._state.wants_stopped(name) else "running")
        self._add(plugin)
        return plugin

    def _make_room(self) -> None:
        """Refuse another external plugin if there are too many; forget one that has gone."""
        guests = [one for one in self._registry if one.is_external]
        gone = [one for one in guests if _has_gone(one)]
        limit = self._live.now.max_external
        if sum(one.session is not None for one in guests) >= limit:
            raise HandshakeError(
                "overloaded", f"{limit} external plugins are connected; max_external allows no more"
            )
        if len(gone) < _MAX_GONE:
            return
        if self._forgetting.level() < 1:
            raise HandshakeError(
                "overloaded",
                f"too many new names: {_MAX_GONE} external plugins that have gone are remembered, "
                f"and {_FORGOTTEN_PER_S} per second may make room for others; keep a name",
            )
        self._forgetting.take(1)
        _log.info("plugin %s is forgotten: it has gone, and many others have too", gone[0].name)
        self.forget(gone[0])

    async def install(self, url: str) -> str:
        """Install a package, and return its plugin's name."""
        return (await self.install_checked(url)).name

    async def install_checked(
        self,
        url: str,
        check: Check | None = None,
        progress: Progress | None = None,
        *,
        is_upgrade: bool = False,
    ) -> InstalledPlugin:
        """Install a package, if ``check`` does not refuse it; see `PluginInstaller.install`."""
        source = self._installer.parse(url, is_upgrade=is_upgrade)
        installed = await self._installer.install(source, check, progress)
        self.adopt(installed)
        return installed

    def problem_of_signer(self, number: str) -> str:
        """Say that the key of a signer was revoked; empty if it was not. Blocks.

        Raises:
            ConfigError: The trust file cannot be used.
        """
        return self._installer.problem_of_signer(number)

    async def install_all(self) -> None:
        """Install the packages that the settings name, unless that was done before.

        An invalid source, or a local package that cannot be installed, is a mistake that has to be
        fixed, so it stops the host. A server that cannot be reached does not: the host continues
        with what is installed.

        Raises:
            InstallError: A source is invalid, or a local package cannot be installed.
        """
        # All sources are parsed first, so that a mistake is reported before anything is downloaded.
        for source in [self._installer.parse(url) for url in self._live.now.install]:
            try:
                self.adopt(await self._installer.apply(source, self._live.now.consent))
            except InstallError as error:
                # What waits for consent is no mistake; the version before it serves on.
                if not (source.is_remote or isinstance(error, ConsentRequiredError)):
                    raise
                _log.error("cannot install: %s", error)

    async def unapplied(self, entries: Iterable[str]) -> list[str]:
        """Return the entries of a configuration that are new, or whose local file has changed.

        Raises:
            InstallError: One of them is not a valid source.
        """
        sources = [(entry, self._installer.parse(entry)) for entry in entries]
        return [
            entry
            for entry, source in sources
            if not await in_thread(None, self._installer.is_applied, source)
        ]

    async def remember(self, entry: str, plugin: str, digest: str) -> None:
        """Write down that an entry of the configuration was installed."""
        source = self._installer.parse(entry)
        await in_thread(None, self._installer.remember, source, plugin, digest)

    async def discover(self) -> set[str]:
        """Read ``plugin_dir`` again, and return the names of what is installed there.

        Raises:
            InstallError: The directory exists but cannot be read.
        """
        found = await in_thread(None, self._installer.discover)
        _log.info("discovered %d installed plugin(s)", len(found))
        for installed in found:
            _log_found(installed)
            self.adopt(installed)
        await self._read_sources()
        # After the new ones are known, so that a plugin whose directory was renamed is never
        # missing.
        self._forget_all_but({installed.home for installed in found})
        self._state.see(one.name for one in self._registry if not one.is_external)
        self._registry.rank(self._state.seen)
        self._settle_names(found)
        for plugin in self._registry:
            self.tables.assign(plugin)
        return {installed.name for installed in found}

    def _settle_names(self, found: list[InstalledPlugin]) -> None:
        """Decide who has a name that several installed plugins give themselves."""
        claims: dict[str, set[str]] = {}
        for installed in found:
            own = installed.manifest.names if installed.manifest is not None else set()
            claims[installed.name] = own | {installed.name}
        owners, problems = settle(claims, self._state.names)
        self._state.name(owners)
        self._registry.settle(problems | {one.name: one.conflict for one in found if one.conflict})

    async def _read_sources(self) -> None:
        """Learn what idle plugins from source require, which decides who starts first."""
        for plugin in self._registry:
            if not plugin.dev or plugin.is_up or plugin.path is None:
                continue
            file = plugin.path / MANIFEST_NAME
            try:
                manifest = await in_thread(None, read_manifest_if_any, file)
            except ManifestError:
                continue  # its start reports that
            # Another order may have started it meanwhile.
            if not plugin.is_up and manifest != plugin.manifest:
                self._registry.learn(plugin, manifest)

    def _add(self, plugin: PluginRuntime) -> None:
        """Add a plugin to the registry, with the tables that it has by its aliases."""
        self._registry.add(plugin)
        self.tables.assign(plugin)

    def _make(
        self, plugin: str, path: Path | None, manifest: Manifest | None = None, *, dev: bool = False
    ) -> PluginRuntime:
        made = PluginRuntime(
            plugin,
            path,
            manifest,
            dev=dev,
            policy=self._live.now.plugin_policy(plugin),
            config=self._live.now.plugin_config(plugin),
            log=self._logs.of(plugin),
            crash_dir=self._live.now.state_directory / "crashes",
        )
        made.is_expected = path is not None and not self._state.wants_stopped(plugin)
        return made

    def adopt(self, installed: InstalledPlugin) -> None:
        """Register an installed plugin, or update it to its new version."""
        known = self._registry.exact(installed.name)
        # An external plugin that is gone leaves its name behind, which an installed one may take.
        if known is None or (known.is_external and known.session is None):
            plugin = self._make(installed.name, installed.home, installed.manifest)
            plugin.located(installed.path, installed.current, installed.next)
            if installed.problem:
                plugin.move(PluginStatus.ERROR, Substate.BAD_MANIFEST, installed.problem)
            self._add(plugin)
        elif known.home == installed.home and not known.dev:
            known.located(installed.path, installed.current, installed.next)
            # While a process runs, its manifest stays; the next start reads the new one.
            if known.process is None:
                self._registry.learn(known, installed.manifest)
                self.tables.assign(known)
        elif known.dev:
            _log.info(
                "plugin %s runs from %s; its installed version is not used", known.name, known.path
            )

    def _forget_all_but(self, homes: set[Path]) -> None:
        """Forget installed plugins whose directory is gone, once nothing of them is running."""
        for plugin in self._registry:
            gone = not (plugin.dev or plugin.is_external) and plugin.home not in homes
            if gone and not plugin.is_up:
                _log.info("plugin %s is no longer installed", plugin.name)
                self.forget(plugin)

    def uninstalled(self, plugin: PluginRuntime) -> None:
        """Forget a plugin that was removed, and what was asked for it."""
        self._state.forget(plugin.name)
        self.forget(plugin)

    def forget(self, plugin: PluginRuntime) -> None:
        """Forget a plugin of which nothing is running."""
        self._registry.remove(plugin)
        self._logs.forget(plugin.name)


def _has_gone(plugin: PluginRuntime) -> bool:
    """Return whether an external plugin is not here any more, or was never let in."""
    if plugin.status is PluginStatus.INSTALLED:
        return time.time() - plugin.forgotten_at > _LET_IN_S
    return plugin.session is None and plugin.status in (PluginStatus.STOPPED, PluginStatus.ERROR)


def _manifest_of(directory: Path) -> Manifest | None:
    """Return the manifest of a plugin from source, whose aliases may be in the settings."""
    try:
        return read_manifest_if_any(directory / MANIFEST_NAME)
    except ManifestError:
        return None  # its start reports that


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
        _log_names(installed.name, installed.home, installed.manifest)


def _log_names(plugin: str, directory: Path, manifest: Manifest | None) -> None:
    """Say so if a plugin calls itself otherwise than the host."""
    if manifest is not None and manifest.plugin != plugin:
        _log.warning(
            "plugin %s: %s names it %r, but the host calls it %s; use the same name in both places",
            plugin,
            directory / MANIFEST_NAME,
            manifest.name,
            plugin,
        )
