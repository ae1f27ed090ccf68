"""Brings another configuration into force while the host runs."""

# The settings in force are what everything else reads. First all keys that can change at once are
# exchanged, together. Then each plugin that needs more gets it: it is asked, or replaced without a
# gap. One that refuses keeps its old tables, in the settings in force too, so that the next reload
# finds the same difference again. What only another host can have stays out of them for the same
# reason.

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from vconnect.errors import ConfigError, InstallError, PluginStartError, VConnectError
from vconnect.packages.command import dev_command
from vconnect.packages.fitness import problem_of_interfaces
from vconnect.packages.source import shown_source
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.configuration import ConfigOverride, still_valid, with_overrides
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.dev_plugins import parse_dev_plugin
from vconnect.settings.differences import (
    HIDDEN,
    Difference,
    host_differences,
    option_differences,
)
from vconnect.settings.live import LiveSettings
from vconnect.settings.model import Settings
from vconnect.settings.source import SettingsSource
from vconnect.supervision.launcher import Launcher
from vconnect.supervision.supervisor import Supervisor
from vconnect.threads import in_thread

from .changes import Change, this_user, words_of
from .configuration import Configuration, effective_differences
from .packages import Packages
from .turns import Turns

_log = logging.getLogger(__name__)

# The keys that a plugin's own options add to, instead of overriding them.
_ADDED = ("sandbox_read",)
# Other contents of the same files.
_SECRETS = Difference(key="secrets", before=HIDDEN, after=HIDDEN, effect="restart")
_KEEPS = "it keeps its old settings"
_WOULD_KEEP = "it would keep its old settings"


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload did, or would do.

    Attributes:
        plugins: What has changed for each plugin that is affected.
        host: What has changed for the host, and so for all plugins.
        needs_restart: The keys of those that only another host will have.
        restarts: The plugins that are replaced without a gap, if they run.
        notes: What has no effect, and why.
        failed: The plugins that keep their old tables, or could not be started, and why.
        changes: What became of packages and plugins from source that were added.
    """

    plugins: dict[str, list[Difference]] = {}
    host: list[Difference] = []
    needs_restart: list[str] = []
    restarts: list[str] = []
    notes: list[str] = []
    failed: dict[str, str] = {}
    changes: list[Change] = []

    @property
    def is_complete(self) -> bool:
        """Whether everything that can be in force is."""
        return not self.failed and not any(one.is_failure for one in self.changes)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has changed."""
        return not (self.plugins or self.host or self.restarts or self.changes)


class Reload:
    """Reads the host's settings again, and changes what has changed.

    Args:
        live: The settings in force.
        source: Where they come from; ``None`` if the application has made them.
        follow: Brings settings into force, with everything that needs no plugin.
        registry: The plugins.
        catalog: Registers plugins from source, and knows whose tables are whose.
        supervise: Returns the supervisor of a plugin.
        launcher: Knows the secrets that plugins were started with.
        configuration: Gives plugins their configurations.
        packages: Installs packages.
        turns: Changes of one plugin come one after the other.
    """

    def __init__(
        self,
        live: LiveSettings,
        source: SettingsSource | None,
        follow: Callable[[Settings], None],
        registry: Registry,
        catalog: Catalog,
        supervise: Callable[[PluginRuntime], Supervisor],
        launcher: Launcher,
        configuration: Configuration,
        packages: Packages,
        turns: Turns,
    ) -> None:
        self._live = live
        self._source = source
        self._follow = follow
        self._registry = registry
        self._catalog = catalog
        self._tables = catalog.tables
        self._supervise = supervise
        self._launcher = launcher
        self._configuration = configuration
        self._packages = packages
        self._turns = turns
        self._lock = asyncio.Lock()
        # What the file alone said when the host was started.
        self._file: Settings | None = None

    async def run(
        self, settings: Settings | None = None, *, dry_run: bool = False, by: str = ""
    ) -> Reloaded:
        """Bring other settings into force; see `PluginRuntimeManager.reload`."""
        async with self._lock:  # a second wish waits, and then finds what has changed since
            began = time.monotonic()
            new, notes = await self._read(settings)
            self._tables.check(new)
            plan = await self._plan(new, notes)
            plan.entries = await self._entries(new)
            if dry_run:
                return msgspec.structs.replace(plan.shown(), failed=await self._examine(plan))
            for line in plan.in_words():
                _log.info("reload: %s", line)
            done = await self._apply(plan, by or this_user())
            self._tell(done, by or this_user(), time.monotonic() - began)
            return done

    async def remember_file(self) -> None:
        """Remember what the file says at the start, to tell later what has changed in it."""
        if self._source is not None and self._source.file is not None:
            self._file = await in_thread(None, self._source.file_alone)

    async def _entries(self, new: Settings) -> list[str]:
        """Return what of ``install`` is to be installed.

        Raises:
            ConfigError: An entry is no source.
        """
        try:
            return await self._catalog.unapplied(new.install)
        except InstallError as error:
            raise ConfigError(f"plugins.install: {error}") from error

    async def _read(self, settings: Settings | None) -> tuple[Settings, list[str]]:
        if settings is not None:
            return settings, []
        if self._source is None:
            raise ConfigError(
                "this host has no configuration file to read again; give reload() the new settings"
            )
        new = await in_thread(None, self._source.load)
        if self._file is None:
            return new, []
        # Against what it said at the start, so that it is said as often as it is asked.
        now = await in_thread(None, self._source.file_alone)
        return new, self._source.without_effect(self._file, now)

    # The plan.

    async def _plan(self, new: Settings, notes: list[str]) -> _Plan:
        old = self._live.now
        plan = _Plan(old=old, new=new, host=host_differences(old, new), notes=list(notes))
        for plugin in self._registry:
            await self._plan_for(plugin, plan)
            if plugin.process is not None and (problem := _no_interface(plugin, new)):
                plan.notes.append(f"{plugin.name}: {problem}; it serves on until its next start")
        plan.notes += [
            f"install: {shown_source(entry)} is not in the configuration any more; its plugin "
            "stays installed; to remove it, use: vconnect uninstall NAME"
            for entry in await self._gone(old, new)
        ]
        return plan

    async def _gone(self, old: Settings, new: Settings) -> list[str]:
        """Return the entries of ``install`` that are gone, and whose plugins are not."""
        gone = [entry for entry in old.install if entry not in new.install]
        try:
            missing = await self._catalog.unapplied(gone)
        except InstallError:
            return []  # what is no source was never installed
        return [entry for entry in gone if entry not in missing]

    async def _plan_for(self, plugin: PluginRuntime, plan: _Plan) -> None:
        table = self._tables.config_of(plugin, plan.new)
        set_since = self._tables.overrides.get(plugin.name, ())
        stay, gone = still_valid(set_since, table)
        options = self._tables.options_of(plugin, plan.new)
        rows = [
            *option_differences(self._tables.options_of(plugin), options),
            *effective_differences(plugin, with_overrides(table, stay)),
        ]
        try:
            if await in_thread(None, self._launcher.has_old_secrets, plugin, options.secrets):
                rows += [] if any(one.root == "secrets" for one in rows) else [_SECRETS]
        except OSError as error:
            plan.failed[plugin.name] = f"its secret {error.filename}: {error.strerror}"
        plan.notes += [
            f"{plugin.name}: {'.'.join(one.path) or 'its configuration'} was set by {one.by} while "
            "the host runs; the configuration has another value by now, which applies"
            for one in gone
        ]
        if rows:
            plan.plugins[plugin.name] = rows
            plan.overrides[plugin.name] = stay
        inherited = [one.root for one in plan.host if one.effect == "restart"]
        is_affected = any(key in _ADDED or getattr(options, key, None) is None for key in inherited)
        if plugin.process is not None and (
            is_affected or any(one.effect == "restart" for one in rows)
        ):
            plan.restarts.append(plugin.name)

    async def _examine(self, plan: _Plan) -> dict[str, str]:
        """Return which plugins would refuse what is planned, or could not be started, and why."""
        failed = {name: f"{reason}; {_WOULD_KEEP}" for name, reason in plan.failed.items()}
        for name, directory in plan.sources_to_start():
            try:
                await in_thread(None, dev_command, name, Path(directory))
            except PluginStartError as error:
                failed[name] = f"could not be started: {error.message}"
        for name, rows in plan.plugins.items():
            plugin = self._registry.exact(name)
            if plugin is None or not any(one.effect == "asked" for one in rows):
                continue
            table = self._tables.config_of(plugin, plan.new)
            try:
                await self._configuration.examine(
                    plugin, with_overrides(table, plan.overrides[name])
                )
            except VConnectError as error:
                failed[name] = f"{words_of(error)}; {_WOULD_KEEP}"
        return failed

    # Carrying it out.

    async def _apply(self, plan: _Plan, by: str) -> Reloaded:
        in_force = plan.for_this_host()
        # Configurations come with the plugin's consent only.
        self._bring_into_force(msgspec.structs.replace(in_force, config=plan.old.config))
        failed = {name: f"{reason}; {_KEEPS}" for name, reason in plan.failed.items()}
        for name in self._registry.dependencies_first(sorted({*plan.plugins, *plan.restarts})):
            plugin = self._registry.exact(name)
            if plugin is None or name in plan.failed:
                continue
            try:
                async with self._turns.of(name):
                    await self._bring_to(plugin, plan)
            except VConnectError as error:
                failed[name] = f"{words_of(error)}; {_KEEPS}"
        in_force = self._with_old_tables(in_force, plan.old, failed)
        self._bring_into_force(in_force)
        changes: list[Change] = []
        if of_sources := await self._change_sources(plan):
            failed |= of_sources
            # So that the next reload tries them again.
            self._bring_into_force(_with_old_sources(in_force, plan, of_sources))
        if entries := plan.entries:
            changes = await self._packages.apply(entries, in_force.consent, by=by)
            for entry, change in zip(entries, changes, strict=True):
                if not change.is_failure:
                    await self._catalog.remember(entry, change.name, change.digest)
        shown = plan.shown()
        restarts = [one for one in shown.restarts if one not in failed]
        return msgspec.structs.replace(shown, restarts=restarts, failed=failed, changes=changes)

    def _bring_into_force(self, settings: Settings) -> None:
        self._follow(settings)
        for plugin in self._registry:
            self._tables.assign(plugin)

    async def _bring_to(self, plugin: PluginRuntime, plan: _Plan) -> None:
        """Give a plugin what it needs; what it refuses is taken back.

        Raises:
            VConnectError: It does not agree, or no process of it got ready.
        """
        is_restarting = plugin.name in plan.restarts
        before = self._tables.overrides.get(plugin.name, ())
        rows = plan.plugins.get(plugin.name, ())
        if any(one.effect == "asked" for one in rows):
            await self._configuration.adopt(
                plugin,
                self._tables.config_of(plugin, plan.new),
                plan.overrides[plugin.name],
                is_restarting=is_restarting,
            )
        # One that could not be started with the old configuration is tried with the new one.
        is_down = plugin.process is None and plugin.desired == "running" and not plugin.is_external
        if not (is_restarting or (is_down and rows)):
            return
        try:
            supervisor = self._supervise(plugin)
            supervisor.plugin.ordering("", "config")
            await (supervisor.start() if is_down else supervisor.restart())
        except VConnectError:
            self._tables.overrides[plugin.name] = before
            raise

    def _with_old_tables(
        self, settings: Settings, old: Settings, refused: Iterable[str]
    ) -> Settings:
        """Return settings in which some plugins have the tables that they had before."""
        plugins = [plugin for name in refused if (plugin := self._registry.exact(name))]
        options, config = dict(settings.options), dict(settings.config)
        for plugin in plugins:
            for tables in (options, config):
                for name in [one for one in tables if self._registry.find(one) is plugin]:
                    del tables[name]
            options[plugin.name] = self._tables.options_of(plugin, old)
            config[plugin.name] = self._tables.config_of(plugin, old)
        return msgspec.structs.replace(settings, options=options, config=config)

    # Plugins from source.

    async def _change_sources(self, plan: _Plan) -> dict[str, str]:
        """Add, move and remove plugins from source; return what failed, and why."""
        failed: dict[str, str] = {}
        for name, directory in plan.changed_sources():
            try:
                async with self._turns.of(name):
                    await self._change_source(name, directory)
            except VConnectError as error:
                failed[name] = words_of(error)
        return failed

    async def _change_source(self, name: str, directory: str | None) -> None:
        known = self._registry.exact(name)
        if known is not None and known.dev and directory is not None:
            # The other directory's process takes over when it is ready.
            self._catalog.move_dev(known, directory)
            if not self._catalog.stays_stopped(name):
                known.ordering("", "config")
                await self._supervise(known).restart()
            return
        if known is not None:
            await self._supervise(known).stop()
            if known.dev:
                self._catalog.forget(known)
        if directory is None:
            await self._start_installed(name)
            return
        self._catalog.register_dev(name, directory)
        if not self._catalog.stays_stopped(name):
            await self._supervise(self._registry.get(name)).start()

    async def _start_installed(self, name: str) -> None:
        """Start the installed plugin that a plugin from source has kept from being used."""
        await self._catalog.discover()
        plugin = self._registry.exact(name)
        if plugin is not None and not (plugin.is_external or self._catalog.stays_stopped(name)):
            await self._supervise(plugin).start()

    def _tell(self, done: Reloaded, by: str, took_s: float) -> None:
        count = len(done.host) + sum(map(len, done.plugins.values()))
        failed = "".join(f"; {name}: {reason}" for name, reason in done.failed.items())
        level = logging.INFO if done.is_complete else logging.WARNING
        _log.log(level, "audit: reload by %s: %d key(s) in %.2f s%s", by, count, took_s, failed)


class _Plan(msgspec.Struct, kw_only=True):
    """What a reload will do."""

    old: Settings
    new: Settings
    host: list[Difference]
    notes: list[str]
    plugins: dict[str, list[Difference]] = {}
    overrides: dict[str, tuple[ConfigOverride, ...]] = {}
    restarts: list[str] = []
    failed: dict[str, str] = {}
    entries: list[str] = []

    @property
    def needs_restart(self) -> list[str]:
        """The keys that only another host will have."""
        return [one.key for one in self.host if one.effect == "host"]

    def changed_sources(self) -> list[tuple[str, str | None]]:
        """Return which plugins from source change, and their directories from now on.

        Those that go come first: their other names may be those of the ones that come.
        """
        before, after = _dev_plugins(self.old), _dev_plugins(self.new)
        names = sorted({*before, *after}, key=lambda name: (name in after, name))
        return [(name, after.get(name)) for name in names if before.get(name) != after.get(name)]

    def sources_to_start(self) -> list[tuple[str, str]]:
        """Return the plugins that will start from another directory than until now."""
        return [(name, path) for name, path in self.changed_sources() if path is not None]

    def for_this_host(self) -> Settings:
        """Return the new settings with the old values of what only another host will have."""
        roots = {one.root for one in self.host if one.effect == "host"}
        kept: dict[str, Any] = {key: getattr(self.old, key) for key in roots}
        return msgspec.structs.replace(self.new, **kept)

    def shown(self) -> Reloaded:
        """Return what is shown of it."""
        return Reloaded(
            plugins=self.plugins,
            host=self.host,
            needs_restart=self.needs_restart,
            restarts=[one for one in self.restarts if one not in self.failed],
            notes=[*self.notes, *self._news()],
        )

    def _news(self) -> Iterator[str]:
        """Say which plugins come, move and go."""
        before = _dev_plugins(self.old)
        for name, directory in self.changed_sources():
            if directory is None:
                yield f"dev_plugins: {name} goes"
            elif name in before:
                yield f"dev_plugins: {name} moves to {directory}"
            else:
                yield f"dev_plugins: {name} comes, from {directory}"
                old = [other for other, place in before.items() if place == directory]
                if old and old[0] not in _dev_plugins(self.new):
                    yield (
                        f"dev_plugins: {name} has a data directory of its own; that of {old[0]} "
                        "stays where it is"
                    )
        for entry in self.entries:
            yield f"install: {shown_source(entry)}"

    def in_words(self) -> list[str]:
        """Return a line for each thing that changes; what cannot change comes first."""
        lines = [f"{key} needs a restart of the host; it stays" for key in self.needs_restart]
        lines += [f"{one.key} ({one.effect})" for one in self.host if one.effect != "host"]
        for name, rows in self.plugins.items():
            lines += [f"{name}: {one.key} ({one.effect})" for one in rows]
        return [*lines, *self.notes, *self._news()]


def _no_interface(plugin: PluginRuntime, settings: Settings) -> str:
    wanted = plugin.manifest.interfaces if plugin.manifest is not None else ()
    return problem_of_interfaces(
        settings.interfaces, wanted, is_required=settings.require_interface
    )


def _with_old_sources(settings: Settings, plan: _Plan, failed: Collection[str]) -> Settings:
    """Return settings in which some plugins run from the source that they had before."""
    old, new = _dev_plugins(plan.old), _dev_plugins(settings)
    kept = {name: path for name, path in new.items() if name not in failed}
    kept |= {name: path for name, path in old.items() if name in failed}
    return msgspec.structs.replace(
        settings, dev_plugins=tuple(f"{name}:{path}" for name, path in kept.items())
    )


def _dev_plugins(settings: Settings) -> dict[str, str]:
    parsed = map(parse_dev_plugin, settings.dev_plugins)
    return {one.name: str(one.path) for one in parsed}
