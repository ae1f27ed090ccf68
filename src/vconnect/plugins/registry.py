"""The plugins that this host knows, and all of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vconnect.errors import ManifestError, PluginStartError, UnknownPluginError
from vconnect.names import NameCache, canonical_name
from vconnect.packages.manifest import Manifest
from vconnect.settings.events import EventPolicy
from vconnect.settings.model import Settings

from .order import Position, find_cycle
from .routes import RouteTable
from .runtime import PluginRuntime


class Registry:
    """The plugins by name and alias, and the routes between them and events.

    Args:
        policy_of: Works out what the operator wants of an event; by default nothing special.

    Attributes:
        by_spelling: What `get` returns, in one look-up for a name that was asked for before.
        policies: What the operator wants of each event.
    """

    def __init__(self, policy_of: Callable[[str], EventPolicy] | None = None) -> None:
        self.policies = NameCache(policy_of or Settings().event_policy)
        self._routes: RouteTable | None = None
        self.by_spelling = NameCache(self.get)
        self._plugins: dict[str, PluginRuntime] = {}
        self._aliases: dict[str, PluginRuntime] = {}

    def __iter__(self) -> Iterator[PluginRuntime]:
        return iter(list(self._plugins.values()))

    def __len__(self) -> int:
        return len(self._plugins)

    def add(self, plugin: PluginRuntime) -> None:
        """Add a plugin; it replaces the one that has its name."""
        self._plugins[plugin.name] = plugin
        plugin.on_change = self._reroute
        self._reindex()

    def remove(self, plugin: PluginRuntime) -> None:
        """Forget a plugin that is not on disk any more and has no session."""
        del self._plugins[plugin.name]
        self._reindex()

    def learn(self, plugin: PluginRuntime, manifest: Manifest | None) -> None:
        """Give a plugin the manifest that is on the disk now; its names and order may differ."""
        plugin.learn(manifest)
        self._reindex()

    def exact(self, plugin: str) -> PluginRuntime | None:
        """Return the plugin whose own canonical name this is."""
        return self._plugins.get(plugin)

    def find(self, name: str) -> PluginRuntime | None:
        """Return the plugin that ``name`` means, by any alias, with or without prefix."""
        plugin = canonical_name(name)
        # A canonical name may begin like a prefix: wk.plugin.v.plugin.x is v.plugin.x.
        return self._plugins.get(plugin) or self._aliases.get(plugin) or self._plugins.get(name)

    def get(self, name: str) -> PluginRuntime:
        """Return the plugin that ``name`` means.

        Raises:
            UnknownPluginError: There is none.
        """
        plugin = self.find(name)
        if plugin is None:
            known = ", ".join(sorted(self._plugins)) or "none"
            raise UnknownPluginError(canonical_name(name), f"no such plugin (known: {known})")
        return plugin

    @property
    def routes(self) -> RouteTable:
        """Who gets which event."""
        if self._routes is None:
            self._routes = RouteTable(self._plugins.values(), self.policies)
        return self._routes

    def _reroute(self) -> None:
        """Build the routes anew when they are next needed; chains in flight keep theirs.

        Plugins call it (`PluginRuntime.on_change`) when something that a route depends on has
        changed: a session, a subscription, a manifest, what the operator wants.
        """
        self._routes = None

    def check_order(self, plugin: PluginRuntime) -> None:
        """Refuse a plugin whose ``before`` and ``after`` contradict those that are up.

        Raises:
            ManifestError: They make a circle, which the message names.
        """
        positions = {other.name: other.position for other in self if other.is_up}
        positions[plugin.name] = plugin.position
        cycle = find_cycle(positions, plugin.name)
        if cycle:
            raise ManifestError(
                f"before and after make a circle: {' → '.join(cycle)} (each is to come before the "
                "next); change one of them"
            )

    def check_requirements(self, plugin: PluginRuntime) -> None:
        """Refuse a plugin that needs others which are not there.

        Raises:
            ManifestError: The requirements make a circle, which the message names.
            PluginStartError: A plugin that it requires does not run (yet), or is not known.
        """
        if not plugin.requirements:
            return  # so it is in no circle either
        positions = {other.name: Position(after=other.required_plugins) for other in self}
        cycle = find_cycle(positions, plugin.name)
        if cycle:
            raise ManifestError(
                f"requires makes a circle: {' → '.join(cycle)} (each is needed by the next); "
                "change one of them"
            )
        for name, must_be_ready in plugin.requirements.items():
            other = self._plugins.get(name)
            state = "not known to this host" if other is None else str(other.status)
            is_there = other is not None and (
                other.session is not None if must_be_ready else other.is_up
            )
            if not is_there:
                raise PluginStartError(
                    plugin.name,
                    f"requires {name}, which is {state}; start that one first",
                    is_transient=True,
                )

    def _reindex(self) -> None:
        """Map aliases to plugins anew; one that two plugins claim means neither."""
        self._reroute()
        self.by_spelling.clear()
        claims: dict[str, list[PluginRuntime]] = {}
        for plugin in self._plugins.values():
            for alias in plugin.aliases():
                claims.setdefault(alias, []).append(plugin)
        self._aliases = {alias: found[0] for alias, found in claims.items() if len(found) == 1}
