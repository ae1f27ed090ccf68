"""Installs, upgrades, rolls back, removes and verifies the plugins of a running host."""

# The steps themselves are elsewhere: the installer puts a version into the store, and a supervisor
# tries the next version beside the current one and makes it current when it is ready. Here they are
# put together, one plugin after the other, and what came of it is told. A failure of one plugin is
# a row, and the others go on.

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Protocol

import msgspec

from vconnect.bounds import cut
from vconnect.errors import (
    ConfigError,
    ConflictError,
    ConsentRequiredError,
    InstallError,
    PluginError,
    PluginStartError,
    VConnectError,
)
from vconnect.packages.progress import Report, metered
from vconnect.packages.source import platform_name, shown_source
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.store.consent import configured_grant, decide, new_permissions
from vconnect.store.installer import Offer
from vconnect.store.layout import InstalledVersion, is_store_directory
from vconnect.store.listing import InstalledPlugin
from vconnect.store.store import PluginStore
from vconnect.store.verify import Verified, verify
from vconnect.threads import in_thread

from .changes import Change, Outcome, audit, failure, given_up, this_user, words_of
from .removal import Removal
from .requirements import check_versions
from .rows import change_of, gone, preview, waits_for_consent
from .turns import Turns
from .versions import (
    Outdated,
    VersionSummary,
    last_words,
    source_of,
    summarize_versions,
    target_of,
)

# How long the disk may take to learn that a version has failed.
_RECORDED_S = 5.0
_POLL_S = 0.01


class Orders(Protocol):
    """What is asked of the host."""

    async def start_plugin(self, name: str) -> None:
        """Start a plugin."""

    async def restart_plugin(self, name: str) -> None:
        """Restart a plugin."""

    async def stop_plugin(self, name: str) -> bool:
        """Stop a plugin."""

    def is_disabled(self, name: str) -> bool:
        """Return whether the operator has disabled a plugin."""


class _PreviewError(Exception):
    """Ends an installation that was only to be shown."""

    def __init__(self, offer: Offer, permissions: tuple[str, ...]) -> None:
        super().__init__()
        self.offer = offer
        self.permissions = permissions


class Packages:
    """The packages of a running host; `PluginRuntimeManager.packages`.

    Every method takes several plugins, and returns a `Change` for each, also for one that failed.
    The changes are logged with who asked for them. Changes of one plugin come one after the other;
    a download delays nobody. Cancelling a method ends the change that is in progress as the
    installer and the supervisor do, which is logged too, and those behind it are not begun.

    Args:
        orders: Starts and stops plugins.
        catalog: Installs packages, and knows what is installed.
        registry: The plugins.
        store: What is installed.
        state_dir: Where the plugins' data is.
        turns: Changes of one plugin come one after the other; by default those of this object.
    """

    def __init__(
        self,
        orders: Orders,
        catalog: Catalog,
        registry: Registry,
        store: PluginStore,
        state_dir: Path,
        turns: Turns | None = None,
    ) -> None:
        self._orders = orders
        self._catalog = catalog
        self._registry = registry
        self._store = store
        self._state_dir = state_dir
        self._turns = turns or Turns()
        self._removal = Removal(orders, catalog, registry, store, state_dir)

    async def install(
        self,
        sources: Iterable[str],
        *,
        upgrade: bool = False,
        start: bool = True,
        frozen: bool = False,
        grant: Collection[str] | None = None,
        dry_run: bool = False,
        by: str = "",
        report: Report | None = None,
    ) -> list[Change]:
        """Install packages and start their plugins.

        Args:
            sources: Paths or URLs.
            upgrade: Whether a package may replace another version of its plugin. The new version is
                started beside the old one, and takes over when it is ready; if it is not ready, the
                old one serves on.
            start: Whether to start the plugins. Otherwise their next start tries the new versions.
            frozen: Whether to install only exactly what the lock file has.
            grant: The permissions that the packages may have, besides those that their plugins had
                before; ``("*",)`` for what they ask for. By default one that asks for more is
                refused with ``consent_required``.
            dry_run: Fetch and check only.
            by: Who asks for it; by default the user of this process.
            report: Called during downloads, with how far they are.
        """

        async def change(source: str) -> Change:
            return await self._install(
                "install",
                source,
                report,
                may_replace=upgrade,
                start=start,
                frozen=frozen,
                grant=grant,
                dry_run=dry_run,
            )

        return await self._each("install", _several(sources), change, by)

    async def apply(self, entries: Iterable[str], consent: str, *, by: str = "") -> list[Change]:
        """Install what the configuration names, as `install` does with ``upgrade``.

        Args:
            entries: Entries of ``install``.
            consent: The setting of that name.
            by: Who has changed the configuration.
        """

        async def change(source: str) -> Change:
            return await self._install("install", source, may_replace=True, consent=consent)

        return await self._each("install", _several(entries), change, by)

    async def upgrade(
        self,
        names: Iterable[str],
        *,
        grant: Collection[str] | None = None,
        digests: Mapping[str, str] | None = None,
        dry_run: bool = False,
        by: str = "",
        report: Report | None = None,
    ) -> list[Change]:
        """Install what the plugins' sources have now, as `install` does with ``upgrade``.

        Args:
            names: The plugins.
            grant: See `install`.
            digests: The sha256 that the package of a plugin must have: the one that was consented
                to.
            dry_run: Fetch and check only.
            by: Who asks for it.
            report: Called during downloads, with how far they are.
        """
        pins = digests or {}

        async def change(name: str) -> Change:
            plugin = self._installed(name)
            source = await in_thread(None, source_of, plugin)
            if pin := pins.get(name):
                source = f"{source}#sha256={pin}"
            return await self._install(
                "upgrade",
                source,
                report,
                may_replace=True,
                grant=grant,
                dry_run=dry_run,
                only=plugin.name,
            )

        return await self._each(
            "upgrade", self._registry.dependencies_first(_several(names)), change, by
        )

    async def rollback(
        self, name: str, version: str = "", *, dry_run: bool = False, by: str = ""
    ) -> Change:
        """Return to a version that is in the store.

        Args:
            name: The plugin.
            version: The version, ``VERSION+DIGEST``, or the begin of a digest; by default the one
                that was ready last before the current one.
            dry_run: Show only which it is.
            by: Who asks for it.
        """

        async def change(name: str) -> Change:
            plugin = self._installed(name)
            async with self._turns.of(plugin.name):
                return await return_to_version(plugin)

        async def return_to_version(plugin: PluginRuntime) -> Change:
            before = plugin.current_version
            target = await in_thread(None, target_of, plugin, version)
            if before is not None and target.digest == before.digest:
                return change_of("rollback", plugin.name, before, before, "unchanged")
            planned = change_of("rollback", plugin.name, before, target, "planned")
            if dry_run:
                return planned
            chosen = await in_thread(None, self._store.choose, _directory(plugin), target.digest)
            if chosen is None:
                raise InstallError(f"{target.directory} has just been removed")
            self._catalog.adopt(chosen)
            return await self._try_next(planned)

        return (await self._each("rollback", [name], change, by))[0]

    async def uninstall(
        self,
        names: Iterable[str],
        *,
        purge: bool = False,
        force: bool = False,
        dry_run: bool = False,
        by: str = "",
    ) -> list[Change]:
        """Stop plugins and remove them with all of their versions.

        Args:
            names: The plugins.
            purge: Whether to remove their data too.
            force: Whether to remove what others require.
            dry_run: Remove nothing.
            by: Who asks for it.
        """
        wanted = _several(names)
        going = {plugin.name for plugin in map(self._registry.find, wanted) if plugin is not None}

        async def change(name: str) -> Change:
            plugin = self._installed(name)
            if not force:
                self._removal.check_not_required(plugin, going)
            done = change_of("uninstall", plugin.name, plugin.current_version, None, "planned")
            if not dry_run:
                async with self._turns.of(plugin.name):
                    await self._removal.remove(plugin, purge=purge)
                done = msgspec.structs.replace(done, result="removed")
            stays = "" if purge else await self._removal.what_stays(plugin)
            return msgspec.structs.replace(done, reason=stays)

        order = list(reversed(self._registry.dependencies_first(wanted)))
        return await self._each("uninstall", order, change, by)

    async def rescan(self, *, dry_run: bool = False, by: str = "") -> list[Change]:
        """Take in what was put into ``plugin_dir`` or removed from it by hand.

        New plugins are started. One whose directory is gone is forgotten; if it runs, it runs on.

        Args:
            dry_run: Show only what is new or gone.
            by: Who asks for it.

        Raises:
            InstallError: The directory cannot be read.
        """
        began = time.monotonic()
        known = {one.name for one in self._registry if not (one.dev or one.is_external)}
        if dry_run:
            there = {one.name: one for one in await in_thread(None, self._store.installed)}
            new = sorted(there.keys() - known)
            found = [
                change_of("rescan", name, None, there[name].current, "planned") for name in new
            ]
            return found + gone(known - there.keys())
        names = await self._catalog.discover()
        changes = await asyncio.gather(*map(self._take_in, sorted(names - known)))
        return [audit(one, by or this_user(), began) for one in (*changes, *gone(known - names))]

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

        Packages are fetched for that, and thrown away.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        wanted = [self._registry.get(name) for name in _several(names)] or [
            one for one in self._registry if not (one.dev or one.is_external)
        ]
        return [await self._look(one) for one in sorted(wanted, key=lambda one: one.name)]

    async def _look(self, plugin: PluginRuntime) -> Outdated:
        current = plugin.current_version.version if plugin.current_version is not None else ""
        known = Outdated(name=plugin.name, current=current, state="unknown")
        try:
            source = await in_thread(None, source_of, self._installed(plugin.name))
            found = await self._install(
                "upgrade", source, may_replace=True, dry_run=True, only=plugin.name
            )
        except VConnectError as error:
            return msgspec.structs.replace(known, reason=words_of(error))
        asks = f"it asks for permissions: {', '.join(found.permissions)}"
        return msgspec.structs.replace(
            known,
            available=found.after,
            digest=found.digest,
            state="current" if found.result == "unchanged" else "outdated",
            reason=asks if found.permissions else "",
        )

    async def verify(self, names: Iterable[str] = ()) -> list[Verified]:
        """Compare what is installed with what was installed; by default of all plugins.

        Raises:
            UnknownPluginError: There is no such plugin.
        """
        wanted = [self._registry.get(name) for name in _several(names)] or list(self._registry)
        found: list[Verified] = []
        for plugin in sorted(wanted, key=lambda one: one.name):
            if plugin.home is not None and not plugin.dev:
                found += await in_thread(None, verify, plugin.name, plugin.home)
        return found

    # Each plugin.

    async def _each(
        self,
        action: str,
        names: Iterable[str],
        change: Callable[[str], Awaitable[Change]],
        by: str,
    ) -> list[Change]:
        """Make a change to one after the other, and log what came of each."""
        done: list[Change] = []
        for name in names:
            began = time.monotonic()
            try:
                made = await change(name)
            except VConnectError as error:
                made = failure(action, shown_source(name), error)
            except asyncio.CancelledError:
                audit(given_up(action, shown_source(name)), by or this_user(), began)
                raise
            done.append(audit(made, by or this_user(), began))
        return done

    async def _install(
        self,
        action: str,
        source: str,
        report: Report | None = None,
        *,
        may_replace: bool,
        start: bool = True,
        frozen: bool = False,
        grant: Collection[str] | None = None,
        consent: str = "",
        dry_run: bool = False,
        only: str = "",
    ) -> Change:
        before: InstalledVersion | None = None
        refused: Offer | None = None
        turn = AsyncExitStack()

        async def check(offer: Offer) -> tuple[str, ...] | None:
            nonlocal before, refused
            # From here on: before, it is not known whose package it is.
            await turn.enter_async_context(self._turns.of(offer.plugin))
            before = await in_thread(None, self._current, offer.plugin)
            self._check(offer, before, may_replace=may_replace, only=only)
            check_versions(offer, self._registry)
            if frozen:
                await in_thread(None, self._check_frozen, offer)
            known = await in_thread(None, self._store.consent_before, offer.plugin)
            granted = configured_grant(known, consent) if consent else grant
            asked = offer.manifest.permissions if offer.manifest is not None else ()
            if dry_run:
                raise _PreviewError(offer, new_permissions(asked, known))
            if offer.is_stored:
                return None  # it was decided when it was put there
            try:
                return decide(offer.plugin, offer.version, asked, known, granted)
            except ConsentRequiredError:
                refused = offer
                raise

        async with turn:
            try:
                progress = metered(shown_source(source), report) if report is not None else None
                installed = await self._catalog.install_checked(source, check, progress)
            except _PreviewError as shown:
                return preview(action, shown.offer, before, shown.permissions)
            except ConsentRequiredError as error:
                assert refused is not None, "it was offered"
                return waits_for_consent(action, refused, before, error)
            new = installed.next or installed.current
            planned = change_of(action, installed.name, before, new, "unchanged")
            if installed.next is None and before is not None:
                return planned
            return await self._bring_into_service(planned, installed, start=start)

    async def _bring_into_service(
        self, planned: Change, installed: InstalledPlugin, *, start: bool
    ) -> Change:
        """Start what was installed, if that is wished."""
        if not start:
            result: Outcome = "waiting" if installed.next is not None else "installed"
            return msgspec.structs.replace(planned, result=result)
        if installed.next is not None:
            return await self._try_next(planned)
        return await self._start_first(planned)

    def _check(
        self, offer: Offer, current: InstalledVersion | None, *, may_replace: bool, only: str
    ) -> None:
        if only and offer.plugin != only:
            raise InstallError(
                f"its source has a package of {offer.plugin} now, not of {only}; to install that, "
                "use: vconnect install SOURCE"
            )
        if only and current is None:
            raise ConflictError(f"{only} was removed meanwhile; it is not installed again")
        known = self._registry.exact(offer.plugin)
        if known is not None and known.dev:
            raise ConflictError(
                f"{offer.plugin} runs from {known.path}; an installed version would not be used"
            )
        if may_replace or (current is not None and current.digest == offer.digest):
            return
        if current is not None or self._store.home(offer.plugin).path.exists():
            version = current.version if current is not None else "not from a package"
            raise ConflictError(
                f"{offer.plugin} is installed ({version}), and the package is version "
                f"{offer.version or 'unknown'}; to replace it, use --upgrade"
            )

    def _check_frozen(self, offer: Offer) -> None:
        if self._store.locks is None:
            raise ConfigError(
                "this host has no lock file; set lock_file, or start it with --config"
            )
        self._store.locks.check_frozen(offer.plugin, offer.version, offer.digest, platform_name())

    def _current(self, plugin: str) -> InstalledVersion | None:
        return self._store.home(plugin).current()

    async def _start_first(self, planned: Change) -> Change:
        """Start a plugin whose first version was installed. It stays installed in any case."""
        done = msgspec.structs.replace(planned, result="installed")
        try:
            await self._orders.start_plugin(planned.name)
        except PluginError as error:
            words = f"{error.message}; it is installed: correct that, and use: vconnect start"
            return msgspec.structs.replace(
                done, result="failed", code="start_failed", reason=f"{words} {planned.name}"
            )
        return done

    async def _try_next(self, planned: Change) -> Change:
        """Let the next version take over, if it gets ready."""
        plugin = self._registry.get(planned.name)
        if plugin.desired == "stopped" and plugin.process is None:
            verb = "enable" if self._orders.is_disabled(plugin.name) else "start"
            words = f"it is stopped; the next start tries it: vconnect {verb} {plugin.name}"
            return msgspec.structs.replace(planned, result="waiting", reason=words)
        try:
            await self._orders.restart_plugin(planned.name)
        except PluginStartError as error:
            # What else it says, the row says itself.
            reason = error.message.removeprefix("a new process failed: ")
            reason = reason.removesuffix("; the old one keeps running")
            return await self._not_ready(planned, plugin, reason)
        current = await in_thread(None, self._current, _directory(plugin))
        if current is not None and current.digest == planned.digest:
            return msgspec.structs.replace(planned, result="switched")
        return await self._not_ready(planned, plugin, "see its log")

    async def _not_ready(self, planned: Change, plugin: PluginRuntime, reason: str) -> Change:
        # The supervisor writes down why, after it has told those who wait.
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECORDED_S):
                while not (words := await in_thread(None, last_words, plugin, planned.digest)):
                    await asyncio.sleep(_POLL_S)
                reason = words
        # It may have been stopped meanwhile; then it is not what the next start tries, either.
        current = await in_thread(None, self._withdraw, plugin)
        old = f"; {planned.before} serves on" if planned.before and plugin.session else ""
        return msgspec.structs.replace(
            planned,
            result="failed",
            code="start_failed",
            reason=f"{planned.after or 'it'} did not get ready: {reason}{old}",
            after=current.version if current is not None else "",
            digest=current.digest if current is not None else "",
        )

    def _withdraw(self, plugin: PluginRuntime) -> InstalledVersion | None:
        """Let the next start try no other version; return the current one. Blocks."""
        home = _directory(plugin)
        current = self._current(home)
        if current is not None:
            self._store.choose(home, current.digest)
        return current

    async def _take_in(self, name: str) -> Change:
        plugin = self._registry.get(name)
        done = change_of("rescan", name, None, plugin.current_version, "found")
        try:
            await self._orders.start_plugin(name)
        except PluginError as error:
            return msgspec.structs.replace(
                done, result="failed", code=error.code, reason=str(error)
            )
        return done

    # Names.

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


def _several(names: Iterable[str]) -> list[str]:
    if isinstance(names, str):  # which has letters
        raise TypeError(f"expected several names or sources, got one text: {cut(names)!r}")
    return list(names)


def _directory(plugin: PluginRuntime) -> str:
    assert plugin.home is not None, "it is installed"
    return plugin.home.name
