"""The configurations of a running host's plugins: shown, changed, and kept in the file."""

# A change is checked by the schema and by the plugin before anything else knows of it. What refuses
# it leaves the old configuration in force, in the process, in the host and in the file.

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from vconnect.errors import ConfigError, ConfigRefusedError, PluginReplyError
from vconnect.json_rule import find_problem
from vconnect.packages.config_schema.check import find_violation
from vconnect.packages.manifest import merge_config
from vconnect.plugins.configuration import (
    ConfigOverride,
    overlap,
    parse_path,
    value_at,
    with_overrides,
    with_value,
    without_value,
)
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.tables import PluginTables
from vconnect.settings.differences import HIDDEN, Difference, config_differences, leaves
from vconnect.settings.edit import FileEdit, edit_config
from vconnect.settings.live import LiveSettings
from vconnect.threads import in_thread

from .changes import this_user
from .turns import Turns

_log = logging.getLogger(__name__)


class AskConfig(Protocol):
    """Lets a native plugin check a configuration and take it over."""

    async def __call__(
        self,
        plugin: PluginRuntime,
        config: dict[str, Any],
        timeout: float | None = None,
        *,
        only_check: bool = False,
    ) -> None:
        """See `NativeRequests.ask_config`."""


class ConfigValue(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a plugin's configuration.

    Attributes:
        key: Its place, such as ``limits.rate``.
        value: The value; ``***`` if the schema says that it is not to be shown (``writeOnly``, or
            ``format = "password"``).
        origin: ``manifest``, ``configuration``, or who has set it and when.
    """

    key: str
    value: Any
    origin: str


class ConfigChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of a plugin's configuration did.

    Attributes:
        name: The plugin.
        changes: The values that have changed.
        how: ``asked``: the plugin has taken it over. ``restarted``: another process has. ``kept``:
            its next start gets it. ``unchanged``. ``planned``: nothing was done.
        saved: The file that was written; empty for none.
    """

    name: str
    changes: list[Difference]
    how: str
    saved: str = ""


class Configuration:
    """The configurations of plugins; `PluginRuntimeManager.configuration`.

    Args:
        restart: Replaces a plugin's process without a gap.
        ask: Lets a native plugin check a configuration and take it over.
        registry: The plugins.
        tables: Whose tables are whose, and what was set in them.
        live: The settings in force.
        turns: Changes of one plugin come one after the other.
        file: The configuration file, if there is one.
    """

    def __init__(
        self,
        restart: Callable[[str], Awaitable[None]],
        ask: AskConfig,
        registry: Registry,
        tables: PluginTables,
        live: LiveSettings,
        turns: Turns,
        file: Path | None,
    ) -> None:
        self._restart = restart
        self._ask = ask
        self._registry = registry
        self._tables = tables
        self._live = live
        self._turns = turns
        self._file = file

    def schema(self, name: str) -> dict[str, Any] | None:
        """Return the schema of a plugin's configuration; ``None`` if its manifest has none.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        manifest = self._registry.get(name).manifest
        return None if manifest is None else manifest.config_schema

    def get(self, name: str) -> list[ConfigValue]:
        """Show a plugin's configuration, and where each value is from.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        plugin = self._registry.get(name)
        table = self._tables.config_of(plugin)
        overrides = self._tables.overrides.get(plugin.name, ())
        hidden = hidden_places(plugin)
        return [
            ConfigValue(
                key=_key(path),
                value=HIDDEN if path in hidden else value,
                origin=_origin(path, table, overrides),
            )
            for path, value in leaves(merge_config(defaults_of(plugin), plugin.config))
        ]

    async def set(
        self,
        name: str,
        values: Mapping[str, Any] | None = None,
        *,
        unset: Iterable[str] = (),
        save: bool = False,
        dry_run: bool = False,
        by: str = "",
    ) -> ConfigChange:
        """Change single values of a plugin's configuration.

        The schema in its manifest is checked, then a running native plugin is asked. One that
        cannot be asked is replaced by a process with the new configuration, without a gap.

        Args:
            name: The plugin.
            values: The new values by key, such as ``limits.rate``.
            unset: Keys that get back the file's value; with ``save``, the manifest's.
            save: Whether to write it to the configuration file. Otherwise it applies until the host
                ends, or until the file has another value for the key.
            dry_run: Let the schema and the plugin check it, and change nothing.
            by: Who asks for it; by default the user of this process.

        Raises:
            UnknownPluginError: There is no such plugin.
            ConfigError: A key or value is wrong, or the file cannot be written.
            ConfigRefusedError: The schema does not allow it, or the plugin has refused it; the text
                has the reason.
            PluginStartError: A process with the new configuration did not get ready.
        """
        plugin = self._registry.get(name)
        edits = {parse_path(key): _checked(key, value) for key, value in (values or {}).items()}
        dropped = [parse_path(key) for key in unset]
        async with self._turns.of(plugin.name):
            wanted = _Wanted(
                self._tables.config_of(plugin), self._tables.overrides.get(plugin.name, ())
            )
            by = by or this_user()
            if save:
                wanted = wanted.saved(edits, dropped)
            else:
                wanted = wanted.overridden(edits, dropped, by, plugin.name)
            file_edit = await self._edit(plugin, edits, dropped) if save else None
            try:
                return await self._change(plugin, wanted, file_edit, by=by, dry_run=dry_run)
            except PluginReplyError as error:
                raise ConfigRefusedError(f"{plugin.name} has refused it: {error.message}") from None

    async def replace(
        self, name: str, values: dict[str, Any], *, timeout: float | None = None, by: str = ""
    ) -> None:
        """Give a plugin another configuration as a whole, until the host ends; see `set`.

        Args:
            name: The plugin.
            values: The operator's values.
            timeout: Seconds for the plugin's check, and again for its update.
            by: Who asks for it; by default the user of this process.
        """
        plugin = self._registry.get(name)
        if not isinstance(values, dict):
            raise ConfigError(
                f"plugin {plugin.name}: the configuration is of type {type(values).__name__}; "
                "expected a dictionary"
            )
        if problem := find_problem(values, "config"):
            raise ConfigError(f"plugin {plugin.name}: {problem}")
        async with self._turns.of(plugin.name):
            table = self._tables.config_of(plugin)
            whole = ConfigOverride(
                path=(), value=values, base=table, by=by or this_user(), at=time.time()
            )
            await self._take_over(plugin, table, (whole,), timeout)

    async def adopt(
        self,
        plugin: PluginRuntime,
        table: dict[str, Any],
        overrides: tuple[ConfigOverride, ...],
        *,
        is_restarting: bool,
    ) -> None:
        """Bring the table of another configuration file into force; see `set` for what it raises.

        Args:
            plugin: The plugin.
            table: Its new table.
            overrides: What was set since, as far as that stays.
            is_restarting: Whether the plugin will be restarted anyway.
        """
        values = with_overrides(table, overrides)
        if is_restarting:
            await self._check(plugin, values)
            self._tables.overrides[plugin.name] = overrides
            plugin.config = values
        else:
            await self._take_over(plugin, table, overrides)

    async def _edit(
        self, plugin: PluginRuntime, edits: Mapping[tuple[str, ...], Any], dropped: list[Any]
    ) -> FileEdit:
        if self._file is None:
            raise ConfigError(
                "this host has no configuration file to save to; start it with --config, or leave "
                "out --save"
            )
        changes = [*edits.items(), *((path, msgspec.UNSET) for path in dropped)]
        names = [plugin.name, *plugin.aliases()]
        edit = partial(edit_config, insecure_paths=self._live.now.insecure_paths)
        return await in_thread(None, edit, self._file, plugin.name, names, changes)

    async def _change(
        self,
        plugin: PluginRuntime,
        wanted: _Wanted,
        file_edit: FileEdit | None,
        *,
        by: str,
        dry_run: bool,
    ) -> ConfigChange:
        new = with_overrides(wanted.table, wanted.overrides)
        changes = effective_differences(plugin, new)
        if dry_run:
            await self.examine(plugin, new)
            return ConfigChange(name=plugin.name, changes=changes, how="planned")
        old = _Wanted(self._tables.config_of(plugin), self._tables.overrides.get(plugin.name, ()))
        how = await self._take_over(plugin, wanted.table, wanted.overrides)
        if file_edit is not None:
            try:
                await in_thread(None, file_edit.write)
            except Exception:
                await self._take_over(plugin, old.table, old.overrides)
                raise
            self._keep_table(plugin, wanted.table)
        saved = str(file_edit.file) if file_edit is not None else ""
        keys = ", ".join(one.key for one in changes) or "nothing"
        where = f", saved to {saved}" if saved else ""
        _log.info("audit: config %s (%s) by %s: %s%s", plugin.name, keys, by, how, where)
        return ConfigChange(name=plugin.name, changes=changes, how=how, saved=saved)

    async def _take_over(
        self,
        plugin: PluginRuntime,
        table: dict[str, Any],
        overrides: tuple[ConfigOverride, ...],
        timeout: float | None = None,
    ) -> str:
        """Let a plugin have a configuration, and return how it got it."""
        values = with_overrides(table, overrides)
        how = "unchanged"
        if config_differences(plugin.config, values):
            how = await self._give(plugin, values, timeout)
        self._tables.overrides[plugin.name] = overrides
        plugin.config = values
        return how

    async def _give(
        self, plugin: PluginRuntime, values: dict[str, Any], timeout: float | None
    ) -> str:
        merged = await self._check(plugin, values)
        session = plugin.session
        if session is not None and session.is_native:
            try:
                await self._ask(plugin, merged, timeout)
            except PluginReplyError as error:
                if error.code != "unknown_event":
                    raise
            else:
                return "asked"
        if plugin.process is None:
            return "kept"
        old, plugin.config = plugin.config, values
        try:
            plugin.ordering("", "config")
            await self._restart(plugin.name)
        except BaseException:
            plugin.config = old
            raise
        return "restarted"

    async def examine(self, plugin: PluginRuntime, values: dict[str, Any]) -> None:
        """Let the schema and the plugin check a configuration, as far as they can.

        Args:
            plugin: The plugin.
            values: The operator's values.

        Raises:
            ConfigRefusedError: The schema does not allow it.
            PluginReplyError: The plugin refuses it.
            PluginError: The plugin did not answer.
        """
        merged = await self._check(plugin, values)
        if plugin.session is None or not plugin.session.is_native:
            return
        try:
            await self._ask(plugin, merged, only_check=True)
        except PluginReplyError as error:
            if error.code != "unknown_event":
                raise

    async def _check(self, plugin: PluginRuntime, values: dict[str, Any]) -> dict[str, Any]:
        """Return the whole configuration if the schema in the plugin's manifest allows it."""
        merged = merge_config(defaults_of(plugin), values)
        schema = plugin.manifest.config_schema if plugin.manifest is not None else {}
        if schema and (violation := await in_thread(None, find_violation, schema, merged)):
            raise ConfigRefusedError(f"plugin {plugin.name}: invalid configuration: {violation}")
        return merged

    def _keep_table(self, plugin: PluginRuntime, table: dict[str, Any]) -> None:
        """Let the settings in force have what was written to the file, and nothing else of it."""
        now = self._live.now
        tables = {
            name: one for name, one in now.config.items() if self._registry.find(name) is not plugin
        }
        self._live.follow(msgspec.structs.replace(now, config={**tables, plugin.name: table}))


class _Wanted(msgspec.Struct, frozen=True):
    """The file's table of a plugin, and what was set since."""

    table: dict[str, Any]
    overrides: tuple[ConfigOverride, ...]

    def saved(
        self, edits: Mapping[tuple[str, ...], Any], dropped: Iterable[tuple[str, ...]]
    ) -> _Wanted:
        """Return it with a change of the file, which wins over what was set at these places."""
        changes = [*edits.items(), *((path, msgspec.UNSET) for path in dropped)]
        table = self.table
        for path, value in changes:
            table = _changed(table, path, value)
        return _Wanted(table, tuple(self._saved_below(table, changes)))

    def overridden(
        self,
        edits: Mapping[tuple[str, ...], Any],
        dropped: Iterable[tuple[str, ...]],
        by: str,
        plugin: str,
    ) -> _Wanted:
        """Return it with values that are only set.

        Raises:
            ConfigError: What is to be dropped was not set.
        """
        for path in dropped:
            if not any(overlap(one.path, path) for one in self.overrides):
                raise ConfigError(
                    f"{_key(path)} of {plugin} was not set while this host runs; to remove it from "
                    "the configuration file, use --save"
                )
        now = time.time()
        new = tuple(
            ConfigOverride(path=path, value=value, base=value_at(self.table, path), by=by, at=now)
            for path, value in edits.items()
        )
        # What was set for the whole stays, below the new values.
        stay = self._without([*dropped], self._without_same(edits))
        return _Wanted(self.table, (*stay, *new))

    def _saved_below(
        self, table: dict[str, Any], changes: list[tuple[tuple[str, ...], Any]]
    ) -> Iterator[ConfigOverride]:
        """Yield what was set and is not saved by these changes; a whole table follows them."""
        for one in self.overrides:
            if any(one.path[: len(path)] == path for path, _ in changes):
                continue
            value = one.value
            for path, new in changes:
                if path[: len(one.path)] == one.path and isinstance(value, dict):
                    value = _changed(value, path[len(one.path) :], new)
            base = value_at(table, one.path)
            yield msgspec.structs.replace(one, value=value, base=base)

    def _without_same(self, paths: Iterable[tuple[str, ...]]) -> tuple[ConfigOverride, ...]:
        """Return what was set but for what is at these places, or below them."""
        return tuple(
            one
            for one in self.overrides
            if not any(one.path[: len(path)] == path for path in paths)
        )

    def _without(
        self,
        places: Iterable[tuple[str, ...]],
        overrides: tuple[ConfigOverride, ...] | None = None,
    ) -> tuple[ConfigOverride, ...]:
        known = self.overrides if overrides is None else overrides
        paths = list(places)
        return tuple(one for one in known if not any(overlap(one.path, path) for path in paths))


def _changed(table: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    if value is msgspec.UNSET:
        return without_value(table, path)
    return with_value(table, path, value)


def effective_differences(plugin: PluginRuntime, new: Mapping[str, Any]) -> list[Difference]:
    """Compare a plugin's configuration with another one, as it has them: with its manifest's."""
    before, after = (merge_config(defaults_of(plugin), one) for one in (plugin.config, dict(new)))
    return config_differences(before, after, hidden_places(plugin))


def hidden_places(plugin: PluginRuntime) -> frozenset[tuple[str, ...]]:
    """Return the places of values that a plugin's schema says are not to be shown."""
    schema = plugin.manifest.config_schema if plugin.manifest is not None else {}
    return frozenset(_hidden(schema, ()))


def _hidden(schema: Any, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for key, one in properties.items() if isinstance(properties, dict) else ():
        if isinstance(one, dict) and (one.get("writeOnly") or one.get("format") == "password"):
            yield (*above, key)
        yield from _hidden(one, (*above, key))


def defaults_of(plugin: PluginRuntime) -> dict[str, Any]:
    """Return the configuration that a plugin's manifest gives."""
    return plugin.manifest.config if plugin.manifest is not None else {}


def _checked(key: str, value: Any) -> Any:
    if problem := find_problem(value, key):
        raise ConfigError(problem)
    if value is None:
        raise ConfigError(f"{key}: null is no value of a configuration; to drop it, use unset")
    return value


def _origin(
    path: tuple[str, ...], table: dict[str, Any], overrides: Iterable[ConfigOverride]
) -> str:
    for one in overrides:
        if path[: len(one.path)] == one.path:
            when = datetime.fromtimestamp(one.at).astimezone().isoformat(" ", "minutes")
            return f"set by {one.by}, {when[:16]}"
    is_in_file = value_at(table, path) is not msgspec.UNSET
    return "configuration" if is_in_file else "manifest"


def _key(path: tuple[str, ...]) -> str:
    plain = (
        part if part.replace("_", "").replace("-", "").isalnum() else f'"{part}"' for part in path
    )
    return ".".join(plain)
