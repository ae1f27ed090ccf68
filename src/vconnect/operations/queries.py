"""What is installed, what indexes have, and what an upgrade would take. Nothing is changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import msgspec

from vconnect.bounds import cut
from vconnect.errors import (
    ConflictError,
    InstallError,
    UnknownPluginError,
    VConnectError,
    VerificationError,
)
from vconnect.index.client import Entry, Hits, Indexes
from vconnect.names import canonical_name
from vconnect.packages.wanted import Wanted, parse_wanted
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.store.consent import new_permissions
from vconnect.store.layout import is_store_directory
from vconnect.store.store import PluginStore
from vconnect.store.verify import Verified, verify
from vconnect.threads import in_thread

from .changes import Change, words_of
from .versions import Outdated, VersionSummary, source_of, summarize_versions


class PluginInfo(Entry, frozen=True, kw_only=True):
    """What an index has of a plugin, and what is installed of it.

    Attributes:
        installed: Its versions in the store, the current one first.
    """

    installed: tuple[VersionSummary, ...] = ()


class PackageQueries(ABC):
    """The part of `Packages` that changes nothing.

    Args:
        catalog: Knows what is installed.
        registry: The plugins.
        store: What is installed.
        indexes: Where plugins are looked up by name; ``None`` for nowhere.
    """

    def __init__(
        self, catalog: Catalog, registry: Registry, store: PluginStore, indexes: Indexes | None
    ) -> None:
        self._catalog = catalog
        self._registry = registry
        self._store = store
        self._indexes = indexes

    async def search(self, word: str = "") -> Hits:
        """Find the plugins of all indexes whose name, alias or description has a word.

        Raises:
            InstallError: There is no index, or one of them cannot be read.
        """
        return await self._there().search(word)

    async def info(self, name: str) -> PluginInfo:
        """Say what an index has of a plugin, and what is installed of it.

        Args:
            name: Any of its names, or ``NAME@RANGE`` for some of its versions.

        Raises:
            UnknownPluginError: It is not installed, and no index has it.
            VerificationError: An index is not the one that was meant.
            InstallError: It is not installed, and there is no index, or one cannot be read.
        """
        installed = await self._versions_of(name.partition("@")[0])
        try:
            found = await self._there().info(name)
        except VerificationError:
            raise
        except (InstallError, UnknownPluginError) as error:
            if not installed:
                raise
            # What is installed is known without any index.
            own = canonical_name(name.partition("@")[0])
            return PluginInfo(name=own, index="", installed=installed, notes=(str(error),))
        fields = {one: getattr(found, one) for one in found.__struct_fields__}
        return PluginInfo(**fields, installed=installed or await self._versions_of(found.name))

    async def versions(self, name: str) -> list[VersionSummary]:
        """List the versions of a plugin in the store, the current one first.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        plugin = self._registry.get(name)
        running = plugin.current_version if plugin.process is not None else None
        home = plugin.home
        if home is None or plugin.dev or not is_store_directory(home):
            return []
        return await in_thread(None, summarize_versions, home, running)

    async def outdated(self, names: Iterable[str] = ()) -> list[Outdated]:
        """Look what the sources of plugins have now; by default of all. Nothing is changed.

        Of plugins that came from an index, only that is read; of others, packages are fetched for
        this, and thrown away.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        wanted = [self._registry.get(name) for name in several(names)] or [
            one for one in self._registry if not (one.dev or one.is_external)
        ]
        return [await self._look(one) for one in sorted(wanted, key=lambda one: one.name)]

    async def verify(self, names: Iterable[str] = ()) -> list[Verified]:
        """Compare what is installed with what was installed; by default of all plugins.

        Raises:
            UnknownPluginError: There is no such plugin.
            ConfigError: The trust file cannot be used.
        """
        wanted = [self._registry.get(name) for name in several(names)] or list(self._registry)
        found: list[Verified] = []
        for plugin in sorted(wanted, key=lambda one: one.name):
            if plugin.home is not None and not plugin.dev:
                found += await in_thread(None, verify, plugin.name, plugin.home)
        return await in_thread(None, self._with_signers, found)

    def _with_signers(self, found: list[Verified]) -> list[Verified]:
        return [
            msgspec.structs.replace(one, revoked=self._catalog.problem_of_signer(one.signer))
            for one in found
        ]

    @abstractmethod
    async def _preview(self, plugin: PluginRuntime, source: str) -> Change:
        """Return what an upgrade of a plugin from its source would do."""

    def _there(self) -> Indexes:
        if self._indexes is None:
            raise InstallError("there is no index to ask")
        return self._indexes

    async def _versions_of(self, name: str) -> tuple[VersionSummary, ...]:
        try:
            return tuple(await self.versions(name))
        except UnknownPluginError:
            return ()

    async def _look(self, plugin: PluginRuntime) -> Outdated:
        current = plugin.current_version
        known = Outdated(
            name=plugin.name,
            current=current.version if current is not None else "",
            state="unknown",
        )
        try:
            source = await in_thread(None, source_of, self._installed(plugin.name))
            if (wanted := parse_wanted(source)) is not None:
                return await self._look_up(known, wanted, current.digest if current else "")
            found = await self._preview(plugin, source)
        except VConnectError as error:
            return msgspec.structs.replace(known, reason=words_of(error))
        return msgspec.structs.replace(
            known,
            available=found.after,
            digest=found.digest,
            state="current" if found.result == "unchanged" else "outdated",
            reason=_asks_for(found.permissions),
        )

    async def _look_up(self, known: Outdated, wanted: Wanted, digest: str) -> Outdated:
        """Say what the index has of a plugin that came from one."""
        found = await self._there().look(wanted)
        before = await in_thread(None, self._store.consent_before, known.name)
        asks = _asks_for(new_permissions(found.permissions, before))
        return msgspec.structs.replace(
            known,
            available=found.version,
            latest=found.latest,
            yanked=found.yanked,
            digest=found.digest,
            state="current" if found.digest == digest else "outdated",
            reason="; ".join(filter(None, (asks, *found.notes))),
        )

    def _installed(self, name: str) -> PluginRuntime:
        """Return an installed plugin.

        Raises:
            UnknownPluginError: There is no such plugin.
            ConflictError: It is not installed, but runs from source or attached on its own.
        """
        plugin = self._registry.get(name)
        if plugin.is_external:
            raise ConflictError(f"{plugin.name} was started by another program; end it there")
        if plugin.dev:
            raise ConflictError(
                f"{plugin.name} runs from {plugin.path}; take it out of dev_plugins instead"
            )
        return plugin


def several(names: Iterable[str]) -> list[str]:
    """Return names or sources as a list.

    Raises:
        TypeError: It is one text, whose letters would be taken for them.
    """
    if isinstance(names, str):
        raise TypeError(f"expected several names or sources, got one text: {cut(names)!r}")
    return list(names)


def _asks_for(permissions: Iterable[str]) -> str:
    names = ", ".join(permissions)
    return f"it asks for permissions: {names}" if names else ""
