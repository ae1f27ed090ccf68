"""Whose the tables of the settings are, and names in them that are nobody's."""

# A table names its plugin by any alias, and only the registry knows the aliases. So tables are
# assigned when a plugin becomes known, and names are checked once all plugins are.

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from vconnect.errors import ConfigError
from vconnect.names import canonical_name
from vconnect.packages.manifest import MANIFEST_NAME
from vconnect.settings.dev_plugins import parse_dev_plugin
from vconnect.settings.live import LiveSettings
from vconnect.settings.model import PluginOptions, Settings

from .configuration import ConfigOverride, with_overrides
from .registry import Registry
from .runtime import PluginRuntime

T = TypeVar("T")

_log = logging.getLogger(__name__)


def named_plugins(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each place in the settings that names a plugin, and the name as written."""
    for key, tables in (("options", settings.options), ("config", settings.config)):
        for name in tables:
            yield f"plugins.{key}", name
    for pattern, table in settings.events.items():
        for key in ("may_change", "requires"):
            for name in getattr(table, key, None) or ():
                yield f"events.{pattern!r}.{key}", name


def _check_required(settings: Settings, place: str, name: str) -> None:
    """Refuse to go on without a plugin that the operator requires."""
    if place == "plugins.options" and settings.options[name].required:
        raise ConfigError(
            f"{place}.{name!r}: the plugin is required and not installed; install it, correct "
            "the name, or remove required"
        )


def _table(tables: Mapping[str, T], name: str) -> T | None:
    return next((one for key, one in tables.items() if canonical_name(key) == name), None)


class PluginTables:
    """Assigns tables to plugins, and finds names in tables that are wrong.

    Args:
        settings: The settings with the tables.
        registry: Knows the plugins by any of their names.

    Attributes:
        overrides: What was set in a plugin's configuration while the host runs, by plugin.
    """

    def __init__(self, settings: LiveSettings, registry: Registry) -> None:
        self._live = settings
        self._registry = registry
        self.overrides: dict[str, tuple[ConfigOverride, ...]] = {}
        self._told: set[tuple[str, str]] = set()

    def assign(self, plugin: PluginRuntime) -> None:
        """Give a plugin of the registry its tables, whichever of its names they have."""
        policy = self._settings.plugin_policy(self._name_for(plugin, self._settings.options))
        if policy != plugin.policy:
            plugin.follow(policy)
        overrides = self.overrides.get(plugin.name, ())
        plugin.config = with_overrides(self.config_of(plugin), overrides)

    def options_of(self, plugin: PluginRuntime, settings: Settings | None = None) -> PluginOptions:
        """Return a plugin's own table of options.

        Args:
            plugin: The plugin.
            settings: The settings to look it up in; by default those in force.
        """
        tables = (settings or self._settings).options
        return _table(tables, self._name_for(plugin, tables)) or PluginOptions()

    def config_of(self, plugin: PluginRuntime, settings: Settings | None = None) -> dict[str, Any]:
        """Return the operator's configuration of a plugin, without what was set since.

        Args:
            plugin: The plugin.
            settings: The settings to look it up in; by default those in force.
        """
        tables = (settings or self._settings).config
        return _table(tables, self._name_for(plugin, tables)) or {}

    @property
    def _settings(self) -> Settings:
        return self._live.now

    def check(self, settings: Settings | None = None) -> None:
        """Warn of names that are nobody's, once for each, when all plugins are known.

        Args:
            settings: The settings to check; by default those in force.

        Raises:
            ConfigError: Two names in one place mean the same plugin, one name means two, or a
                required plugin is not there.
        """
        settings = settings or self._settings
        # From source, and not registered yet.
        coming = {parse_dev_plugin(text).name for text in settings.dev_plugins}
        first: dict[tuple[str, str], str] = {}
        for place, name in named_plugins(settings):
            plugin = self._registry.find(name)
            if plugin is None and (owners := self._registry.claimants(name)):
                # A limit or a sandbox that nobody has any more must not be a line in a log.
                raise ConfigError(
                    f"{place}.{name!r}: it is a name of {owners}; use another name of the one that "
                    "is meant"
                )
            if plugin is None and canonical_name(name) in coming:
                continue
            if plugin is None:
                _check_required(settings, place, name)
                self._tell(place, name, f"{place}.{name!r}")
                continue
            twin = first.setdefault((place, plugin.name), name)
            if twin != name:
                raise ConfigError(
                    f"{place} has {twin!r} and {name!r}, which are the same plugin "
                    f"({plugin.name}); keep one of them"
                )
        for plugin in self._registry:
            self._check_manifest(plugin)
            self._check_aliases(plugin)

    def _check_aliases(self, plugin: PluginRuntime) -> None:
        for name in sorted(plugin.aliases() - {plugin.name}):
            others = self._registry.claimants(name, besides=plugin)
            if others and (plugin.name, name) not in self._told:
                self._told.add((plugin.name, name))
                _log.warning(
                    "plugin %s (%s) has the name %r, which %s has too; give each its own",
                    plugin.name,
                    plugin.home,
                    name,
                    others,
                )

    def _check_manifest(self, plugin: PluginRuntime) -> None:
        manifest = plugin.manifest
        if manifest is None:
            return
        # What it requires is checked when it starts, and is an error there.
        for key, names in (("before", manifest.before), ("after", manifest.after)):
            place = f"plugin {plugin.name}: {MANIFEST_NAME}: {key}"
            for name in names:
                if self._registry.find(name) is None:
                    self._tell(place, name, f"{place} names {name!r}", is_optional=True)

    def _tell(self, place: str, name: str, where: str, *, is_optional: bool = False) -> None:
        if (place, name) in self._told:
            return
        self._told.add((place, name))
        hint = self._registry.hint(name)
        # A plugin may order itself with others that need not be there, and one that another program
        # starts comes later.
        may_be_right = is_optional or self._settings.allow_external
        level = logging.INFO if may_be_right and not hint else logging.WARNING
        _log.log(level, "%s: no plugin is meant by that name%s", where, f"; {hint}" if hint else "")

    def _name_for(self, plugin: PluginRuntime, names: Iterable[str]) -> str:
        """Return the canonical form of the name by which a table means the plugin."""
        meant = [canonical_name(name) for name in names if self._registry.find(name) is plugin]
        # Its own name wins; that two are an error is the business of `check`.
        return plugin.name if plugin.name in meant or not meant else meant[0]
