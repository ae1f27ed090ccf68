"""The plugins that this host knows, and all of their names."""

from __future__ import annotations

from collections.abc import Iterator

from vconnect.errors import ManifestError, PluginStartError, UnknownPluginError
from vconnect.names import canonical_name
from vconnect.settings.load import Settings

from .order import Position, find_cycle
from .routes import RouteTable
from .runtime import PluginRuntime


class _Spellings(dict[str, PluginRuntime]):
    """Plugins by their names as callers spell them; only what was found is kept."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __missing__(self, name: str) -> PluginRuntime:
        runtime = self[name] = self._registry.get(name)
        return runtime


class Registry:
    """The plugins by name and alias, and the routes between them and events.

    Args:
        settings: The operator's tables per event; by default there are none.

    Attributes:
        by_spelling: What `get` returns, in one look-up for a name that was asked for before.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._routes: RouteTable | None = None
        self.by_spelling = _Spellings(self)
        self._runtimes: dict[str, PluginRuntime] = {}
        self._aliases: dict[str, PluginRuntime] = {}

    def __iter__(self) -> Iterator[PluginRuntime]:
        return iter(list(self._runtimes.values()))

    def __len__(self) -> int:
        return len(self._runtimes)

    def add(self, runtime: PluginRuntime) -> None:
        """Add a plugin, or put it in the place of the one that has its name."""
        self._runtimes[runtime.name] = runtime
        self.reindex()

    def remove(self, runtime: PluginRuntime) -> None:
        """Forget a plugin that is not on disk any more and has no session."""
        del self._runtimes[runtime.name]
        self.reindex()

    def exact(self, plugin: str) -> PluginRuntime | None:
        """Return the plugin whose own canonical name this is."""
        return self._runtimes.get(plugin)

    def find(self, name: str) -> PluginRuntime | None:
        """Return the plugin that ``name`` means, by any alias, with or without prefix."""
        plugin = canonical_name(name)
        # A canonical name may begin like a prefix: wk.plugin.v.plugin.x is v.plugin.x.
        return self._runtimes.get(plugin) or self._aliases.get(plugin) or self._runtimes.get(name)

    def get(self, name: str) -> PluginRuntime:
        """Return the plugin that ``name`` means.

        Raises:
            UnknownPluginError: There is none.
        """
        runtime = self.find(name)
        if runtime is None:
            known = ", ".join(sorted(self._runtimes)) or "none"
            raise UnknownPluginError(canonical_name(name), f"no such plugin (known: {known})")
        return runtime

    @property
    def routes(self) -> RouteTable:
        """Who gets which event."""
        if self._routes is None:
            self._routes = RouteTable(self._runtimes.values(), self._settings)
        return self._routes

    def reroute(self) -> None:
        """Build the routes anew when they are next asked for; chains in flight keep theirs.

        Called after anything that a route depends on has changed: a session, a subscription, a
        manifest, what the operator wants.
        """
        self._routes = None

    def check_order(self, runtime: PluginRuntime) -> None:
        """Refuse a plugin whose ``before`` and ``after`` contradict those that are up.

        Raises:
            ManifestError: They make a circle, which the message names.
        """
        positions = {other.name: other.position for other in self if other.is_up}
        positions[runtime.name] = runtime.position
        cycle = find_cycle(positions, runtime.name)
        if cycle:
            raise ManifestError(
                f"before and after make a circle: {' → '.join(cycle)} (each is to come before the "
                "next); change one of them"
            )

    def check_requirements(self, runtime: PluginRuntime) -> None:
        """Refuse a plugin that needs others which are not there.

        Raises:
            ManifestError: The requirements make a circle, which the message names.
            PluginStartError: A plugin that it requires does not run (yet), or is not known.
        """
        if not runtime.requirements:
            return  # so it is in no circle either
        positions = {other.name: Position(after=other.required_plugins) for other in self}
        cycle = find_cycle(positions, runtime.name)
        if cycle:
            raise ManifestError(
                f"requires makes a circle: {' → '.join(cycle)} (each is needed by the next); "
                "change one of them"
            )
        for name, must_be_ready in runtime.requirements.items():
            other = self._runtimes.get(name)
            state = "not known to this host" if other is None else str(other.status)
            is_there = other is not None and (
                other.session is not None if must_be_ready else other.is_up
            )
            if not is_there:
                error = PluginStartError(
                    runtime.name, f"requires {name}, which is {state}; start that one first"
                )
                error.is_transient = True
                raise error

    def reindex(self) -> None:
        """Map aliases to plugins anew; one that two plugins claim means neither."""
        self.reroute()
        self.by_spelling.clear()
        claims: dict[str, list[PluginRuntime]] = {}
        for runtime in self._runtimes.values():
            for alias in runtime.aliases():
                claims.setdefault(alias, []).append(runtime)
        self._aliases = {alias: found[0] for alias, found in claims.items() if len(found) == 1}
