"""The plugins that this host knows, with all of their names."""

# The idea: names and routes are derived data. Whatever they depend on (a plugin, an alias, a
# session, a subscription, a manifest, a desired state) drops them when it changes, and the next use
# rebuilds them. That is slower than patching by microseconds, at moments when a process starts or
# ends, and cannot be wrong.

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vconnect.errors import ManifestError, PluginStartError, UnknownPluginError
from vconnect.names import NameCache, canonical_name
from vconnect.packages.manifest import Manifest
from vconnect.settings.events import EventPolicy
from vconnect.settings.model import Settings

from .order import Position, find_cycle
from .routes import RouteTable
from .runtime import PluginRuntime


class Registry:
    """The plugins by name and alias, and the routes of events to them.

    Args:
        policy_of: Computes the policy of an event; by default the default policy.

    Attributes:
        by_spelling: The results of `get`, in one lookup for a name that was used before.
        policies: The policy of each event.
    """

    def __init__(self, policy_of: Callable[[str], EventPolicy] | None = None) -> None:
        self.policies = NameCache(policy_of or Settings().event_policy)
        self._routes: RouteTable | None = None
        self.by_spelling = NameCache(self.get)
        self._plugins: dict[str, PluginRuntime] = {}
        self._aliases: dict[str, PluginRuntime] | None = None  # computed on demand

    def __iter__(self) -> Iterator[PluginRuntime]:
        # A copy, because plugins may be added or removed during the iteration.
        return iter(list(self._plugins.values()))

    def __len__(self) -> int:
        return len(self._plugins)

    def add(self, plugin: PluginRuntime) -> None:
        """Add a plugin, replacing any plugin with the same name."""
        self._plugins[plugin.name] = plugin
        plugin.on_change = self._reroute
        self._rename()

    def remove(self, plugin: PluginRuntime) -> None:
        """Remove a plugin that is no longer on disk and has no session."""
        del self._plugins[plugin.name]
        self._rename()

    def learn(
        self, plugin: PluginRuntime, manifest: Manifest | None, path: Path | None = None
    ) -> None:
        """Update a plugin to another version, which may change its names and order.

        Args:
            plugin: The plugin.
            manifest: The version's manifest.
            path: The version's directory; by default that stays the same.
        """
        plugin.learn(manifest, path)
        self._rename()

    def exact(self, plugin: str) -> PluginRuntime | None:
        """Return the plugin with this canonical name, ignoring aliases."""
        return self._plugins.get(plugin)

    def find(self, name: str) -> PluginRuntime | None:
        """Return the plugin that ``name`` refers to, by any alias, with or without prefix."""
        plugin = canonical_name(name)
        # A canonical name may itself begin with a prefix: wk.plugin.v.plugin.x is v.plugin.x.
        return self._plugins.get(plugin) or self._by_alias(plugin) or self._plugins.get(name)

    def get(self, name: str) -> PluginRuntime:
        """Return the plugin that ``name`` refers to.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        plugin = self.find(name)
        if plugin is None:
            # Most often the name was mistyped, and the right one is in this list.
            known = ", ".join(sorted(self._plugins)) or "none"
            raise UnknownPluginError(canonical_name(name), f"no such plugin (known: {known})")
        return plugin

    @property
    def routes(self) -> RouteTable:
        """The current routes, computed on demand."""
        if self._routes is None:
            self._routes = RouteTable(self._plugins.values(), self.policies)
        return self._routes

    def _reroute(self) -> None:
        """Drop the routes, to be rebuilt on demand; chains in progress keep the old ones.

        Called by plugins (`PluginRuntime.on_change`) when something that a route depends on has
        changed: a session, a subscription, a manifest, a desired state.
        """
        # Patching the table would save microseconds when a process has just started or ended.
        self._routes = None

    def check_order(self, plugin: PluginRuntime, manifest: Manifest | None) -> None:
        """Refuse a version whose ``before`` and ``after`` contradict those of running plugins.

        Args:
            plugin: The plugin that is about to start.
            manifest: The manifest of the version to start.

        Raises:
            ManifestError: They form a cycle; the text names it.
        """
        position = plugin.position_with(manifest)
        others = self._plugins.values()
        is_placed = position.before or position.after
        if not is_placed and not any(other.is_placed and other.is_up for other in others):
            return
        # Only plugins that are up: one that is not running must not keep others from starting.
        up = [other for other in others if other.is_up]
        positions = {other.name: other.position for other in up} | {plugin.name: position}
        cycle = find_cycle(positions, plugin.name)
        if cycle:
            raise ManifestError(
                f"before and after form a cycle: {' → '.join(cycle)} (each must come before the "
                "next); change one of them"
            )

    def check_requirements(self, plugin: PluginRuntime, manifest: Manifest | None) -> None:
        """Refuse a version whose requirements are not met.

        Args:
            plugin: The plugin that is about to start.
            manifest: The manifest of the version to start.

        Raises:
            ManifestError: The requirements form a cycle; the text names it.
            PluginStartError: A required plugin is not running (yet), or not known.
        """
        requirements = manifest.requirements if manifest is not None else {}
        if not requirements:
            return  # so it is not in a cycle either
        positions = {other.name: Position(after=other.required_plugins) for other in self}
        positions[plugin.name] = Position(after=tuple(requirements))
        cycle = find_cycle(positions, plugin.name)
        if cycle:
            raise ManifestError(
                f"requires forms a cycle: {' → '.join(cycle)} (each is required by the next); "
                "change one of them"
            )
        for name, must_be_ready in requirements.items():
            other = self._plugins.get(name)
            state = "not known to this host" if other is None else str(other.status)
            is_there = other is not None and (
                other.session is not None if must_be_ready else other.is_up
            )
            if not is_there:
                raise PluginStartError(
                    plugin.name,
                    f"requires {name}, which is {state}; start {name} first",
                    is_transient=True,  # retried soon, since the other plugin may be starting
                )

    def _rename(self) -> None:
        """Drop what depends on names: an alias may mean another plugin now."""
        self._reroute()
        self.by_spelling.clear()
        self._aliases = None

    def _by_alias(self, name: str) -> PluginRuntime | None:
        if self._aliases is None:
            self._aliases = self._index()
        return self._aliases.get(name)

    def _index(self) -> dict[str, PluginRuntime]:
        """Map aliases to plugins; an alias that two plugins claim refers to neither."""
        claims: dict[str, list[PluginRuntime]] = {}
        for plugin in self._plugins.values():
            for alias in plugin.aliases():
                claims.setdefault(alias, []).append(plugin)
        return {alias: found[0] for alias, found in claims.items() if len(found) == 1}
