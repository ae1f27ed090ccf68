"""Makes sure that the environment of a version can be used, before the version is started."""

# The interpreter may have been replaced since: a minor upgrade changes nothing, another version
# needs another environment, which is made anew from the wheels in the package. A start only
# compares what the file system says, and runs nothing.

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from vconnect.durable import replace_file
from vconnect.errors import InstallError
from vconnect.removal import remove_tree
from vconnect.threads import in_thread

from .build import (
    ENVIRONMENT,
    EnvironmentSettings,
    Needed,
    build,
    find_need,
    read_facts,
    write_facts,
)
from .declared import Declared, read_declared
from .locked import LOCK, WHEELS, Locked, parse_lock, write_lock
from .python import ask_python, choose_python, stamp_of
from .resolve import Wanted, resolve

_log = logging.getLogger(__name__)

_DEV = "dev-env"
_KEPT = 3  # of each plugin from source: the one that runs, the next one, and one to go back to


class Environment(msgspec.Struct, frozen=True):
    """An environment that can be used.

    Attributes:
        path: Its directory.
        readable: What a sandbox must let a plugin read.
    """

    path: Path
    readable: tuple[Path, ...]

    @property
    def programs(self) -> Path:
        """The directory of its Python and of its scripts."""
        return self.path / "bin"


class Keeper:
    """The environments of a host's plugins.

    Args:
        settings: Returns what the operator has said about environments.
        python_of: Returns the operator's choice of an interpreter for a plugin; empty for none.
        state_dir: Where the environments of plugins from source are.
    """

    def __init__(
        self,
        settings: Callable[[], EnvironmentSettings],
        python_of: Callable[[str], str],
        state_dir: Path,
    ) -> None:
        self._settings = settings
        self._python_of = python_of
        self._state_dir = state_dir
        # Why an environment could not be made, by its directory; until a start has reported it.
        self._broken: dict[Path, str] = {}

    # Installed versions.

    def is_ready(self, version: Path, package: Path) -> bool:
        """Return whether a version can be started, or its failure reported. Blocks briefly.

        Args:
            version: The directory of the version.
            package: The directory of its files.
        """
        if version / ENVIRONMENT in self._broken:
            return True
        try:
            facts = read_facts(version / ENVIRONMENT)
        except InstallError:
            return False
        if facts is None:
            return not (package / LOCK).is_file()
        return facts.is_current

    async def prepare(self, plugin: str, version: Path, package: Path) -> None:
        """Bring the environment of a version up to date. What fails is told by `of`.

        Args:
            plugin: The plugin's name.
            version: The directory of the version.
            package: The directory of its files.
        """
        environment = version / ENVIRONMENT
        if await in_thread(None, self.is_ready, version, package):
            return
        try:
            if not await self._confirm(environment):
                await self._rebuild(plugin, version, package)
        except InstallError as error:
            self._broken[environment] = str(error)

    def of(self, version: Path) -> Environment | None:
        """Return the environment of a version, if it has one. Blocks for a moment.

        Raises:
            InstallError: It cannot be used, and could not be made anew.
        """
        return self._usable(version / ENVIRONMENT)

    async def _confirm(self, environment: Path) -> bool:
        """Return whether an interpreter is still of the same version; then its stamp is renewed."""
        try:
            facts = await in_thread(None, read_facts, environment)
            if facts is None:
                return False  # it was removed by hand
            now = await ask_python(facts.python.executable)
        except InstallError:
            return False
        stamp = stamp_of(now.executable)
        if stamp is None or (now.tag, now.abi) != (facts.python.tag, facts.python.abi):
            return False
        facts = msgspec.structs.replace(facts, python=now, stamp=stamp)
        await in_thread(None, write_facts, environment, facts)
        return True

    async def _rebuild(self, plugin: str, version: Path, package: Path) -> None:
        need = await in_thread(None, find_need, package)
        if need is None:
            raise InstallError(f"{package / LOCK} is missing")
        _log.info(
            "plugin %s: making its environment anew, because it is lost or its Python has changed",
            plugin,
        )
        new, final = version / f".{ENVIRONMENT}-{os.getpid()}", version / ENVIRONMENT
        own = self._python_of(plugin)
        await build(need, new, final, self._settings(), own_python=own)
        await in_thread(None, _exchange, new, final)

    def _usable(self, environment: Path) -> Environment | None:
        if problem := self._broken.pop(environment, ""):
            raise InstallError(f"its environment cannot be used: {problem}")
        facts = read_facts(environment)
        if facts is None:
            return None
        return Environment(environment, (environment, Path(facts.python.prefix)))

    # Plugins from source.

    def of_source(self, plugin: str, source: Path) -> Environment | None:
        """Return the environment of a plugin from source, if it has one. Blocks for a moment.

        Raises:
            InstallError: It could not be made; the text has the resolver's words.
        """
        if (own := find_own(source)) is not None:
            return own
        place = self._place_of(plugin, source)
        return self._usable(place) if place is not None else None

    def is_source_ready(self, plugin: str, source: Path) -> bool:
        """Return whether a plugin from source can be started; see `is_ready`. Blocks briefly."""
        if find_own(source) is not None:
            return True
        try:
            place = self._place_of(plugin, source)
        except InstallError:
            return True  # the start reports it
        return place is None or place in self._broken or self._is_there(place)

    async def prepare_source(self, plugin: str, source: Path) -> None:
        """Make the environment of a plugin from source; see `prepare`."""
        place = await in_thread(None, self._place_of, plugin, source)
        if place is None or await in_thread(None, self._is_there, place):
            return
        _log.info("plugin %s: making an environment for its dependencies", plugin)
        try:
            await self._build_source(plugin, source, place)
        except InstallError as error:
            self._broken[place] = str(error)

    async def _build_source(self, plugin: str, source: Path, place: Path) -> None:
        settings, own = self._settings(), self._python_of(plugin)
        scratch = place.with_name(f".{place.name}-{os.getpid()}")
        await in_thread(None, _start_anew, scratch)
        try:
            need = await in_thread(None, find_need, source)
            if need is None:
                declared = await in_thread(None, read_declared, source)
                assert declared is not None, "it has a place"
                declared.check_sdk()
                lock_file = scratch / "requirements.lock"
                lock = await _lock_for(declared, source, lock_file, settings, own)
                need = Needed(declared, lock, lock_file, source / WHEELS)
            new = scratch / ENVIRONMENT
            await build(need, new, place, settings, own_python=own)
            await in_thread(None, _exchange, new, place)
        finally:
            await in_thread(None, remove_tree, scratch)
        await in_thread(None, _sweep, place)

    def _place_of(self, plugin: str, source: Path) -> Path | None:
        """Return where the environment of a plugin from source is, or would be."""
        declared = read_declared(source)
        if declared is None:
            return None
        if not (self._settings().index or (source / WHEELS).is_dir()):
            return None  # they are taken from the host's Python, as without an environment
        lock = (source / LOCK).read_bytes() if (source / LOCK).is_file() else b""
        digest = declared.digest[:12] + _short(lock + self._python_of(plugin).encode())
        return self._state_dir / _DEV / f"{plugin}-{digest}"

    def _is_there(self, place: Path) -> bool:
        try:
            facts = read_facts(place)
        except InstallError:
            return False
        return facts is not None and facts.is_current


def find_own(source: Path) -> Environment | None:
    """Return the environment that an author has made in a source directory, with vconnect in it."""
    own = source / ".venv"
    if not os.access(own / "bin" / "python", os.X_OK):
        return None
    sites = own.glob("lib/python*/site-packages/vconnect-*.dist-info")
    if next(iter(sites), None) is None:
        return None
    return Environment(own, (own, Path((own / "bin" / "python").resolve()).parents[1]))


async def _lock_for(
    declared: Declared, source: Path, lock_file: Path, settings: EnvironmentSettings, own: str
) -> Locked:
    """Lock what a plugin from source declares, as `pack --lock` does, but beside it."""
    wheels = source / WHEELS
    wanted = Wanted(
        directories=(wheels,) if wheels.is_dir() else (),
        index=settings.index,
        is_offline=not settings.index,
    )
    python = await choose_python(declared, own, settings.python)
    text = write_lock(declared, await resolve(declared, wanted, executable=python.executable))
    await in_thread(None, replace_file, lock_file, text.encode())
    return parse_lock(text)


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _start_anew(directory: Path) -> None:
    remove_tree(directory)
    _make_private(directory)


def _exchange(new: Path, final: Path) -> None:
    """Put an environment in the place of another one. What runs in the old one goes on."""
    old = final.with_name(f".{final.name}-old-{os.getpid()}")
    if final.exists():
        final.rename(old)
    new.rename(final)
    remove_tree(old)


def _sweep(place: Path) -> None:
    """Remove the older environments of a plugin from source."""
    name = place.name.rpartition("-")[0]
    found = [one for one in place.parent.glob(f"{name}-*") if one.name.rpartition("-")[0] == name]
    for old in sorted(found, key=lambda one: one.stat().st_mtime_ns, reverse=True)[_KEPT:]:
        if old != place:
            remove_tree(old)


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
