"""The layout of ``plugin_dir``, and the only code that changes it.

::

    plugin_dir/
        example/                the installed version of the plugin "example"
        .vconnect/
            lock                held while plugin_dir is changed
            data/, run/         private directories of plugins; see `vconnect.processes.directories`
            staging-XXXX/       an installation in progress, locked by it
            replaced-example/   the old version, if directories cannot be swapped atomically

A version is assembled in a staging directory on the same file system and synced to disk; then one
rename installs it. A process that is killed at any moment leaves the old version or the new one.
Anything else that it leaves is recognized by the lock that was released with its death, and removed
by the next process.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from vconnect.durable import sync
from vconnect.errors import InstallError, ManifestError, PluginStartError
from vconnect.names import NAME_RULE, canonical_name, is_valid_name

from .command import production_command
from .manifest import MANIFEST_NAME, Manifest, read_manifest
from .swap import exchange

_PRIVATE = ".vconnect"
_LOCK = "lock"
_STAGING_PREFIX = "staging-"
_REPLACED_PREFIX = "replaced-"
# An installation holds the lock only for its last step, so this is plenty. Seconds.
_LOCK_TIMEOUT_S = 60.0
_LOCK_POLL_S = 0.02

_log = logging.getLogger(__name__)


class InstalledPlugin(msgspec.Struct, frozen=True):
    """A directory in ``plugin_dir``.

    Attributes:
        name: The canonical name, from the directory's name.
        path: The directory.
        manifest: Its manifest; ``None`` if it has none (like packages of the original host) or an
            invalid one.
        problem: Why it cannot be used; empty if it can.
    """

    name: str
    path: Path
    manifest: Manifest | None = None
    problem: str = ""


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
        with self._store.changing(self._stop):
            private = self._store.private
            self.path = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=private))
            # Locked while the store's lock is held, so that no sweep can find it unlocked.
            self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove the directory and everything in it."""
        if self._lock < 0:
            return
        try:
            _remove(self.path)
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

    Attributes:
        plugin_dir: The directory, absolute, with ``~`` expanded.
        private: The directory in which installations are prepared.
    """

    def __init__(self, plugin_dir: Path) -> None:
        self.plugin_dir = plugin_dir.expanduser().absolute()
        self.private = self.plugin_dir / _PRIVATE

    def installed(self) -> list[InstalledPlugin]:
        """List the plugins by name, including those that cannot be used.

        Raises:
            InstallError: ``plugin_dir`` exists but cannot be read.
        """
        if not self.plugin_dir.exists():
            return []
        self._recover()
        try:
            directories = [path for path in self.plugin_dir.iterdir() if _may_be_plugin(path)]
        except OSError as error:
            raise _unusable(self.plugin_dir, "read", error) from error
        return _without_twins([_inspect(path) for path in sorted(directories)])

    def staging(self, stop: threading.Event | None = None) -> Staging:
        """Return a private directory for one installation, which the caller opens and closes."""
        return Staging(self, stop)

    def commit(
        self, package: Path, manifest: Manifest, stop: threading.Event | None = None
    ) -> InstalledPlugin:
        """Install a prepared version, in one step.

        Args:
            package: The directory with the version, inside an open `Staging`.
            manifest: Its manifest.
            stop: Set by another thread to cancel; has no effect once the step is taken.

        Raises:
            InstallError: Another directory belongs to the same plugin, or writing failed.
        """
        plugin = manifest.plugin
        target = self.plugin_dir / plugin
        # Synced before the lock is taken: this takes the longest, and needs no lock.
        try:
            _sync_tree(package)
        except OSError as error:
            raise _unusable(self.plugin_dir, "written", error) from error
        with self.changing(stop):
            # Under the lock, or two installations could both find the name free.
            self._check_free(plugin)
            if os.path.lexists(target):
                self._replace(target, package)
            else:
                package.rename(target)
            sync(self.plugin_dir)
        return InstalledPlugin(plugin, target, manifest)

    @contextmanager
    def changing(self, stop: threading.Event | None = None) -> Iterator[None]:
        """Hold the lock of ``plugin_dir``, after cleaning up what killed processes left.

        Raises:
            InstallError: The directory cannot be written, or the lock was not released in time.
        """
        try:
            self.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.private / _LOCK, stop):
                self._sweep()
                yield
        except OSError as error:
            raise _unusable(self.plugin_dir, "written", error) from error

    def _replace(self, target: Path, package: Path) -> None:
        """Replace ``target`` with ``package``, and remove the old version."""
        if exchange(package, target):
            return  # the old version is now in the staging directory, which is removed
        # Two renames, with a moment in between without the plugin: `_settle` covers a kill then.
        old = self.private / f"{_REPLACED_PREFIX}{target.name}"
        target.rename(old)
        package.rename(target)
        sync(self.plugin_dir)
        _remove(old)

    def _check_free(self, plugin: str) -> None:
        """Refuse a plugin for which, perhaps only on some file systems, a directory exists."""
        for path in self.plugin_dir.iterdir():
            if path.name == plugin:
                if not path.is_dir():
                    raise InstallError(f"{path} is not a directory; remove it")
            elif _may_be_plugin(path) and _same_plugin(path.name, plugin):
                raise InstallError(
                    f"{plugin!r} cannot be installed beside {path}: the names differ only by "
                    "case or prefix; remove or rename that directory"
                )

    def _recover(self) -> None:
        """Clean up the directory before it is read, if it can be written."""
        # Nothing was ever installed here by vconnect, so there is nothing to clean up.
        if not self.private.is_dir():
            return
        try:
            with self.changing():
                pass
        except InstallError as error:
            _log.warning("%s; listing the plugins without cleaning up", error)

    def _sweep(self) -> None:
        """Undo or complete what was interrupted. The caller holds the lock."""
        for path in self.private.iterdir():
            if path.name.startswith(_REPLACED_PREFIX):
                self._settle(path)
            elif path.name.startswith(_STAGING_PREFIX) and _is_dead(path):
                _remove(path)

    def _settle(self, old: Path) -> None:
        """Put back the old version if it is the only one, else remove it; see `_replace`."""
        target = self.plugin_dir / old.name.removeprefix(_REPLACED_PREFIX)
        if os.path.lexists(target):
            _remove(old)
        else:
            old.rename(target)
            sync(self.plugin_dir)


@contextmanager
def _locked(path: Path, stop: threading.Event | None) -> Iterator[None]:
    """Hold the lock file. The kernel releases the lock when the process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(descriptor, path, stop or threading.Event())
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: Path, stop: threading.Event) -> None:
    # Polled, because a blocking flock() cannot be cancelled.
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while not _try_lock(descriptor):
        if stop.wait(_LOCK_POLL_S):
            raise InstallError(f"{path}: the installation was cancelled")
        if time.monotonic() > deadline:
            raise InstallError(
                f"{path}: another process has held this lock for {_LOCK_TIMEOUT_S:.0f} s; "
                "to see which, use: fuser " + str(path)
            )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_dead(staging: Path) -> bool:
    """Return whether an installation is over: one in progress holds the lock of its directory."""
    if staging.is_symlink() or not staging.is_dir():
        return True  # not created by us, but in our directory
    try:
        descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # just removed by its installation
    try:
        return _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a tree, or a link to one, even if something else is removing it."""
    with suppress(FileNotFoundError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)


def _sync_tree(directory: Path) -> None:
    """Sync a tree to disk, contents before names."""
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            sync(Path(parent, name))
        sync(Path(parent))


def _may_be_plugin(path: Path) -> bool:
    # Hidden directories are ours or a tool's, such as `.git`.
    return not path.name.startswith(".") and path.is_dir()


def _same_plugin(directory: str, plugin: str) -> bool:
    return canonical_name(directory).casefold() == plugin.casefold()


def _inspect(path: Path) -> InstalledPlugin:
    name = canonical_name(path.name)
    if not is_valid_name(name):
        problem = f"{path}: the directory's name is not a valid plugin name; expected {NAME_RULE}"
        return InstalledPlugin(name, path, None, problem)
    try:
        # A dangling link is an error to report, not a missing manifest; hence lexists.
        if os.path.lexists(path / MANIFEST_NAME):
            return InstalledPlugin(name, path, read_manifest(path / MANIFEST_NAME))
        production_command(name, path, None)
    except (ManifestError, OSError) as error:
        return InstalledPlugin(name, path, None, str(error))
    except PluginStartError as error:
        return InstalledPlugin(name, path, None, f"no {MANIFEST_NAME}, and {error.message}")
    return InstalledPlugin(name, path)


def _without_twins(plugins: list[InstalledPlugin]) -> list[InstalledPlugin]:
    """Sort by name. Of several directories for one plugin, only the first can be used."""
    first: dict[str, InstalledPlugin] = {}
    listed = []
    for plugin in sorted(plugins, key=lambda plugin: (plugin.name, plugin.path.name)):
        known = first.setdefault(plugin.name, plugin)
        if known is not plugin and not plugin.problem:
            problem = f"{plugin.path} and {known.path} are the same plugin; remove one of them"
            plugin = InstalledPlugin(plugin.name, plugin.path, plugin.manifest, problem)
        listed.append(plugin)
    return listed


def _unusable(path: Path, verb: str, error: OSError) -> InstallError:
    return InstallError(f"{path}: cannot be {verb}: {error.strerror or error}")
