"""The plugins that this host knows, with all of their names."""

# The idea: names and routes are derived data. Whatever they depend on (a plugin, an alias, a
# session, a subscription, a manifest, a desired state) drops them when it changes, and the next use
# rebuilds them. That is slower than patching by microseconds, at moments when a process starts or
# ends, and cannot be wrong.

from __future__ import annotations

import difflib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from vconnect._names import NameCache
from vconnect.errors import ManifestError, PluginError, PluginStartError, UnknownPluginError
from vconnect.names import canonical_name
from vconnect.order import Position, chain_order, find_cycle
from vconnect.packages.manifest import Manifest
from vconnect.settings.events import EventPolicy
from vconnect.settings.model import Settings
from vconnect.wire._latency import Rows

from .passed_over import PassedOver
from .routes import RouteTable
from .runtime import PluginRuntime

# The rank of a plugin that is not installed.
_LAST = 1 << 30

_log = logging.getLogger(__name__)


class Registry:
    """The plugins by name and alias, and the routes of events to them.

    Args:
        policy_of: Computes the policy of an event; by default the default policy.
        is_named: Returns whether a table of the settings is for exactly this event.

    Attributes:
        by_spelling: The results of `get`, in one lookup for a name that was used before.
        policies: The policy of each event.
        chains: How long whole chains took.
        on_failure: Called with the event and the error of each failure, while somebody watches.
        absent: What passed over plugins that are required and not there, by name.
    """

    def __init__(
        self,
        policy_of: Callable[[str], EventPolicy] | None = None,
        is_named: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._is_named = is_named
        self.on_failure: Callable[[str, PluginError], None] | None = None
        # The application names them, not a plugin.
        self.chains = Rows(str)
        self.absent: defaultdict[str, PassedOver] = defaultdict(PassedOver)
        self._policy_of = policy_of or Settings().event_policy
        self.policies = NameCache(self._policy)
        self._routes: RouteTable | None = None
        self.by_spelling = NameCache(self.get)
        self._plugins: dict[str, PluginRuntime] = {}
        self._aliases: dict[str, PluginRuntime] | None = None  # computed on demand
        self._ranks: dict[str, int] = {}

    def __iter__(self) -> Iterator[PluginRuntime]:
        # A copy, because plugins may be added or removed during the iteration.
        return iter(list(self._plugins.values()))

    def __len__(self) -> int:
        return len(self._plugins)

    def add(self, plugin: PluginRuntime) -> None:
        """Add a plugin, replacing any plugin with the same name."""
        self._plugins[plugin.name] = plugin
        plugin.on_change = self._reroute
        plugin.meant_by = self.meant_by
        plugin.is_named = self._is_named
        plugin.on_failure = self._tell_failure
        self._rename()

    def _tell_failure(self, event: str, error: PluginError) -> None:
        if self.on_failure is not None:
            self.on_failure(event, error)

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

    def rank(self, plugins: Iterable[str]) -> None:
        """Set the order in which plugins came; the first one ranks highest, unknown ones lowest."""
        self._ranks = {name: rank for rank, name in enumerate(plugins)}

    def exact(self, plugin: str) -> PluginRuntime | None:
        """Return the plugin with this canonical name, ignoring aliases."""
        return self._plugins.get(plugin)

    def find(self, name: str) -> PluginRuntime | None:
        """Return the plugin that ``name`` refers to, by any alias, with or without prefix."""
        plugin = canonical_name(name)
        known = self._plugins.get(plugin)
        if known is not None and not known.conflict:
            return known
        # A plugin that may not have its name is meant only if nobody else is.
        return self._by_alias(plugin) or known

    def get(self, name: str) -> PluginRuntime:
        """Return the plugin that ``name`` refers to.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        plugin = self.find(name)
        if plugin is None:
            # Most often the name was mistyped, and the right one is in this list.
            known = ", ".join(sorted(self._plugins)) or "none"
            hint, near = self.hint(name), self._near(name)
            words = f"no such plugin (known: {known})" + (f"; {hint}" if hint else "")
            raise UnknownPluginError(canonical_name(name), words, near)
        return plugin

    def meant_by(self, name: str) -> str:
        """Return the name of the plugin that ``name`` refers to; of none, its canonical form."""
        plugin = self.find(name)
        return canonical_name(name) if plugin is None else plugin.name

    def claimants(self, name: str, besides: PluginRuntime | None = None) -> str:
        """Name the plugins that have a name, with their directories; empty if none has it."""
        claims = self._claims().get(canonical_name(name), ())
        others = [plugin for plugin in claims if plugin is not besides]
        return " and ".join(
            f"{plugin.name} ({plugin.home})" if plugin.home is not None else plugin.name
            for plugin in sorted(others, key=lambda plugin: plugin.name)
        )

    def hint(self, name: str) -> str:
        """Return what to do about a name that `find` does not find; empty if nothing is near."""
        canonical = canonical_name(name)
        claims = self._claims()
        if claimed := claims.get(canonical):
            plugins = " and ".join(sorted(plugin.name for plugin in claimed))
            return f"it is a name of {plugins}, so use another one"
        near = self._near(name)
        return "" if near is None else f"did you mean {near!r}?"

    def _near(self, name: str) -> str | None:
        """Return the name that was probably meant by one that is nobody's."""
        near = difflib.get_close_matches(canonical_name(name), self._claims(), n=1)
        return near[0] if near else None

    def dependencies_first(self, names: Iterable[str]) -> list[str]:
        """Order plugins so that each comes after those that it requires; unknown ones come last.

        Args:
            names: Any of their names; a repeated one counts once.
        """
        wanted = list(dict.fromkeys(names))
        found = {name: plugin for name in wanted if (plugin := self.find(name)) is not None}
        meant = {plugin.name for plugin in found.values()}
        # In the order of the names, as far as nothing is required.
        positions = {
            plugin.name: Position(-rank, after=tuple(meant.intersection(plugin.required_plugins)))
            for rank, plugin in enumerate(found.values())
        }
        place = {name: rank for rank, name in enumerate(chain_order(positions))}
        unknown = len(place)
        return sorted(
            wanted, key=lambda name: place[found[name].name] if name in found else unknown
        )

    @property
    def routes(self) -> RouteTable:
        """The current routes, computed on demand."""
        if self._routes is None:
            self._routes = RouteTable(self._plugins.values(), self.policies, self.chains)
        return self._routes

    def _reroute(self) -> None:
        """Drop the routes, to be rebuilt on demand; chains in progress keep the old ones.

        Called by plugins (`PluginRuntime.on_change`) when something that a route depends on has
        changed: a session, a subscription, a manifest, a desired state.
        """
        # Patching the table would save microseconds when a process has just started or ended.
        self._routes = None

    def forget_policies(self) -> None:
        """Compute the policies of events anew: the settings have changed."""
        self.policies.clear()
        for plugin in self:
            plugin.rows.forget_names()
        self._reroute()

    def check_order(self, plugin: PluginRuntime, manifest: Manifest | None) -> None:
        """Refuse a version whose ``before`` and ``after`` contradict those of others.

        Plugins that run count, and those that were there first, whether they run or not: else a
        newcomer could shut one of them out, by closing a cycle while it is down.

        Args:
            plugin: The plugin that is about to start.
            manifest: The manifest of the version to start.

        Raises:
            ManifestError: They form a cycle; the text names it.
        """
        position = plugin.position_with(manifest)
        mine = self._ranks.get(plugin.name, _LAST)
        others = [
            other
            for other in self._plugins.values()
            if other.is_up or self._ranks.get(other.name, _LAST) < mine
        ]
        is_placed = position.before or position.after
        if not is_placed and not any(other.is_placed for other in others):
            return
        positions = {other.name: other.position for other in others} | {plugin.name: position}
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
        if manifest is None or not manifest.requires:
            return  # so it is not in a cycle either
        written = manifest.requirements
        requirements = {
            self.meant_by(name): must_be_ready for name, must_be_ready in written.items()
        }
        versions = {self.meant_by(name): one for name, one in manifest.required_versions.items()}
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
            if other is None:
                raise PluginStartError(
                    plugin.name,
                    f"requires {name}, which is not known to this host; "
                    f"{self.hint(name) or f'start {name} first'}",
                    is_transient=True,  # it may be installed, or attach, soon
                )
            is_there = other.session is not None if must_be_ready else other.is_up
            if not is_there:
                raise PluginStartError(
                    plugin.name,
                    f"requires {name}, which is {other.status}; start {name} first",
                    is_transient=True,  # retried soon, since the other plugin may be starting
                )
            wanted = versions.get(name)
            # What was installed under this version; a plugin from elsewhere says its own.
            version = (other.manifest and other.manifest.version) or other.declared.version
            if wanted is not None and not wanted.takes(version):
                raise PluginStartError(
                    plugin.name,
                    f"requires {name} {wanted}, and {name} {version or 'without a version'} is "
                    "here; install a version that fits",
                    is_transient=True,  # the other plugin may be upgraded
                )

    def _rename(self) -> None:
        """Drop what depends on names: an alias may mean another plugin now."""
        self._reroute()
        self.policies.clear()
        self.by_spelling.clear()
        self._aliases = None

    def _by_alias(self, name: str) -> PluginRuntime | None:
        if self._aliases is None:
            self._aliases = self._index()
        return self._aliases.get(name)

    def _index(self) -> dict[str, PluginRuntime]:
        """Map aliases to plugins; an alias that two plugins claim refers to neither."""
        return {alias: found[0] for alias, found in self._claims().items() if len(found) == 1}

    def _claims(self) -> dict[str, list[PluginRuntime]]:
        """Map each alias to the plugins that claim it."""
        claims: dict[str, list[PluginRuntime]] = {}
        for plugin in self._plugins.values():
            for alias in plugin.aliases() if not plugin.conflict else ():
                claims.setdefault(alias, []).append(plugin)
        return claims

    def settle(self, problems: Mapping[str, str]) -> None:
        """Set which plugins may not be used because of their names, and why.

        Args:
            problems: Why, by plugin; the others may be used.
        """
        for plugin in self:
            problem = problems.get(plugin.name, "")
            if problem and problem != plugin.conflict:
                _log.error("plugin %s (%s) is not started: %s", plugin.name, plugin.home, problem)
            plugin.conflict = problem
        self._rename()

    def _policy(self, event: str) -> EventPolicy:
        """Compute the policy of an event, with the plugins that its aliases mean."""
        policy = self._policy_of(event)
        if not policy.may_change:
            return policy
        may_change = {self.meant_by(name): fields for name, fields in policy.may_change.items()}
        return msgspec.structs.replace(policy, may_change=may_change)
