"""The plugins in ``plugin_dir``, and the only code that changes it; see `layout` for its names.

A version is assembled in a staging directory on the same file system and synced to disk; then one
rename puts it in place. A process that is killed at any moment leaves the old version or the new
one. Anything else that it leaves is recognized by the lock that was released with its death, and
removed or completed by the next process.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from vconnect.durable import make_directories, replace_file, sync, try_lock
from vconnect.environments.build import ENVIRONMENT
from vconnect.errors import ConfigError, InstallError, ManifestError
from vconnect.names import canonical_name
from vconnect.packages.manifest import Manifest
from vconnect.removal import remove_tree
from vconnect.settings.paths import expand_home

from .consent import Before, consent_before
from .home import PluginHome
from .layout import (
    BLOBS,
    CURRENT,
    IN_USE,
    PARTIAL,
    PRIVATE,
    RECORD,
    REPLACED,
    RESERVED_NAMES,
    VERSIONS,
    WHEEL_CACHE,
    InstalledVersion,
    Receipt,
    directory_name,
    find_in_homes,
    is_store_directory,
    read_receipt,
    read_version,
    write_receipt,
)
from .listing import InstalledPlugin, inspect, list_plugins, may_be_plugin
from .lock_file import LockFile, locked_of, platform_of
from .locks import locked
from .plain.migration import migrate, settle
from .record import Configured, Record
from .trees import seal

_STAGING = "staging"
_RECOVERY_PATIENCE_S = 5.0
# Of an older vconnect, directly in the private directory.
_OLD_STAGING_PREFIX = "staging-"

_log = logging.getLogger(__name__)


class Staging:
    """A private directory in which one version is prepared.

    `open` and `close` block; `close` may be called at any time and repeatedly.

    Attributes:
        path: The directory, once it is open.
    """

    def __init__(self, store: PluginStore, stop: threading.Event | None = None) -> None:
        self._store = store
        self._stop = stop
        self._lock = -1
        self.path = Path()

    def open(self) -> None:
        """Create the directory, after removing what killed installations left.

        Raises:
            InstallError: ``plugin_dir`` cannot be written, or its lock cannot be acquired.
        """
        with self._store.locked(self._stop):
            self.path = Path(tempfile.mkdtemp(dir=self._store.private / _STAGING))
            # Locked while the store's lock is held, so that no sweep can find it unlocked.
            self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove the directory and everything in it."""
        if self._lock < 0:
            return
        try:
            remove_tree(self.path)
        finally:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Staging:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PluginStore:
    """The installed plugins. Every method blocks; several processes may use one directory.

    Args:
        plugin_dir: The directory, created when the first package is installed.
        host: The host's plugin socket, for the messages of others that wait; empty for a command.
        lock_file: Where it is written down which packages were meant; ``None`` for nowhere.

    Attributes:
        plugin_dir: The directory, absolute, with ``~`` expanded.
        private: The directory in which installations are prepared.
        partial: The directory of interrupted downloads.
        blobs: The directory of packages that clients have sent.
        wheel_cache: The cache of wheels for the environments of plugins.
    """

    def __init__(self, plugin_dir: Path, host: str = "", lock_file: Path | None = None) -> None:
        self.plugin_dir = expand_home(plugin_dir).absolute()
        self.private = self.plugin_dir / PRIVATE
        self.partial = self.private / PARTIAL
        self.wheel_cache = self.private / WHEEL_CACHE
        self.blobs = self.private / BLOBS
        self.locks = LockFile(lock_file) if lock_file is not None else None
        self._host = host

    def home(self, plugin: str) -> PluginHome:
        """Return the directory of a plugin, which need not exist."""
        return PluginHome(self.plugin_dir / plugin)

    def installed(self) -> list[InstalledPlugin]:
        """List the plugins by name, including those that cannot be used.

        Raises:
            InstallError: ``plugin_dir`` exists but cannot be read.
        """
        if not self.plugin_dir.exists():
            return []
        self._recover()
        try:
            directories = [path for path in self.plugin_dir.iterdir() if may_be_plugin(path)]
        except OSError as error:
            raise _unusable(self.plugin_dir, "read", error) from error
        return list_plugins(directories)

    def owner_of(self, names: set[str], besides: str) -> tuple[str, Path] | None:
        """Find another plugin that has one of some canonical names.

        Args:
            names: The names.
            besides: The plugin that may have them.

        Returns:
            The name, and the directory of the plugin that has it.
        """
        if not self.plugin_dir.is_dir():
            return None
        for home in sorted(filter(may_be_plugin, self.plugin_dir.iterdir())):
            plugin = inspect(home)
            if plugin.name == besides:
                continue
            own = plugin.manifest.names if plugin.manifest is not None else set()
            for name in sorted(names & (own | {plugin.name})):
                return name, home
        return None

    def with_digest(self, digest: str) -> InstalledPlugin | None:
        """Return the plugin that has a version with this digest, current or not."""
        for directory in find_in_homes(self.plugin_dir, f"*/{VERSIONS}/*+{digest[:16]}"):
            home = directory.parent.parent
            if may_be_plugin(home) and PluginHome(home).find(digest) is not None:
                return inspect(home)
        return None

    def configured(self, source: str) -> tuple[InstalledPlugin, str] | None:
        """Return what this host's configuration has installed from a source.

        Returns:
            The plugin, and the digest of the package; ``None`` if the host's configuration has said
            something else of that plugin since, or the version is gone.
        """
        said = (_mark(self._host), _mark(source))
        for file in find_in_homes(self.plugin_dir, f"*/{RECORD}"):
            home = PluginHome(file.parent)
            try:
                entry = home.record().configured.get(said[0])
            except InstallError:
                continue  # of a newer vconnect
            if entry is None or entry.source != said[1] or home.current() is None:
                continue
            if home.find(entry.digest):
                return inspect(home.path), entry.digest
        return None

    def remember(self, plugin: str, source: str, digest: str) -> None:
        """Record that this host's configuration has installed a package from a source.

        A record that cannot be written is a warning: the source is then used again next time.
        """
        home, entry = self.home(plugin), Configured(source=_mark(source), digest=digest)
        try:
            with self.changing(plugin, "an installation"):
                record = home.record()
                configured = {**record.configured, _mark(self._host): entry}
                if configured != record.configured:
                    home.write(msgspec.structs.replace(record, configured=configured))
        except InstallError as error:
            _log.warning("%s", error)

    def consent_before(self, plugin: str) -> Before:
        """Find out which permissions a plugin was granted before.

        Raises:
            ConfigError: The lock file cannot be used.
        """
        locked = self.locks.entries().get(plugin) if self.locks is not None else None
        return consent_before(self.home(plugin).current(), locked)

    def signer_before(self, plugin: str) -> str:
        """Return who has signed what is locked of a plugin, or else its current version.

        Raises:
            ConfigError: The lock file cannot be used.
        """
        locked = self.locks.entries().get(plugin) if self.locks is not None else None
        if locked is not None:
            return locked.signer
        current = self.home(plugin).current()
        return current.signer if current is not None else ""

    def note_source(self, version: InstalledVersion, source: str) -> None:
        """Record where a version was installed from again, for later upgrades.

        A record that cannot be written is a warning: the source before it is used then.
        """
        home = self.home(version.name)
        try:
            known = home.record().sources.get(version.digest)
            if source == (known or read_receipt(version.directory).origin):
                return
            with self.changing(version.name, "an installation"):
                record = home.record()
                there = {one.digest for one in home.all_versions()}
                sources = {key: one for key, one in record.sources.items() if key in there}
                sources[version.digest] = source
                home.write(msgspec.structs.replace(record, sources=sources))
        except InstallError as error:
            _log.warning("%s", error)

    def check_locked(
        self, plugin: str, version: str, digest: str, manifest: Manifest | None
    ) -> None:
        """Refuse a package that is not the one that was locked under its version.

        Raises:
            VerificationError: It is another one.
            ConfigError: The lock file cannot be used.
        """
        if self.locks is not None:
            self.locks.check(plugin, version, digest, platform_of(manifest))

    def check_frozen(
        self, plugin: str, version: str, digest: str, manifest: Manifest | None
    ) -> None:
        """Refuse a package that is not exactly what is locked.

        Raises:
            VerificationError: It is not, or nothing is locked.
            ConfigError: The lock file cannot be used, or there is none.
        """
        if self.locks is None:
            raise ConfigError(
                "this host has no lock file; set lock_file, or start it with --config"
            )
        self.locks.check_frozen(plugin, version, digest, platform_of(manifest))

    def lock(self, plugin: str) -> None:
        """Write down that the current version of a plugin is the one that is meant.

        What is installed already is not undone for this, so a failure is a warning.
        """
        version = self.home(plugin).current()
        if self.locks is None or version is None or version.is_legacy:
            return
        try:
            self.locks.put(locked_of(version))
        except (InstallError, ConfigError, ManifestError, OSError) as error:
            _log.warning("plugin %s is not locked: %s", plugin, error)

    def unlock(self, plugin: str) -> None:
        """Forget what is locked of a plugin that was removed; see `lock`."""
        try:
            if self.locks is not None:
                self.locks.remove(plugin)
        except (InstallError, ConfigError, OSError) as error:
            _log.warning("plugin %s stays in the lock file: %s", plugin, error)

    def staging(self, stop: threading.Event | None = None) -> Staging:
        """Return a private directory for one installation, which the caller opens and closes."""
        return Staging(self, stop)

    def commit(
        self,
        package: Path,
        receipt: Receipt,
        stop: threading.Event | None = None,
        environment: Path | None = None,
    ) -> InstalledPlugin:
        """Install a prepared version.

        The first version of a plugin becomes current. Another one is the next: it becomes current
        once it has been ready.

        Args:
            package: The directory with the package's files, inside an open `Staging`.
            receipt: Its receipt, without what is found out here.
            stop: Set by another thread to cancel; has no effect once the version is in place.
            environment: The directory of its environment, on the same file system.

        Raises:
            InstallError: The name cannot be used, another directory belongs to the same plugin, or
                writing failed.
        """
        plugin = receipt.name
        if plugin in RESERVED_NAMES and not os.path.lexists(self.plugin_dir / plugin):
            raise InstallError(
                f"{plugin!r} cannot be a plugin's name: it is one of "
                f"{', '.join(sorted(RESERVED_NAMES))}"
            )
        home = self.home(plugin)
        # Before any lock is taken: this takes the longest.
        try:
            version, receipt = _complete(package, receipt, environment)
        except OSError as error:
            raise _unusable(self.plugin_dir, "written", error) from error
        with self.changing(plugin, f"the installation of {receipt.version}", stop):
            self._put(home, version, receipt)
            installed = inspect(home.path)
            if installed.next is None:
                self.lock(plugin)
            return installed

    def choose(
        self, plugin: str, digest: str, stop: threading.Event | None = None
    ) -> InstalledPlugin | None:
        """Make a version that is there already the next one; nothing if it is current.

        Returns:
            The plugin; ``None`` if the version has been removed meanwhile.

        Raises:
            InstallError: Writing failed.
        """
        home = self.home(plugin)
        with self.changing(plugin, "an installation", stop):
            version = home.find(digest)
            if version is None:
                return None
            current = home.current()
            if current is None:
                home.switch(version)
                self.lock(plugin)
            else:
                # A version that waited is not wanted any more.
                home.set_next(version if version.digest != current.digest else None)
            return inspect(home.path)

    def grant(self, plugin: str, digest: str, permissions: tuple[str, ...]) -> None:
        """Change the permissions that were granted to a version; its next start has them.

        Raises:
            InstallError: It was removed meanwhile, or writing failed; nothing has changed then.
        """
        with self.changing(plugin, "a change of permissions"):
            version = self.home(plugin).find(digest)
            if version is None:
                raise InstallError(f"{plugin}: was just removed from the store; try again")
            receipt = read_receipt(version.directory)
            write_receipt(version.directory, msgspec.structs.replace(receipt, granted=permissions))

    def uninstall(self, plugin: str, stop: threading.Event | None = None) -> None:
        """Remove a plugin's directory with all of its versions, plain or not.

        It is moved away in one step and then deleted, so a kill leaves all of it or none.

        Raises:
            InstallError: There is none, it cannot be moved, or a lock was not released in time.
        """
        home = self.home(plugin)
        with self.staging(stop) as staging, self.changing(plugin, "the removal", stop):
            if not os.path.lexists(home.path):
                raise InstallError(f"{home.path} is not there")
            with self.locked(stop):
                home.path.rename(staging.path / plugin)
                sync(self.plugin_dir)
            self.unlock(plugin)

    @contextmanager
    def changing(
        self,
        plugin: str,
        operation: str,
        stop: threading.Event | None = None,
        *,
        patience: float | None = None,
    ) -> Iterator[None]:
        """Hold the lock of a plugin, after cleaning up what killed processes left of it.

        Args:
            plugin: The name of its directory.
            operation: What is done, for the messages of others that wait.
            stop: Set by another thread to cancel the waiting.
            patience: How long to wait, in seconds; by default a minute.

        Raises:
            InstallError: The directory cannot be written, or the lock was not released in time.
        """
        try:
            self._make_private()
            file = self.private / "locks" / f"{plugin}.lock"
            holder = f"{operation}\n{self._host}"
            with locked(file, stop, plugin=plugin, holder=holder, patience=patience):
                self._tidy(plugin, stop)
                yield
        except OSError as error:
            raise _unusable(self.plugin_dir, "written", error) from error

    @contextmanager
    def locked(self, stop: threading.Event | None = None) -> Iterator[None]:
        """Hold the lock of the whole directory, after removing abandoned staging directories.

        Raises:
            InstallError: The directory cannot be written, or the lock was not released in time.
        """
        try:
            self._make_private()
            with locked(self.private / "store.lock", stop):
                self._sweep()
                yield
        except OSError as error:
            raise _unusable(self.plugin_dir, "written", error) from error

    def _put(self, home: PluginHome, version: Path, receipt: Receipt) -> None:
        """Put a complete version in place. The caller holds the plugin's lock."""
        path = home.path
        if not is_store_directory(path) and os.path.lexists(path):
            with self.locked():
                self._check_free(path.name)
                migrate(self.private, path, version, sorted(receipt.files))
        elif not os.path.lexists(path):
            whole = _first(version)
            with self.locked():
                # Under the lock, or two installations could both find the name free.
                self._check_free(path.name)
                whole.rename(path)
                sync(self.plugin_dir)
        else:
            with self.locked():
                self._check_free(path.name)
            placed = home.place(version)
            if home.current() is None:
                home.switch(placed)
                home.write(home.record().with_entry(placed, "install", "installed"))
            else:
                home.set_next(placed if placed != home.current() else None)

    def _check_free(self, plugin: str) -> None:
        """Refuse a plugin for which, perhaps only on some file systems, a directory exists."""
        for path in self.plugin_dir.iterdir():
            if path.name == plugin:
                if not path.is_dir():
                    raise InstallError(f"{path} is not a directory; remove it")
            elif may_be_plugin(path) and _same_plugin(path.name, plugin):
                raise InstallError(
                    f"{plugin!r} cannot be installed beside {path}: the names differ only by "
                    "case or prefix; remove or rename that directory"
                )

    def _make_private(self) -> None:
        """Create the directories that are missing."""
        if not self.plugin_dir.exists():
            make_directories(self.plugin_dir)
        for path in (self.private, self.private / "locks", self.private / _STAGING, self.partial):
            path.mkdir(mode=0o700, exist_ok=True)

    def _recover(self) -> None:
        """Clean up the directory before it is read, if that is necessary and possible."""
        # Usually nothing is: then nothing is locked, and the directory may be read-only.
        replaced = [path.name for path in self.private.glob(f"{REPLACED}*")]
        if not replaced and not self._staged():
            return
        try:
            with self.locked():
                pass
            for name in replaced:
                plugin = name.removeprefix(REPLACED)
                # Nobody who is alive takes long from here on.
                with self.changing(plugin, "a recovery", patience=_RECOVERY_PATIENCE_S):
                    pass
        except InstallError as error:
            _log.warning("%s; listing the plugins without cleaning up", error)

    def _staged(self) -> list[Path]:
        old = self.private.glob(f"{_OLD_STAGING_PREFIX}*")
        return [*(self.private / _STAGING).glob("*"), *old]

    def _tidy(self, plugin: str, stop: threading.Event | None) -> None:
        """Complete or undo what was interrupted for one plugin. The caller holds its lock."""
        replaced = self.private / f"{REPLACED}{plugin}"
        if os.path.lexists(replaced):
            with self.locked(stop):
                settle(self.private, replaced)
        self.home(plugin).sweep()

    def _sweep(self) -> None:
        """Remove the staging directories of processes that are gone."""
        for path in self._staged():
            if _is_dead(path):
                remove_tree(path)


def _complete(package: Path, receipt: Receipt, environment: Path | None) -> tuple[Path, Receipt]:
    """Make the directory of a version out of its package, and sync it to disk."""
    name = directory_name(receipt.version, receipt.sha256)
    version = package.parent / "version" / name
    make_directories(version, 0o755)
    version.chmod(0o755)
    package.rename(version / "pkg")
    sealed = seal(version / "pkg")
    if environment is not None:
        environment.rename(version / ENVIRONMENT)
    receipt = msgspec.structs.replace(receipt, files=sealed.files, tree=sealed.digest)
    replace_file(version / IN_USE, b"")
    write_receipt(version, receipt)
    sync(version)
    return version, receipt


def _first(version: Path) -> Path:
    """Make the whole directory of a plugin with its first version, and sync it to disk."""
    whole = version.parent.parent / "whole"
    make_directories(whole / VERSIONS, 0o755)
    whole.chmod(0o700)
    target = whole / VERSIONS / version.name
    version.rename(target)
    (whole / CURRENT).symlink_to(f"{VERSIONS}/{version.name}")
    home = PluginHome(whole)
    home.write(Record().with_entry(read_version(target), "install", "installed"))
    sync(whole / VERSIONS)
    sync(whole)
    return whole


def _is_dead(staging: Path) -> bool:
    """Return whether an installation is over: one in progress holds the lock of its directory."""
    if staging.is_symlink() or not staging.is_dir():
        return True  # not created by us, but in our directory
    try:
        descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # just removed by its installation
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _same_plugin(directory: str, plugin: str) -> bool:
    return canonical_name(directory).casefold() == plugin.casefold()


def _unusable(path: Path, verb: str, error: OSError) -> InstallError:
    # A rename fails for what is in its way, and then that is what has to be looked at.
    return InstallError(f"{error.filename2 or path}: cannot be {verb}: {error.strerror or error}")
