"""Installs, upgrades, rolls back, removes and verifies the plugins of a running host."""

# The steps themselves are elsewhere: the installer puts a version into the store, and a supervisor
# tries the next version beside the current one and makes it current when it is ready. Here they are
# put together, one plugin after the other, and what came of it is told. A failure of one plugin is
# a row, and the others go on.

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import msgspec

from vconnect.errors import (
    ConflictError,
    ConsentRequiredError,
    InstallError,
    PluginError,
    VConnectError,
    VerificationError,
)
from vconnect.index.client import Indexes
from vconnect.packages.progress import Report, metered
from vconnect.packages.source import shown_source
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.store.consent import Before, configured_grant, decide, new_permissions
from vconnect.store.integrity import is_sound
from vconnect.store.layout import InstalledVersion
from vconnect.store.listing import InstalledPlugin
from vconnect.store.offers import Offer
from vconnect.store.store import PluginStore
from vconnect.threads import in_thread

from . import removal, service
from .changes import Change, Outcome, audit, failure, given_up, this_user
from .queries import PackageQueries, several
from .requirements import check_similar_names, check_versions
from .rows import change_of, gone, noted, preview, waits_for_consent
from .turns import Turns
from .versions import source_of, target_of


class Orders(service.Orders, removal.Orders, Protocol):
    """What is asked of the host."""


class _PreviewError(Exception):
    """Ends an installation that was only to be shown."""

    def __init__(self, offer: Offer, permissions: tuple[str, ...]) -> None:
        super().__init__()
        self.offer = offer
        self.permissions = permissions


class Packages(PackageQueries):
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
        indexes: Where plugins are looked up by name; ``None`` for nowhere.
    """

    def __init__(
        self,
        orders: Orders,
        catalog: Catalog,
        registry: Registry,
        store: PluginStore,
        state_dir: Path,
        turns: Turns | None = None,
        indexes: Indexes | None = None,
    ) -> None:
        super().__init__(catalog, registry, store, indexes)
        self._orders = orders
        self._state_dir = state_dir
        self._turns = turns or Turns()
        self._service = service.Service(orders, registry, store)
        self._removal = removal.Removal(orders, catalog, registry, store, state_dir)

    async def install(
        self,
        sources: Iterable[str],
        *,
        upgrade: bool = False,
        start: bool = True,
        frozen: bool = False,
        grant: Collection[str] | None = None,
        allow_similar: bool = False,
        dry_run: bool = False,
        by: str = "",
        report: Report | None = None,
    ) -> list[Change]:
        """Install packages and start their plugins.

        Args:
            sources: Paths, URLs, or ``NAME[@RANGE]`` of an index.
            upgrade: Whether a package may replace another version of its plugin. The new version is
                started beside the old one, and takes over when it is ready; if it is not ready, the
                old one serves on.
            start: Whether to start the plugins. Otherwise their next start tries the new versions.
            frozen: Whether to install only exactly what the lock file has.
            grant: The permissions that the packages may have, besides those that their plugins had
                before; ``("*",)`` for what they ask for. By default one that asks for more is
                refused with ``consent_required``.
            allow_similar: Whether a new plugin may have a name that looks like another one's.
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
                allow_similar=allow_similar,
                dry_run=dry_run,
            )

        return await self._each("install", several(sources), change, by)

    async def apply(self, entries: Iterable[str], consent: str, *, by: str = "") -> list[Change]:
        """Install what the configuration names, as `install` does with ``upgrade``.

        Args:
            entries: Entries of ``install``.
            consent: The setting of that name.
            by: Who has changed the configuration.
        """

        async def change(source: str) -> Change:
            return await self._install("install", source, may_replace=True, consent=consent)

        return await self._each("install", several(entries), change, by)

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
            "upgrade", self._registry.dependencies_first(several(names)), change, by
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
            if problem := await in_thread(None, self._catalog.problem_of_signer, target.signer):
                raise VerificationError(f"{target.version} is signed by {problem}")
            if not await in_thread(None, is_sound, target):
                raise VerificationError(
                    f"the files of {target.version} are not those of its package; to repair them, "
                    "install the package again, with --upgrade"
                )
            if dry_run:
                return planned
            chosen = await in_thread(None, self._store.choose, _directory(plugin), target.digest)
            if chosen is None:
                raise InstallError(f"{target.directory} has just been removed")
            self._catalog.adopt(chosen)
            return await self._service.try_next(planned)

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
        wanted = several(names)
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
        allow_similar: bool = False,
        dry_run: bool = False,
        only: str = "",
    ) -> Change:
        before: InstalledVersion | None = None
        refused: Offer | None = None
        was_stored = True
        notes: tuple[str, ...] = ()
        turn = AsyncExitStack()

        async def check(offer: Offer) -> tuple[str, ...] | None:
            nonlocal before, refused, was_stored, notes
            was_stored, notes = offer.is_stored, offer.notes
            # From here on: before, it is not known whose package it is.
            await turn.enter_async_context(self._turns.of(offer.plugin))
            before = await in_thread(None, self._current, offer.plugin)
            self._check(offer, before, may_replace=may_replace, only=only)
            if before is None and not (allow_similar or consent):
                check_similar_names(offer, self._registry)
            if before is None or before.digest != offer.digest:
                check_versions(offer, self._registry)
            if frozen:
                await in_thread(
                    None,
                    self._store.check_frozen,
                    offer.plugin,
                    offer.version,
                    offer.digest,
                    offer.manifest,
                )
            known = await in_thread(None, self._store.consent_before, offer.plugin)
            granted = configured_grant(known, consent) if consent else grant
            if offer.granted is not None:
                # It is in the store, where it was decided about: only what is granted expressly
                # is more.
                known = Before(granted=frozenset(offer.granted))
                granted = (grant or ()) if not consent else ()
            if dry_run:
                raise _PreviewError(offer, new_permissions(offer.asked, known))
            try:
                return decide(offer.plugin, offer.version, offer.asked, known, granted)
            except ConsentRequiredError:
                refused = offer
                raise

        async with turn:
            try:
                progress = metered(shown_source(source), report) if report is not None else None
                # What the configuration names, or is frozen, is what is locked.
                newest = may_replace and not (frozen or consent)
                installed = await self._catalog.install_checked(
                    source, check, progress, is_upgrade=newest
                )
            except _PreviewError as shown:
                return noted(preview(action, shown.offer, before, shown.permissions), notes)
            except ConsentRequiredError as error:
                assert refused is not None, "it was offered"
                return waits_for_consent(action, refused, before, error)
            new = installed.next or installed.current
            planned = change_of(action, installed.name, before, new, "unchanged")
            if installed.next is None and before is not None:
                if done := _done_to(before, new, was_stored=was_stored):
                    return noted(await self._service.renew(planned, done), notes)
                return noted(planned, notes)
            return noted(await self._bring_into_service(planned, installed, start=start), notes)

    async def _bring_into_service(
        self, planned: Change, installed: InstalledPlugin, *, start: bool
    ) -> Change:
        """Start what was installed, if that is wished."""
        if not start:
            result: Outcome = "waiting" if installed.next is not None else "installed"
            return msgspec.structs.replace(planned, result=result)
        if installed.next is not None:
            return await self._service.try_next(planned)
        return await self._service.start_first(planned)

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

    def _current(self, plugin: str) -> InstalledVersion | None:
        return self._store.home(plugin).current()

    async def _preview(self, plugin: PluginRuntime, source: str) -> Change:
        return await self._install(
            "upgrade", source, may_replace=True, dry_run=True, only=plugin.name
        )

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


def _done_to(
    before: InstalledVersion, after: InstalledVersion | None, *, was_stored: bool
) -> Outcome | None:
    """Say what an installation of the current version did to it, if anything."""
    if after is None or after.digest != before.digest:
        return None
    if not was_stored:
        return "repaired"  # its files were not those of the package
    return "granted" if after.granted != before.granted else None


def _directory(plugin: PluginRuntime) -> str:
    assert plugin.home is not None, "it is installed"
    return plugin.home.name
