"""Which version of a plugin is current, for the code that starts it."""

# The idea: `current` moves only to a version that has been ready. Until then the version is the
# next one, which a start tries once. So a host that is killed at any moment starts a version that
# has been ready before, and a version that fails its first start is rolled back on the disk too,
# because nothing there has changed yet.

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from vconnect.errors import InstallError
from vconnect.settings.parts import StoreSettings
from vconnect.threads import in_thread

from .home import PluginHome, acquire
from .layout import VERSIONS, InstalledVersion, find_in_homes, is_store_directory
from .listing import Located, locate
from .plain.carry import Pending
from .record import Result
from .store import PluginStore

_log = logging.getLogger(__name__)


class Releases:
    """The versions of one host's plugins. The asynchronous methods work in a thread.

    Args:
        store: What is installed.
        settings: The host's state directory, and how many versions of a plugin are kept.
    """

    def __init__(self, store: PluginStore, settings: StoreSettings) -> None:
        self._store = store
        self._settings = settings

    def locate(self, home: Path) -> Located:
        """Resolve the current version once. Blocks for a few small reads; see `listing.locate`."""
        return locate(home)

    def next_version(self, located: Located) -> InstalledVersion | None:
        """Return the version that waits beside the current one. Blocks for a few small reads.

        Raises:
            InstallError: The plugin's record was written by a newer vconnect.
        """
        if located.version is None:
            return None
        # A version that could not be made current is not tried: nothing can be installed here now.
        if not os.access(located.version.home, os.W_OK):
            return None
        waiting = PluginHome(located.version.home).next_version()
        # Or it was made current, and that could not be written down.
        return waiting if waiting != located.version else None

    def acquire(self, version: InstalledVersion) -> int:
        """Keep a version from being removed while the returned descriptor, or a copy, is open.

        Raises:
            OSError: It is gone, or is being deleted.
        """
        return acquire(version)

    def must_carry(self, home: Path) -> bool:
        """Return whether `carry` has something to do; looks at a few names only."""
        return bool(Pending(home, self._settings.state_directory))

    async def carry(self, plugin: str, home: Path) -> None:
        """Copy what the plugin wrote into its package directory to its data directory.

        Raises:
            OSError: A file cannot be read or written.
        """
        await in_thread(None, Pending(home, self._settings.state_directory).carry, plugin)

    async def make_current(self, plugin: str, version: InstalledVersion) -> None:
        """Make a version current that has been ready; only record that if it is current already.

        What fails after the switch is a warning.

        Raises:
            InstallError: The link cannot be written, or the version is gone; nothing has changed
                then.
        """
        await in_thread(None, self._make_current, plugin, version)

    async def failed(self, plugin: str, version: InstalledVersion, reason: str) -> None:
        """Record that a version was not ready; it is not the next one any more. Its files stay.

        A record that cannot be written is a warning.
        """
        await in_thread(None, self._failed, plugin, version, reason)

    async def collect(self, plugin: str) -> None:
        """Delete the versions of a plugin that are neither kept nor run, if it is possible now."""
        await in_thread(None, self._collect, plugin)

    async def collect_all(self) -> None:
        """Do the same for all plugins; for the start of a host."""
        await in_thread(None, self._collect_all)

    def _make_current(self, plugin: str, version: InstalledVersion) -> None:
        home = PluginHome(version.home)
        with self._store.changing(home.path.name, f"a switch to {version.version}"):
            if home.find(version.digest) is None:
                raise InstallError(f"{version.directory} is not there any more")
            current = home.current()
            if current is None or current.directory != version.directory:
                home.switch(version)
                _log.info("plugin %s: %s is current", plugin, version.directory.name)
            elif (last := home.record().last(version.digest)) and last.result == "ready":
                return
            self._note(plugin, version, "ready")
            self._store.lock(home.path.name)

    def _failed(self, plugin: str, version: InstalledVersion, reason: str) -> None:
        try:
            with self._store.changing(version.home.name, f"the rollback of {version.version}"):
                self._note(plugin, version, "failed", reason)
        except InstallError as error:
            _log.warning("plugin %s: %s", plugin, error)

    def _note(
        self, plugin: str, version: InstalledVersion, result: Result, reason: str = ""
    ) -> None:
        home = PluginHome(version.home)
        try:
            record = home.record().with_entry(version, "start", result, reason)
            if record.next == version.directory.name:
                record = msgspec.structs.replace(record, next="")
            home.write(record)
        except (InstallError, OSError) as error:
            _log.warning(
                "plugin %s: that %s was %s cannot be written down: %s",
                plugin,
                version.directory.name,
                result,
                error,
            )

    def _collect(self, plugin: str) -> None:
        try:
            # Without waiting: the process that is changing the plugin now collects afterwards.
            with self._store.changing(plugin, "a clean-up", patience=0.0):
                self._store.home(plugin).collect(self._settings.keep_versions)
        except InstallError as error:
            _log.info("plugin %s: old versions are kept: %s", plugin, error)

    def _collect_all(self) -> None:
        for versions in find_in_homes(self._store.plugin_dir, f"*/{VERSIONS}"):
            # Where there is only one, nothing is written: the directory may be read-only.
            if len(list(versions.glob("*"))) > 1 and is_store_directory(versions.parent):
                self._collect(versions.parent.name)
