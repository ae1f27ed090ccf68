"""`PluginInstaller`: from a source to an installed plugin, all or nothing."""

# The idea: everything that can fail happens in a private staging directory, which is removed in any
# case: download, unpacking, and all checks, including whether the plugin could be started. The last
# step is one rename. Only before it does a cancellation have an effect.
#
# What is in the store already, as its digest says, is neither unpacked nor put in place again.

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from vconnect.environments.build import (
    ENVIRONMENT,
    EnvironmentSettings,
    Needed,
    build,
    find_need,
)
from vconnect.errors import InstallError
from vconnect.packages.archive import DEFAULT_MAX_BYTES, ArchiveLimits, unpack
from vconnect.packages.contents import digest_of
from vconnect.packages.fetch import fetch
from vconnect.packages.fitness import check_host_version, problem_of_interfaces
from vconnect.packages.manifest import MANIFEST_NAME, Manifest, read_manifest_if_any
from vconnect.packages.platforms import problem_of_platform
from vconnect.packages.source import Fetched, FetchLimits, Progress, Source, parse_source
from vconnect.settings.model import Settings
from vconnect.threads import in_thread
from vconnect.trust.policy import Signing
from vconnect.version import host_version

from .consent import configured_grant, decide, new_permissions
from .home import PluginHome
from .integrity import is_sound
from .layout import InstalledVersion, Receipt, directory_name
from .listing import InstalledPlugin
from .offers import Offer, check_contents, check_digest, check_found
from .signatures import Found, Signatures, fetch_signature, signatures_of
from .store import PluginStore, Staging

_log = logging.getLogger(__name__)


#: Turns ``NAME[@RANGE]`` into the address of a package with its digest, by an index.
Resolve = Callable[[Source], Awaitable[Source]]

#: Refuses an offer by raising, or returns the permissions that are granted to it; ``None`` for all
#: of a new one, and for no change of what is in the store.
Check = Callable[[Offer], Awaitable[tuple[str, ...] | None]]


class _Found(NamedTuple):
    """A package that may be installed: what it is, and what to write down about it."""

    offer: Offer
    #: Where it was unpacked; ``None`` if it is in the store already.
    package: Path | None = None
    receipt: Receipt | None = None
    #: What its environment is made from, if it needs one.
    need: Needed | None = None


async def _accept(_: Offer) -> tuple[str, ...] | None:
    """Accept any package, with what it asks for: the default of `PluginInstaller.install`."""
    return None


async def no_index(source: Source) -> Source:
    """Refuse to look up a name: the default of `PluginInstaller.resolve`."""
    raise InstallError(f"{source.shown}: is not a path or URL, and there is no index to ask for it")


class PluginInstaller:
    """Installs packages into one directory, and lists installed plugins.

    Args:
        plugin_dir: The directory, created when the first package is installed.
        max_package_bytes: The maximum size of a package, both packed and unpacked.
        allow_insecure_http: Accept ``http://`` from hosts other than the loopback.
        progress: Called during a download, with the bytes so far and the total if it is known.
        fetch_limits: Timeouts and retries of downloads.
        host: The host's plugin socket, for the messages of others that wait.
        lock_file: Where it is written down which packages were meant; ``None`` for nowhere.
        signatures: Which signatures are asked for; by default none.
        interfaces: The interfaces that the host offers.
        require_interface: Whether every package must name one of them.
        environments: How the environments of plugins are made.
        python_of: Returns the interpreter that is chosen for a plugin alone, or an empty text.

    Attributes:
        store: What is installed.
        resolve: Turns a name into the address of a package; by default names are refused.
    """

    def __init__(
        self,
        plugin_dir: Path,
        *,
        max_package_bytes: int = DEFAULT_MAX_BYTES,
        allow_insecure_http: bool = False,
        progress: Progress | None = None,
        fetch_limits: FetchLimits | None = None,
        host: str = "",
        lock_file: Path | None = None,
        signatures: Signatures | None = None,
        interfaces: tuple[str, ...] = (),
        require_interface: bool = False,
        environments: EnvironmentSettings | None = None,
        python_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        self.store = PluginStore(plugin_dir, host, lock_file)
        self.configure(
            max_package_bytes=max_package_bytes,
            allow_insecure_http=allow_insecure_http,
            signatures=signatures or Signatures(),
            interfaces=interfaces,
            require_interface=require_interface,
            environments=environments,
            python_of=python_of,
        )
        self.resolve: Resolve = no_index
        self._progress = progress
        self._fetch_limits = fetch_limits

    @classmethod
    def of(cls, settings: Settings, progress: Progress | None = None) -> PluginInstaller:
        """Return the installer of the host with these settings."""
        return cls(
            Path(settings.plugin_dir),
            max_package_bytes=settings.max_package_bytes,
            allow_insecure_http=settings.allow_insecure_http,
            progress=progress,
            host=settings.socket_path,
            lock_file=Path(settings.lock_file) if settings.lock_file else None,
            signatures=signatures_of(settings),
            interfaces=settings.interfaces,
            require_interface=settings.require_interface,
            environments=environments_of(settings),
            python_of=settings.python_of,
        )

    def configure(
        self,
        *,
        max_package_bytes: int,
        allow_insecure_http: bool,
        signatures: Signatures,
        interfaces: tuple[str, ...] = (),
        require_interface: bool = False,
        environments: EnvironmentSettings | None = None,
        python_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Follow other settings, from the next installation on."""
        self._limits = ArchiveLimits(
            packed_bytes=max_package_bytes, unpacked_bytes=max_package_bytes
        )
        self._allow_insecure_http = allow_insecure_http
        self._signatures = signatures
        self._interfaces = interfaces
        self._require_interface = require_interface
        self._environments = environments or EnvironmentSettings(
            cache=self.store.wheel_cache, max_bytes=max_package_bytes
        )
        self._python_of = python_of

    def parse(self, url: str, *, is_upgrade: bool = False) -> Source:
        """Parse the source of a package, for `install`.

        Args:
            url: A path, ``file://``, ``https://``, or ``http://`` if that is allowed; ``${os}`` and
                ``${arch}`` are replaced. Or ``NAME[@RANGE]`` of an index, or ``sha256:…`` of what a
                client has sent.
            is_upgrade: Whether the highest version of an index is meant, whatever is locked.

        Raises:
            InstallError: It is not a valid source.
        """
        source = parse_source(
            url, allow_insecure_http=self._allow_insecure_http, sent=self.store.blobs
        )
        if source.wanted is None:
            return source
        wanted = msgspec.structs.replace(source.wanted, is_upgrade=is_upgrade)
        return msgspec.structs.replace(source, wanted=wanted)

    async def install_from_url(self, url: str) -> InstalledPlugin:
        """Parse the source ``url`` and install the package; see `parse` and `install`."""
        return await self.install(self.parse(url))

    async def install(
        self, source: Source, check: Check | None = None, progress: Progress | None = None
    ) -> InstalledPlugin:
        """Install a package.

        The first version of a plugin becomes current. Another version is put beside it, and becomes
        the next one: the next start tries it. If the package is in the store already, nothing is
        unpacked, and if it is current, nothing changes at all.

        Concurrent installations of one plugin take effect one after the other. After a failure or a
        cancellation nothing has changed and nothing else is left; a cancellation that comes after
        the new version was put in place leaves the new version.

        Args:
            source: The source of the package.
            check: Called with what would be installed, before anything is changed; what it raises
                is raised here, and what it returns are the permissions that are granted.
            progress: Called during a download, in place of the installer's own.

        Raises:
            InstallError: It cannot be downloaded, is invalid, requires a newer host, could not be
                started, or writing failed.
        """
        plugin, _ = await self._install_as(source, check, progress)
        return plugin

    async def _install_as(
        self, source: Source, check: Check | None = None, progress: Progress | None = None
    ) -> tuple[InstalledPlugin, str]:
        """Install a package, and return it with its digest."""
        _log.info("installing plugin from %s", source.shown)
        stop = threading.Event()
        staging = self.store.staging(stop)
        if source.wanted is not None:
            source = await self.resolve(source)
        try:
            # The usual case at a host's start, which then writes nothing.
            signing = await in_thread(stop, self._signatures.policy_for, source)
            found = await in_thread(stop, self._find_stored, source, signing)
            if found is None:
                found = await self._fetched(source, signing, staging, stop, progress)
            if source.wanted is not None:
                check_found(source.wanted, found.offer)
                found = found._replace(offer=found.offer._replace(notes=source.wanted.notes))
            granted = await (check or _accept)(found.offer)
            if found.receipt is not None:
                receipt = msgspec.structs.replace(found.receipt, granted=granted)
                found = found._replace(receipt=receipt)
            elif granted is not None and granted != found.offer.granted:
                offer = found.offer
                await in_thread(stop, self.store.grant, offer.plugin, offer.digest, granted)
            environment = await self._make_environment(found, staging)
            plugin = await in_thread(stop, self._put, source, found, environment, stop)
            if found.offer.is_stored and (version := plugin.next or plugin.current) is not None:
                await in_thread(None, self.store.note_source, version, source.origin)
            return plugin, found.offer.digest
        finally:
            # Without `stop`: cleaning up is never cut short.
            await in_thread(None, staging.close)

    async def _make_environment(self, found: _Found, staging: Staging) -> Path | None:
        """Make the environment of a new version, if it needs one, beside its package."""
        if found.need is None:
            return None
        offer, target = found.offer, staging.path / ENVIRONMENT
        home = self.store.home(offer.plugin)
        final = home.versions / directory_name(offer.version, offer.digest) / ENVIRONMENT
        own = self._python_of(offer.plugin)
        try:
            await build(found.need, target, final, self._environments, own_python=own)
        except InstallError as error:
            raise InstallError(f"{offer.plugin} {offer.version}: {error}") from error
        return target

    async def _fetched(
        self,
        source: Source,
        signing: Signing,
        staging: Staging,
        stop: threading.Event,
        progress: Progress | None = None,
    ) -> _Found:
        """Fetch a package into a staging directory, and look at it."""
        await in_thread(stop, staging.open)
        await in_thread(stop, self._sweep_parts)
        fetched = await fetch(
            source,
            staging.path,
            max_bytes=self._limits.packed_bytes,
            allow_insecure_http=self._allow_insecure_http,
            progress=progress or self._progress,
            limits=self._fetch_limits,
            partial=self.store.partial,
        )
        signed = Found(None)
        if signing.is_needed:
            signed = await fetch_signature(
                source,
                fetched.path,
                staging.path,
                allow_insecure_http=self._allow_insecure_http,
            )
        return await in_thread(stop, self._examine, source, fetched, signing, signed, staging, stop)

    async def apply(self, source: Source, consent: str = "allow") -> InstalledPlugin:
        """Install a package that the configuration names, unless that was done before.

        It is done when the entry is new for its plugin, or its local file has changed. Otherwise
        nothing is fetched: what was made current since stays current.

        Args:
            source: The entry.
            consent: Whether a later version may have more permissions than it had before: ``ask``
                or ``allow``.

        Raises:
            InstallError: See `install`.
            ConsentRequiredError: It asks for more than it had before.
        """

        async def grant(offer: Offer) -> tuple[str, ...]:
            before = await in_thread(None, self.store.consent_before, offer.plugin)
            if offer.is_stored:
                return offer.granted or ()  # it was decided about when it was put there
            granted = decide(
                offer.plugin, offer.version, offer.asked, before, configured_grant(before, consent)
            )
            if new := new_permissions(granted, before):
                _log.info("%s: granted by the configuration: %s", offer.plugin, ", ".join(new))
            return granted

        stop = threading.Event()
        if plugin := await in_thread(stop, self._applied, source):
            return plugin
        plugin, digest = await self._install_as(source, grant)
        await in_thread(None, self.remember, source, plugin.name, digest)
        return plugin

    def problem_of_signer(self, number: str) -> str:
        """Say that the key of a signer was revoked; empty if it was not. Blocks.

        Raises:
            ConfigError: The trust file cannot be used.
        """
        keyring = self._signatures.keyring
        return keyring.problem_of(number) if keyring is not None and number else ""

    def is_applied(self, source: Source) -> bool:
        """Return whether a configuration's entry was installed before, see `apply`. Blocks."""
        return self._applied(source) is not None

    def remember(self, source: Source, plugin: str, digest: str) -> None:
        """Write down that a configuration's entry was installed, see `apply`. Blocks."""
        self.store.remember(plugin, source.entry, digest)

    def _applied(self, source: Source) -> InstalledPlugin | None:
        found = self.store.configured(source.entry)
        if found is None:
            return None
        plugin, digest = found
        if source.path is not None:
            try:
                if _digest_of(source.path)[0] != digest:
                    return None
            except OSError:
                return None  # the installation will report what is wrong with it
        wanted = self.store.home(plugin.home.name).find(digest)
        if wanted is None:
            return None  # removed just now
        _log.info("%s: %s", source.shown, _state_of(plugin, wanted))
        return plugin

    def discover(self) -> list[InstalledPlugin]:
        """List the installed plugins by name, after cleaning up what a killed host left.

        Blocks on the disk, and possibly on the last step of an installation: call it in a thread
        if a loop is running. A directory that cannot be used is listed with its `problem`.

        Raises:
            InstallError: The directory exists but cannot be read.
        """
        found = self.store.installed()
        self._sweep_parts()
        return found

    def _sweep_parts(self) -> None:
        """Remove interrupted downloads that are too old or worth nothing; rarely are there any."""
        try:
            if not self.store.partial.is_dir() or not any(self.store.partial.iterdir()):
                return
            # Imported here because it imports what only downloads need.
            from vconnect.packages.fetching.partial import Parts

            Parts(self.store.partial, self._limits.packed_bytes).sweep()
        except OSError as error:
            _log.warning("%s: old downloads cannot be removed: %s", self.store.partial, error)

    def _find_stored(self, source: Source, signing: Signing) -> _Found | None:
        """Return a local package, or one of an index, if the store has it. Blocks."""
        if source.path is None:
            is_known = source.wanted is not None and source.sha256
            return self._stored(source.sha256, signing) if is_known else None
        try:
            digest, _ = _digest_of(source.path)
        except OSError:
            # Unpacking will report what is wrong with a file; what was sent may have been installed
            # since, and have made room for others.
            return self._stored(source.sha256, signing) if source.is_sent else None
        check_digest(source, digest)
        return self._stored(digest, signing)

    def _stored(self, digest: str, signing: Signing) -> _Found | None:
        """Return the package with this digest if the store has it, unchanged."""
        plugin = self.store.with_digest(digest)
        if plugin is None:
            return None
        version = self.store.home(plugin.home.name).find(digest)
        if version is None or not is_sound(version):
            return None  # changed by hand: it is unpacked again
        manifest = read_manifest_if_any(version.package / MANIFEST_NAME)
        self.store.check_locked(plugin.home.name, version.version, digest, manifest)
        signing.check_stored(version.name, version.signer)
        offer = Offer(plugin.home.name, version.version, digest, manifest=manifest, is_stored=True)
        granted = offer.asked if version.granted is None else version.granted
        return _Found(offer._replace(granted=granted))

    def _examine(
        self,
        source: Source,
        fetched: Fetched,
        signing: Signing,
        signed: Found,
        staging: Staging,
        stop: threading.Event,
    ) -> _Found:
        """Unpack and check a package. Blocks."""
        origin, archive = source.shown, fetched.path
        try:
            # Of a download, it was computed while it arrived.
            digest, size = fetched.sha256, fetched.size
            if not digest:
                digest, size = _digest_of(archive)
        except OSError as error:
            raise InstallError(f"{origin}: cannot be read: {error.strerror}") from error
        check_digest(source, digest)
        if stored := self._stored(digest, signing):
            return stored
        signer = signing.verify(archive, digest, signed.signature, signed.why_none)
        unpacked = unpack(archive, staging.path / "package", self._limits, origin=origin, stop=stop)
        # What was unpacked must be what was digested; another user's file may change meanwhile.
        if _digest_of(archive)[0] != digest:
            raise InstallError(f"{origin}: was changed while it was read; try again")
        manifest = unpacked.manifest
        self._check_manifest(manifest, unpacked.path, origin)
        need = find_need(unpacked.path)  # before anything is asked about it
        self.store.check_locked(manifest.plugin, manifest.version, digest, manifest)
        before = self.store.signer_before(manifest.plugin)
        receipt = Receipt(
            signer=signing.confirm(signer, manifest.plugin, manifest.version, digest, before),
            name=manifest.plugin,
            version=manifest.version,
            sha256=digest,
            size=size,
            source=origin,
            requested=source.wanted.text if source.wanted is not None else "",
            index=source.wanted.index if source.wanted is not None else "",
            time=time.time(),
            platforms=source.wanted.files if source.wanted is not None else {},
        )
        offer = Offer(manifest.plugin, manifest.version, digest, size=size, manifest=manifest)
        return _Found(offer, unpacked.path, receipt, need)

    def _put(
        self, source: Source, found: _Found, environment: Path | None, stop: threading.Event
    ) -> InstalledPlugin:
        """Make a package the current or the next version. Blocks."""
        offer = found.offer
        if found.package is None or found.receipt is None:
            return self._choose(source, offer, stop)
        plugin = self.store.commit(found.package, found.receipt, stop, environment)
        _log.info("installed %s %s%s", plugin.name, offer.version, _waits(plugin))
        return plugin

    def _choose(self, source: Source, offer: Offer, stop: threading.Event) -> InstalledPlugin:
        """Make a version that is in the store the current or the next one."""
        plugin = self.store.with_digest(offer.digest)
        is_current = (
            plugin is not None and plugin.next is None and _is_current(plugin, offer.digest)
        )
        if plugin is not None and is_current:
            _log.info("%s: %s is installed already", source.shown, _shown(plugin))
            self.store.lock(offer.plugin)
            return plugin
        plugin = self.store.choose(offer.plugin, offer.digest, stop)
        if plugin is None:
            raise InstallError(f"{source.shown}: was just removed from the store; try again")
        _log.info("%s: is in the store already; %s", source.shown, _outcome(plugin))
        return plugin

    def _check_manifest(self, manifest: Manifest, package: Path, origin: str) -> None:
        """Refuse a package that cannot run here, before it replaces one that can."""
        check_host_version(manifest, host_version(), origin)
        if problem := problem_of_interfaces(
            self._interfaces, manifest.interfaces, is_required=self._require_interface
        ):
            raise InstallError(f"{origin}: {problem}")
        if problem := problem_of_platform(manifest):
            raise InstallError(f"{origin}: {problem}")
        self._check_names(manifest, origin)
        check_contents(manifest, package, origin)

    def _check_names(self, manifest: Manifest, origin: str) -> None:
        """Refuse a name that means another plugin."""
        if found := self.store.owner_of(manifest.names, besides=manifest.plugin):
            name, home = found
            raise InstallError(
                f"{origin}: {MANIFEST_NAME} gives the name {name!r}, which the plugin in {home} "
                "has; use another name and plugin_no, or remove that plugin"
            )


def environments_of(settings: Settings) -> EnvironmentSettings:
    """Return what a host with these settings wants of environments."""
    cache = PluginStore(Path(settings.plugin_dir)).wheel_cache
    return EnvironmentSettings.of(settings, cache)


def _digest_of(archive: Path) -> tuple[str, int]:
    """Return the sha256 and the size of a regular file."""
    # O_NONBLOCK, because opening a FIFO would wait for a writer.
    descriptor = os.open(archive, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "", 0
        return digest_of(descriptor), status.st_size
    finally:
        os.close(descriptor)


def _is_current(plugin: InstalledPlugin, digest: str) -> bool:
    return plugin.current is not None and plugin.current.digest == digest


def _shown(plugin: InstalledPlugin) -> str:
    version = plugin.current.version if plugin.current is not None else ""
    return f"{plugin.name} {version}".rstrip()


def _state_of(plugin: InstalledPlugin, wanted: InstalledVersion) -> str:
    """Say what became of a version that the configuration names."""
    if plugin.current == wanted:
        return f"{_shown(plugin)} is installed already"
    if plugin.next == wanted:
        return f"the next start of {plugin.name} tries {wanted.version}"
    entry = PluginHome(plugin.home).record().last(wanted.digest)
    if entry is not None and entry.result == "failed":
        return (
            f"{plugin.name} {wanted.version} has failed its first start ({entry.reason}), and is "
            f"not tried again; {_shown(plugin)} is current"
        )
    return f"{_shown(plugin)} is current, the configuration says {wanted.version}"


def _outcome(plugin: InstalledPlugin) -> str:
    if plugin.next is not None:
        return f"the next start of {plugin.name} tries {plugin.next.version}"
    return f"{_shown(plugin)} is current"


def _waits(plugin: InstalledPlugin) -> str:
    return "; the next start tries it" if plugin.next is not None else ""
