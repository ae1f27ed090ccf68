"""The layout of ``plugin_dir``, and the only way into it.

::

    plugin_dir/
        example/                the installed version of the plugin "example"
        .vconnect/
            lock                held while plugin_dir is changed
            data/, run/         what running plugins have to themselves; see `vconnect.private`
            staging-XXXX/       one installation under way, locked by it
            replaced-example/   the old version, where directories cannot be swapped in one step

A version is made whole, and synced to the disk, in a staging directory on the same file system;
then one rename makes it the installed one. A process that is killed at any moment leaves the old
or the new version. What else it leaves is known by the lock that died with it, and is swept by
the next one that comes.
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
_LOCK_TIMEOUT_S = 60.0
_LOCK_POLL_S = 0.02

_log = logging.getLogger(__name__)


class InstalledPlugin(msgspec.Struct, frozen=True):
    """A directory of ``plugin_dir``.

    Attributes:
        name: Canonical name, from the directory's.
        path: The directory.
        manifest: Its manifest; ``None`` if it has none, as packages of the original host, or
            none that can be read.
        problem: Why it cannot be used, in words; empty if it can.
    """

    name: str
    path: Path
    manifest: Manifest | None = None
    problem: str = ""


class Staging:
    """A private directory in which one version is prepared.

    `open` and `close` block; `close` may be called at any time and more than once.

    Attributes:
        path: The directory, once open.
    """

    def __init__(self, store: PluginStore, stop: threading.Event | None = None) -> None:
        self._store = store
        self._stop = stop
        self._lock = -1
        self.path = Path()

    def open(self) -> None:
        """Make the directory, after sweeping what killed installations left.

        Raises:
            InstallError: ``plugin_dir`` cannot be written, or its lock cannot be had.
        """
        with self._store.changing(self._stop):
            private = self._store.private
            self.path = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=private))
            self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove the directory with whatever is still in it."""
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
        plugin_dir: Made when the first package is installed.

    Attributes:
        plugin_dir: As given, absolute, with ``~`` expanded.
        private: Where installations are prepared.
    """

    def __init__(self, plugin_dir: Path) -> None:
        self.plugin_dir = plugin_dir.expanduser().absolute()
        self.private = self.plugin_dir / _PRIVATE

    def installed(self) -> list[InstalledPlugin]:
        """List the plugins by name, also those that cannot be used.

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
        """Return a private directory for one installation, to be opened and closed."""
        return Staging(self, stop)

    def commit(
        self, package: Path, manifest: Manifest, stop: threading.Event | None = None
    ) -> InstalledPlugin:
        """Make a prepared version the installed one, in one step.

        Args:
            package: The directory with the version, inside an open `Staging`.
            manifest: Its manifest.
            stop: Set by another thread to give up; too late once the step is taken.

        Raises:
            InstallError: Another directory stands for the same plugin, or the disk refuses.
        """
        plugin = manifest.plugin
        target = self.plugin_dir / plugin
        try:
            _sync_tree(package)
        except OSError as error:
            raise _unusable(self.plugin_dir, "written", error) from error
        with self.changing(stop):
            self._check_free(plugin)
            if os.path.lexists(target):
                self._replace(target, package)
            else:
                package.rename(target)
            sync(self.plugin_dir)
        return InstalledPlugin(plugin, target, manifest)

    @contextmanager
    def changing(self, stop: threading.Event | None = None) -> Iterator[None]:
        """Hold the lock of ``plugin_dir``, with everything in order at its beginning.

        Raises:
            InstallError: The directory cannot be written, or the lock cannot be had in time.
        """
        try:
            self.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.private / _LOCK, stop):
                self._sweep()
                yield
        except OSError as error:
            raise _unusable(self.plugin_dir, "written", error) from error

    def _replace(self, target: Path, package: Path) -> None:
        """Put ``package`` in the place of ``target``; the old version goes."""
        if exchange(package, target):
            return  # the old version is in the staging directory now, and goes with it
        old = self.private / f"{_REPLACED_PREFIX}{target.name}"
        target.rename(old)
        package.rename(target)
        sync(self.plugin_dir)
        _remove(old)

    def _check_free(self, plugin: str) -> None:
        """Refuse a plugin that has, or on some file systems would have, another directory."""
        for path in self.plugin_dir.iterdir():
            if path.name == plugin:
                if not path.is_dir():
                    raise InstallError(f"{path} is in the way: not a directory; remove it")
            elif _may_be_plugin(path) and _same_plugin(path.name, plugin):
                raise InstallError(
                    f"{plugin!r} cannot be installed beside {path}: the names differ only by "
                    "case or prefix; remove or rename that directory"
                )

    def _recover(self) -> None:
        """Bring the directory in order before it is read, as far as it can be written."""
        if not self.private.is_dir():
            return
        try:
            with self.changing():
                pass
        except InstallError as error:
            _log.warning("%s; listing the plugins as they are", error)

    def _sweep(self) -> None:
        """Undo or finish what was cut short; the caller holds the lock."""
        for path in self.private.iterdir():
            if path.name.startswith(_REPLACED_PREFIX):
                self._settle(path)
            elif path.name.startswith(_STAGING_PREFIX) and _is_dead(path):
                _remove(path)

    def _settle(self, old: Path) -> None:
        """Between the two renames only the old version exists; after them it is a leftover."""
        target = self.plugin_dir / old.name.removeprefix(_REPLACED_PREFIX)
        if os.path.lexists(target):
            _remove(old)
        else:
            old.rename(target)
            sync(self.plugin_dir)


@contextmanager
def _locked(path: Path, stop: threading.Event | None) -> Iterator[None]:
    """Hold the lock file; the kernel lets go of it when the process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(descriptor, path, stop or threading.Event())
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: Path, stop: threading.Event) -> None:
    # Polled: a blocking flock could not be called off.
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while not _try_lock(descriptor):
        if stop.wait(_LOCK_POLL_S):
            raise InstallError(f"{path}: the installation was called off")
        if time.monotonic() > deadline:
            raise InstallError(
                f"{path}: another process has held this lock for {_LOCK_TIMEOUT_S:.0f} s; "
                "see which with: fuser " + str(path)
            )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_dead(staging: Path) -> bool:
    """Tell whether nobody installs there any more: a living installation holds its lock."""
    if staging.is_symlink() or not staging.is_dir():
        return True  # not one of ours, but in our place
    try:
        descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # its installation has just removed it
    try:
        return _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a tree, or a link to one, that may be going away by itself."""
    with suppress(FileNotFoundError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)


def _sync_tree(directory: Path) -> None:
    """Bring a tree to the disk, contents before names."""
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            sync(Path(parent, name))
        sync(Path(parent))


def _may_be_plugin(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_dir()


def _same_plugin(directory: str, plugin: str) -> bool:
    return canonical_name(directory).casefold() == plugin.casefold()


def _inspect(path: Path) -> InstalledPlugin:
    name = canonical_name(path.name)
    if not is_valid_name(name):
        problem = f"{path}: the directory's name cannot be a plugin's, which is {NAME_RULE}"
        return InstalledPlugin(name, path, None, problem)
    try:
        if os.path.lexists(path / MANIFEST_NAME):
            return InstalledPlugin(name, path, read_manifest(path / MANIFEST_NAME))
        production_command(name, path, None)
    except (ManifestError, OSError) as error:
        return InstalledPlugin(name, path, None, str(error))
    except PluginStartError as error:
        return InstalledPlugin(name, path, None, f"no {MANIFEST_NAME}, and {error.message}")
    return InstalledPlugin(name, path)


def _without_twins(plugins: list[InstalledPlugin]) -> list[InstalledPlugin]:
    """Sort by name; of several directories for one plugin, only the first is good."""
    first: dict[str, InstalledPlugin] = {}
    listed = []
    for plugin in sorted(plugins, key=lambda plugin: (plugin.name, plugin.path.name)):
        known = first.setdefault(plugin.name, plugin)
        if known is not plugin and not plugin.problem:
            problem = f"{plugin.path} and {known.path} are one plugin; remove one of them"
            plugin = InstalledPlugin(plugin.name, plugin.path, plugin.manifest, problem)
        listed.append(plugin)
    return listed


def _unusable(path: Path, verb: str, error: OSError) -> InstallError:
    return InstallError(f"{path}: cannot be {verb}: {error.strerror or error}")
