"""New versions of one plugin: each is tried once, and becomes current when it is ready."""

# The idea: an installed version that has not been ready yet is tried beside the current one, or in
# its place if nothing runs. It is made current on the disk after it is ready and before it gets its
# first event. So what cannot be written is found while the old process still has all events, and
# whatever the host starts after a kill has been ready before.
#
# Failures are noted where they are seen and recorded by the actor, because the disk may be slow.

from __future__ import annotations

import logging

from vconnect.errors import InstallError
from vconnect.plugins.runtime import PluginRuntime
from vconnect.store.layout import InstalledVersion
from vconnect.store.releases import Releases

_log = logging.getLogger(__name__)


class Trials:
    """Decides which version of a plugin is started, and records what became of it.

    Args:
        plugin: The plugin.
        releases: The versions on the disk; ``None`` if the plugin can have no new ones.
    """

    def __init__(self, plugin: PluginRuntime, releases: Releases | None) -> None:
        self._plugin = plugin
        self._releases = releases
        self._failed: tuple[InstalledVersion, str] | None = None
        self._falls_back = False

    def choose(self, *, is_ordered: bool) -> InstalledVersion | None:
        """Return the version that a start tries, or ``None`` for the current one.

        Args:
            is_ordered: Whether the operator or the host has ordered the start. A restart after a
                crash is one of the version that has been ready.
        """
        falls_back, self._falls_back = self._falls_back, False
        return self._plugin.next_version if is_ordered and not falls_back else None

    @property
    def has_failed(self) -> bool:
        """Whether there is a failure that has not been recorded."""
        return self._failed is not None

    def fail(self, version: InstalledVersion, reason: str, *, falls_back: bool = False) -> None:
        """Note that a version did not get ready. It is not tried again.

        Args:
            version: The version.
            reason: Why.
            falls_back: Whether the next start is one of the current version, even if the disk
                cannot be told.
        """
        self._failed, self._falls_back = (version, reason), falls_back
        # A version that was installed meanwhile has its own try.
        if self._plugin.next_version == version:
            self._plugin.next_version = None

    async def record_failure(self) -> None:
        """Record the noted failure on the disk. The version's files stay."""
        if self._failed is None or self._releases is None:
            return
        (version, reason), self._failed = self._failed, None
        _log.error(
            "plugin %s: version %s did not get ready: %s",
            self._plugin.name,
            version.version,
            reason,
        )
        try:
            await self._releases.failed(self._plugin.name, version, reason)
        except InstallError as error:
            # The host goes on; after its next start the version is tried again.
            _log.warning("plugin %s: the failure is not recorded: %s", self._plugin.name, error)

    async def make_current(self, version: InstalledVersion) -> None:
        """Make a version that is ready the current one.

        Raises:
            InstallError: The disk refuses; the old version stays current.
        """
        assert self._releases is not None, "without releases there are no trials"
        await self._releases.make_current(self._plugin.name, version)
        if self._plugin.next_version == version:
            self._plugin.next_version = None
        self._plugin.current_version = version
        _log.info("plugin %s: version %s is current", self._plugin.name, version.version)

    async def collect(self) -> None:
        """Remove versions that are kept by nothing. Failing to do so is not a failure."""
        if self._releases is None:
            return
        try:
            await self._releases.collect(self._plugin.name)
        except InstallError as error:
            _log.warning("plugin %s: old versions stay: %s", self._plugin.name, error)
