"""`PluginInstaller`: from a source to an installed plugin, all or nothing."""

# The idea: everything that can fail happens in a private staging directory, which is removed in any
# case: download, unpacking, and all checks, including whether the plugin could be started. The last
# step is one rename. Only before it does a cancellation have an effect.

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path

from vconnect.errors import InstallError, PluginStartError
from vconnect.threads import in_thread
from vconnect.version import host_version

from .archive import DEFAULT_MAX_BYTES, ArchiveLimits, unpack
from .command import production_command
from .fetch import fetch
from .manifest import Manifest
from .source import FetchLimits, Progress, Source, parse_source
from .store import InstalledPlugin, PluginStore, Staging

_NUMBERS = re.compile(r"\d{1,9}(\.\d{1,9})*")

_log = logging.getLogger(__name__)


class PluginInstaller:
    """Installs packages into one directory, and lists installed plugins.

    Args:
        plugin_dir: The directory, created when the first package is installed.
        max_package_bytes: The maximum size of a package, both packed and unpacked.
        allow_insecure_http: Accept ``http://`` from hosts other than the loopback.
        progress: Called during a download, with the bytes so far and the total if it is known.
        fetch_limits: Timeouts and retries of downloads.
    """

    def __init__(
        self,
        plugin_dir: Path,
        *,
        max_package_bytes: int = DEFAULT_MAX_BYTES,
        allow_insecure_http: bool = False,
        progress: Progress | None = None,
        fetch_limits: FetchLimits | None = None,
    ) -> None:
        self._store = PluginStore(plugin_dir)
        self._limits = ArchiveLimits(
            packed_bytes=max_package_bytes, unpacked_bytes=max_package_bytes
        )
        self._allow_insecure_http = allow_insecure_http
        self._progress = progress
        self._fetch_limits = fetch_limits

    def parse(self, url: str) -> Source:
        """Parse the source of a package, for `install`.

        Args:
            url: A path, ``file://``, ``https://``, or ``http://`` if that is allowed; ``${os}`` and
                ``${arch}`` are replaced.

        Raises:
            InstallError: It is not a valid source.
        """
        return parse_source(url, allow_insecure_http=self._allow_insecure_http)

    async def install_from_url(self, url: str) -> InstalledPlugin:
        """Parse the source ``url`` and install the package; see `parse` and `install`."""
        return await self.install(self.parse(url))

    async def install(self, source: Source) -> InstalledPlugin:
        """Install a package, replacing an older version if there is one.

        Concurrent installations of one plugin take effect one after the other. After a failure or a
        cancellation the old version is unchanged and nothing else is left; a cancellation that
        comes after the new version was put in place leaves the new version.

        Args:
            source: The source of the package.

        Raises:
            InstallError: It cannot be downloaded, is invalid, requires a newer host, could not be
                started, or writing failed.
        """
        _log.info("installing plugin from %s", source.shown)
        stop = threading.Event()
        staging = self._store.staging(stop)
        try:
            await in_thread(stop, staging.open)
            archive = await fetch(
                source,
                staging.path,
                max_bytes=self._limits.packed_bytes,
                allow_insecure_http=self._allow_insecure_http,
                progress=self._progress,
                limits=self._fetch_limits,
            )
            plugin = await in_thread(stop, self._install, source, archive, staging, stop)
        finally:
            # Without `stop`: cleaning up is never cut short.
            await in_thread(None, staging.close)
        _log.info("installed %s %s", plugin.name, _version(plugin))
        return plugin

    def discover(self) -> list[InstalledPlugin]:
        """List the installed plugins by name, after cleaning up what a killed host left.

        Blocks on the disk, and possibly on the last step of an installation: call it in a thread
        if a loop is running. A directory that cannot be used is listed with its `problem`.

        Raises:
            InstallError: The directory exists but cannot be read.
        """
        return self._store.installed()

    def _install(
        self, source: Source, archive: Path, staging: Staging, stop: threading.Event
    ) -> InstalledPlugin:
        """Unpack, check and commit. Blocks."""
        origin = source.shown
        unpacked = unpack(archive, staging.path / "package", self._limits, origin=origin, stop=stop)
        check_host_version(unpacked.manifest, host_version(), origin)
        # Before the commit: a package that cannot be started must not replace one that can.
        try:
            production_command(unpacked.manifest.plugin, unpacked.path, unpacked.manifest)
        except PluginStartError as error:
            # The staging directory's path would mean nothing to the operator.
            message = error.message.replace(str(unpacked.path), unpacked.manifest.plugin)
            raise InstallError(f"{origin}: could not be started: {message}") from error
        return self._store.commit(unpacked.path, unpacked.manifest, stop)


def check_host_version(manifest: Manifest, version: str, origin: str) -> None:
    """Refuse a package that requires a newer host than ``version``; if empty, do not check.

    Raises:
        InstallError: It requires one, or its ``min_host_version`` is not a version.
    """
    wanted = manifest.min_host_version
    if not wanted:
        return
    if not _NUMBERS.fullmatch(wanted):
        raise InstallError(
            f"{origin}: min_host_version is {wanted!r}; expected numbers with dots, such as 1.2"
        )
    if version and _release(version) < _release(wanted):
        raise InstallError(
            f"{origin}: requires vconnect {wanted} or newer, this is {version}; upgrade vconnect"
        )


def _release(version: str) -> tuple[int, ...]:
    """Return the leading numbers without trailing zeros, so that 1.0 equals 1."""
    match = _NUMBERS.match(version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _version(plugin: InstalledPlugin) -> str:
    return plugin.manifest.version if plugin.manifest else ""
