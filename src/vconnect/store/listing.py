"""What is in ``plugin_dir``, as far as plugins are concerned."""

# A directory is read as it is, no matter who put it there: what cannot be used is listed with its
# reason, so that an operator sees it, and what is not a plugin at all (`lost+found` on a disk of
# its own) is skipped with a line in the log.

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import msgspec

from vconnect.errors import InstallError, ManifestError, PluginStartError
from vconnect.names import NAME_RULE, canonical_name, may_be_named
from vconnect.packages.command import production_command
from vconnect.packages.config_schema.check import check_schema
from vconnect.packages.manifest import MANIFEST_NAME, Manifest, read_manifest

from .home import PluginHome
from .layout import InstalledVersion, current_version, is_store_directory

_log = logging.getLogger(__name__)


class InstalledPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A directory in ``plugin_dir``.

    Attributes:
        name: The canonical name, from the directory's name.
        home: The directory.
        path: The directory of the package's files: that of the current version, or `home` itself
            if that is a plain directory or cannot be used.
        manifest: Its manifest; ``None`` if it has none (like packages of the original host) or an
            invalid one.
        problem: Why it cannot be used; empty if it can.
        conflict: That another directory is the same plugin; or empty.
        current: The current version; ``None`` for a plain directory.
        next: The version that the next start tries, if there is one.
    """

    name: str
    home: Path
    path: Path
    manifest: Manifest | None = None
    problem: str = ""
    conflict: str = ""
    current: InstalledVersion | None = None
    next: InstalledVersion | None = None


class Located(msgspec.Struct, frozen=True):
    """Where the files are that a start uses, looked up once.

    Attributes:
        path: The package directory.
        version: The version; ``None`` for a plain directory.
    """

    path: Path
    version: InstalledVersion | None


def locate(home: Path) -> Located:
    """Find out what a start of a plugin uses now. Blocks for a few small reads.

    Raises:
        InstallError: It has versions, but the current one cannot be used.
    """
    if not is_store_directory(home):
        return Located(home, None)
    version = current_version(home)
    return Located(version.package, version)


def granted_to(manifest: Manifest, version: InstalledVersion | None) -> Manifest:
    """Return the manifest of a version with the permissions that were granted to it."""
    if version is None or version.granted is None:
        return manifest
    allowed = tuple(one for one in manifest.permissions if one in version.granted)
    return msgspec.structs.replace(manifest, permissions=allowed)


def may_be_plugin(path: Path) -> bool:
    """Return whether a path in ``plugin_dir`` is a directory that is not hidden."""
    # Hidden directories are ours or a tool's, such as `.git`.
    return not path.name.startswith(".") and path.is_dir()


def list_plugins(directories: list[Path]) -> list[InstalledPlugin]:
    """Describe the plugins in these directories, by name. Blocks.

    What is not a plugin at all, like ``lost+found``, is left out; the log says so.
    """
    found = []
    for path in sorted(directories):
        if _is_stranger(path):
            _log.info("%s is not a plugin; it is skipped", path)
        else:
            found.append(inspect(path))
    return _without_twins(found)


def inspect(home: Path) -> InstalledPlugin:
    """Describe the plugin in one directory. Blocks."""
    name = canonical_name(home.name)
    if not may_be_named(name):
        problem = f"{home}: the directory's name is not a valid plugin name; expected {NAME_RULE}"
        return InstalledPlugin(name=name, home=home, path=home, problem=problem)
    try:
        located = locate(home)
        waiting = PluginHome(home).next_version() if located.version is not None else None
        if waiting == located.version:
            waiting = None  # it was made current, and that could not be written down
    except InstallError as error:
        return InstalledPlugin(name=name, home=home, path=home, problem=str(error))
    plugin = InstalledPlugin(
        name=name, home=home, path=located.path, current=located.version, next=waiting
    )
    try:
        # A dangling link is an error to report, not a missing manifest; hence lexists.
        if os.path.lexists(plugin.path / MANIFEST_NAME):
            file = plugin.path / MANIFEST_NAME
            manifest = granted_to(read_manifest(file), plugin.current)
            check_schema(manifest.config_schema, str(file))
            return msgspec.structs.replace(plugin, manifest=manifest)
        production_command(name, plugin.path, None)
    except (ManifestError, OSError) as error:
        return msgspec.structs.replace(plugin, problem=str(error))
    except PluginStartError as error:
        problem = f"no {MANIFEST_NAME}, and {error.message}"
        return msgspec.structs.replace(plugin, problem=problem)
    return plugin


def _is_stranger(path: Path) -> bool:
    """Return whether nothing about a directory looks like a plugin: name, manifest, program."""
    if may_be_named(canonical_name(path.name)):
        return False
    try:
        if os.path.lexists(path / MANIFEST_NAME) or is_store_directory(path):
            return False
        return not any(map(_is_program, path.iterdir()))
    except (InstallError, OSError):
        return True  # such as lost+found, which only root may read


def _is_program(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def _without_twins(plugins: list[InstalledPlugin]) -> list[InstalledPlugin]:
    """Sort by name. Of several directories for one plugin, none can be used."""
    # Whichever were chosen, it would be by a name that the author of a package has chosen.
    homes: dict[str, list[Path]] = {}
    for plugin in plugins:
        homes.setdefault(plugin.name, []).append(plugin.home)
    return [
        _as_twin(plugin, homes[plugin.name]) if len(homes[plugin.name]) > 1 else plugin
        for plugin in sorted(plugins, key=lambda plugin: (plugin.name, plugin.home.name))
    ]


def _as_twin(plugin: InstalledPlugin, homes: list[Path]) -> InstalledPlugin:
    conflict = f"{' and '.join(map(str, sorted(homes)))} are the same plugin; remove all but one"
    return msgspec.structs.replace(plugin, conflict=conflict, problem=plugin.problem or conflict)
