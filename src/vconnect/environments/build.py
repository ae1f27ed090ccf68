"""Makes the environment of one version of a plugin."""

# It is made beside the package in a staging directory, and moved into place with it, so that a
# process that is killed leaves a version with its environment or none. Its scripts and its compiled
# files name the place where it will be.

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from vconnect.durable import replace_file, sync
from vconnect.errors import InstallError
from vconnect.removal import remove_tree
from vconnect.settings.model import Settings
from vconnect.threads import in_thread
from vconnect.version import host_version

from .declared import SDK, Declared, read_declared
from .installs import Origin, install_wheels, tool_environment
from .kit import LIBRARIES, check_libraries, copy_kit, is_for
from .locked import LOCK, WHEELS, Locked, check_lock, read_lock
from .python import Python, Stamp, choose_python, stamp_of
from .records import (
    CacheChangedError,
    check_records,
    find_wheels,
    sha256_of,
    unpacked_size,
)
from .tools import run_tool

# Without `site`, so that no `.pth` file of a library is run. Some library has files for another
# version of Python, which cannot be compiled and need not be.
_COMPILE = """
import compileall, sys
site, here, final = sys.argv[1:]
compileall.compile_dir(site, quiet=2, stripdir=here, prependdir=final)
"""

_log = logging.getLogger(__name__)

#: The directory of an environment, beside the package's files.
ENVIRONMENT = "env"
#: What is known of an environment; in it.
FACTS = "vconnect.json"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment was made from.

    Attributes:
        python: The interpreter.
        stamp: What told it from others.
        host: The version of vconnect whose kit is in it.
        digest: What tells its files from others, see `digest_of_files`.
    """

    python: Python
    stamp: Stamp
    host: str = ""
    digest: str = ""

    @property
    def is_current(self) -> bool:
        """Whether the interpreter is still the same. Blocks for a moment."""
        return stamp_of(self.python.executable) == self.stamp


class EnvironmentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator has said about environments.

    Attributes:
        python: The interpreter for plugins that the host's own does not fit.
        index: The address of a package index; empty to ask none.
        sdk_wheels: A directory of wheels with the kit for other versions of Python.
        cache: The cache of wheels, on the file system of the plugins.
        max_bytes: How large an environment may be.
    """

    python: str = ""
    index: str = ""
    sdk_wheels: str = ""
    cache: Path
    max_bytes: int

    @classmethod
    def of(cls, settings: Settings, cache: Path) -> EnvironmentSettings:
        """Return what the settings of a host say."""
        return cls(
            python=settings.python or "",
            index=settings.python_index,
            sdk_wheels=settings.python_sdk_wheels or "",
            cache=cache,
            max_bytes=settings.max_package_bytes,
        )


class Needed(msgspec.Struct, frozen=True):
    """What an environment is made from.

    Attributes:
        declared: What is declared; ``None`` if only the lock file is there.
        lock: The contents of the lock file.
        lock_file: The lock file.
        wheels: The directory of the wheels in the package, which need not exist.
    """

    declared: Declared | None
    lock: Locked
    lock_file: Path
    wheels: Path


def find_need(package: Path) -> Needed | None:
    """Find out whether a package needs an environment. Blocks.

    Raises:
        InstallError: What it declares cannot be used, or is not what its lock file was made from.
    """
    lock = read_lock(package)
    if lock is None:
        return None
    declared = read_declared(package)
    if declared is not None:
        check_lock(declared, lock)
        declared.check_sdk()
    check_libraries(lock)
    return Needed(declared, lock, package / LOCK, package / WHEELS)


async def build(
    needed: Needed,
    target: Path,
    final: Path,
    settings: EnvironmentSettings,
    *,
    own_python: str = "",
    uv: str | None = None,
) -> None:
    """Make an environment.

    Args:
        needed: What it is made from.
        target: Where to make it; the directory above is used for temporary files.
        final: Where it will be.
        settings: What the operator has said.
        own_python: The operator's choice of an interpreter for this plugin; empty for none.
        uv: See `install_wheels`.

    Raises:
        InstallError: It cannot be made; nothing of it is left.
    """
    stop = threading.Event()
    scratch = target.with_name(f"{target.name}-scratch")
    try:
        await in_thread(stop, scratch.mkdir, exist_ok=True)
        try:
            await _build(needed, target, final, settings, scratch, stop, own_python, uv)
        except CacheChangedError as error:
            # Somebody has changed a file of an environment, which is the cache's file too.
            _log.error("%s; it is removed, and made anew", error)
            await in_thread(stop, remove_tree, target)
            await in_thread(stop, remove_tree, settings.cache)
            await _build(needed, target, final, settings, scratch, stop, own_python, uv)
    except BaseException as error:
        await in_thread(None, remove_tree, target)
        if isinstance(error, OSError):
            words = error.strerror or _first_of(error)
            raise InstallError(f"its environment cannot be made: {words}") from error
        raise
    finally:
        await in_thread(None, remove_tree, scratch)
        await in_thread(None, _bound, settings.cache, settings.max_bytes)


def _first_of(error: OSError) -> str:
    """Return the first of the errors that copying a tree has collected."""
    copies = error.args[0] if error.args else ""
    return str(copies[0][-1]) if isinstance(copies, list) and copies else str(error)


async def _build(
    needed: Needed,
    target: Path,
    final: Path,
    settings: EnvironmentSettings,
    scratch: Path,
    stop: threading.Event,
    own_python: str,
    uv: str | None,
) -> None:
    python = await choose_python(needed.declared, own_python, settings.python)
    environment = tool_environment(scratch, settings.cache)
    venv = [python.executable, "-I", "-m", "venv", "--without-pip", str(target)]
    await run_tool("making the environment", venv, environment, scratch)
    site = target / python.library
    wheels = await in_thread(stop, _wheels_of, needed, settings.max_bytes)
    shelves = await in_thread(stop, _shelve, wheels, settings.cache)
    origin = Origin(directories=tuple(shelves), index=settings.index)
    wanted = ["--require-hashes", "-r", str(needed.lock_file)]
    await install_wheels(wanted, site, python, origin, scratch, settings.cache, uv=uv)
    await in_thread(stop, check_records, site, wheels)
    kits = Origin(directories=_directories(needed, settings))
    await _add_kit(needed, site, python, kits, scratch, settings.cache, uv)
    compiled = [python.executable, "-I", "-S", "-c", _COMPILE, str(site), str(target), str(final)]
    await run_tool("compiling the dependencies", compiled, environment, scratch)
    await in_thread(stop, _finish, target, final, site, python)


def _wheels_of(needed: Needed, max_bytes: int) -> list[Path]:
    """Find the wheels in the package, and refuse those that would fill the disk. Blocks."""
    wheels = list(find_wheels([needed.wheels], needed.lock))
    if (size := unpacked_size(wheels)) > max_bytes:
        raise InstallError(
            f"its dependencies have {size} bytes; the limit is {max_bytes} (max_package_bytes)"
        )
    return wheels


def _shelve(wheels: Iterable[Path], cache: Path) -> list[Path]:
    """Put wheels where equal ones have the same path, by which uv knows them again. Blocks."""
    shelves = []
    for wheel in wheels:
        shelf = cache / "shelves" / sha256_of(wheel).hex()
        if not (shelf / wheel.name).exists():
            replace_file(shelf / wheel.name, wheel.read_bytes(), 0o444)
        shelves.append(shelf)
    return shelves


def _directories(needed: Needed, settings: EnvironmentSettings) -> tuple[Path, ...]:
    places = [needed.wheels, *([Path(settings.sdk_wheels)] if settings.sdk_wheels else [])]
    return tuple(place for place in places if place.is_dir())


async def _add_kit(
    needed: Needed,
    site: Path,
    python: Python,
    origin: Origin,
    scratch: Path,
    cache: Path,
    uv: str | None,
) -> None:
    """Put vconnect into the environment: the host's own, or a wheel for another Python."""
    there = needed.lock.versions.keys()
    if is_for(python):
        await in_thread(None, copy_kit, site, there)
        return
    wanted = [SDK, *(name for name in LIBRARIES if name not in there)]
    try:
        # Never from an index: whoever has a name there could be anybody.
        await install_wheels(wanted, site, python, origin, scratch, cache, uv=uv)
    except InstallError as error:
        raise InstallError(
            f"its Python is {python.version}, and this host's kit is for another one. Put wheels "
            f"of {', '.join(wanted)} for Python {python.short} into a directory, and name it with "
            f"python_sdk_wheels ({error})"
        ) from None


def _finish(target: Path, final: Path, site: Path, python: Python) -> None:
    """Put scripts where they are found, write the facts, and make all of it read-only. Blocks."""
    _move_scripts(site / "bin", target / "bin", final)
    _rewrite(target / "pyvenv.cfg", str(target), str(final))
    for name in ("activate", "activate.csh", "activate.fish", "Activate.ps1"):
        (target / "bin" / name).unlink(missing_ok=True)
    stamp = stamp_of(python.executable)
    if stamp is None:
        raise InstallError(f"{python.executable} has just been removed")
    _seal(target)
    digest = digest_of_files(target)
    write_facts(target, Facts(python=python, stamp=stamp, host=host_version(), digest=digest))


def _move_scripts(source: Path, target: Path, final: Path) -> None:
    if not source.is_dir():
        return
    own = f"#!{final / 'bin' / 'python'}".encode()
    for script in source.iterdir():
        if script.is_file() and not script.is_symlink():
            data = script.read_bytes()
            first, _, rest = data.partition(b"\n")
            if first.startswith(b"#!") and b"python" in first:
                data = own + b"\n" + rest
            moved = target / script.name
            if not os.path.lexists(moved):  # never over the interpreter
                moved.write_bytes(data)
                moved.chmod(0o755)
    remove_tree(source)


def _rewrite(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def _seal(directory: Path) -> None:
    """Make everything read-only, and sync it to disk."""
    for parent, _, names in os.walk(directory, topdown=False):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o555 if os.access(path, os.X_OK) else 0o444)
                sync(path)
        Path(parent).chmod(0o555)
        sync(Path(parent))
    directory.chmod(0o755)  # a directory that cannot be written cannot be moved, either


def digest_of_files(environment: Path) -> str:
    """Return what tells the files and links of an environment from others. Blocks: all are read.

    Raises:
        OSError: One of them cannot be read.
    """
    digest = hashlib.sha256()
    for parent, directories, names in os.walk(environment):
        directories.sort()
        for name in sorted(
            [*names, *(one for one in directories if Path(parent, one).is_symlink())]
        ):
            path = Path(parent, name)
            if path != environment / FACTS:
                place = str(path.relative_to(environment))
                digest.update(f"{place}\0{_content_of(path)}\0".encode())
    return digest.hexdigest()


def _content_of(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return sha256_of(path).hex()


def problem_of(version: Path, package: Path) -> str:
    """Return how the environment of a version differs from what was made; or empty. Blocks.

    Args:
        version: The directory of the version.
        package: The directory of its files.
    """
    environment = version / ENVIRONMENT
    try:
        facts = read_facts(environment)
        if facts is None:
            return "its environment is missing" if (package / LOCK).is_file() else ""
        same = not facts.digest or digest_of_files(environment) == facts.digest
    except (InstallError, OSError) as error:
        return f"its environment cannot be read: {error}"
    return "" if same else "its environment is not as it was made"


def _bound(cache: Path, max_bytes: int) -> None:
    """Remove a cache if what only it has is more than an environment may be. Blocks."""
    size = 0
    for parent, _, names in os.walk(cache):
        for name in names:
            try:
                status = Path(parent, name).lstat()
            except OSError:
                continue  # removed by another host
            size += status.st_size if status.st_nlink == 1 else 0
    if size > max_bytes:
        _log.info("removing %s: it has %d bytes that no environment uses", cache, size)
        remove_tree(cache)


def write_facts(environment: Path, facts: Facts) -> None:
    """Write what is known of an environment. Blocks.

    Raises:
        OSError: Writing failed; what was there is unchanged.
    """
    replace_file(environment / FACTS, msgspec.json.encode(facts) + b"\n", 0o444)


def read_facts(environment: Path) -> Facts | None:
    """Read what is known of an environment; ``None`` if there is none. Blocks.

    Raises:
        InstallError: It cannot be read.
    """
    try:
        return msgspec.json.decode((environment / FACTS).read_bytes(), type=Facts)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise InstallError(f"{environment / FACTS} cannot be read: {error}") from None
