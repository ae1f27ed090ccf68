"""From a plain directory to a store directory, without a moment in which the plugin has neither."""

# The store directory is made whole as `.vconnect/replaced-NAME`: with the new version, with
# `current` leading to the old one, and with a link in place of that, which leads to
# `replaced-NAME`. Then the two directories are exchanged, so that the link leads to the old files,
# and these are exchanged with the link. Where a file system cannot exchange, the old directory is
# moved to its place first, and the whole to its name then.
#
# A process that runs in the old directory keeps it, wherever it is moved. It may also know its
# files by their old paths, so each of these is a link to its new place for as long as that is
# there. A link to a directory
# is replaced by one inside the store directory; what it leads to is left where it is.

from __future__ import annotations

import hashlib
import logging
import os
import time
from pathlib import Path

import msgspec

from vconnect.durable import make_directories, replace_file, sync
from vconnect.errors import InstallError, ManifestError
from vconnect.packages.manifest import MANIFEST_NAME, read_manifest
from vconnect.removal import remove_tree
from vconnect.store.home import CARRY, PluginHome
from vconnect.store.layout import (
    CURRENT,
    IN_USE,
    LEGACY,
    PACKAGE,
    RECEIPT,
    RECORD,
    REPLACED,
    VERSIONS,
    InstalledVersion,
    Receipt,
    check_version,
    directory_name,
    is_store_directory,
    read_head,
)
from vconnect.store.record import Record

from .swap import exchange

_log = logging.getLogger(__name__)


def migrate(private: Path, plain: Path, version: Path, files: list[str]) -> InstalledVersion:
    """Make a plain directory a store directory, with one more version. Blocks.

    The caller holds the plugin's lock and the store's.

    Args:
        private: The directory ``.vconnect``.
        plain: The plugin's directory.
        version: The complete directory of the new version, already synced.
        files: The files of the new version's package.

    Returns:
        The new version, which is the next one; the old one is current.

    Raises:
        OSError: Something cannot be written or moved.
    """
    prepared = private / f"{REPLACED}{plain.name}"
    remove_tree(prepared)
    try:
        legacy = _prepare(prepared, plain, version, files)
    except OSError:
        remove_tree(prepared)  # the disk may be full, of this among others
        raise
    is_link = plain.is_symlink()
    if exchange(prepared, plain):
        sync(plain.parent)
        if is_link:
            prepared.unlink()
        else:
            _move_in(prepared, plain / VERSIONS / legacy / PACKAGE)
    else:
        if is_link:
            plain.unlink()
        else:
            (prepared / VERSIONS / legacy / PACKAGE).unlink()
            plain.rename(prepared / VERSIONS / legacy / PACKAGE)
            sync(prepared / VERSIONS / legacy)
        prepared.rename(plain)
        sync(plain.parent)
    sync(plain / VERSIONS / legacy)
    _log.info("%s: its old files are now in versions/%s", plain, legacy)
    next_version = PluginHome(plain).next_version()
    assert next_version is not None, "it was prepared"
    return next_version


def settle(private: Path, replaced: Path) -> None:
    """Complete or undo a migration that was killed. Blocks.

    The caller holds the plugin's lock and the store's.

    Raises:
        OSError: Something cannot be moved or removed.
    """
    target = private.parent / replaced.name.removeprefix(REPLACED)
    if not os.path.lexists(target):
        replaced.rename(target)
        sync(target.parent)
        return
    # Prepared and never used; an older vconnect left its old version so. Or only a link.
    if not is_store_directory(target) or is_store_directory(replaced) or replaced.is_symlink():
        remove_tree(replaced)
        return
    for path in sorted((target / VERSIONS).glob(f"*{LEGACY}*")):
        link = path / PACKAGE
        if not os.path.lexists(link):
            replaced.rename(link)
        elif link.is_symlink() and link.readlink() == replaced:
            _move_in(replaced, link)
        else:
            continue
        sync(path)
        return
    _log.warning("%s belongs to no version of %s; it is left as it is", replaced, target)


def _move_in(old: Path, link: Path) -> None:
    """Put the old directory in the place of the link that leads to it."""
    if exchange(old, link):
        old.unlink()
    else:
        link.unlink()
        old.rename(link)


def _prepare(prepared: Path, plain: Path, version: Path, files: list[str]) -> str:
    """Make the whole store directory, and return the name of the old version's directory."""
    receipt = _receipt_of(plain)
    name = directory_name(receipt.version, receipt.sha256)
    versions = prepared / VERSIONS
    legacy = versions / name
    make_directories(legacy, 0o755)
    prepared.chmod(0o700)
    replace_file(legacy / CARRY, msgspec.json.encode(files))
    replace_file(legacy / RECEIPT, msgspec.json.encode(receipt))
    (legacy / RECEIPT).chmod(0o444)
    replace_file(legacy / IN_USE, b"")
    (legacy / PACKAGE).symlink_to(plain.resolve() if plain.is_symlink() else prepared)
    new = read_head(version)
    version.rename(versions / version.name)
    for path in plain.iterdir():
        if path.name not in (CURRENT, VERSIONS, RECORD):
            (prepared / path.name).symlink_to(f"{VERSIONS}/{name}/{PACKAGE}/{path.name}")
    (prepared / CURRENT).symlink_to(f"{VERSIONS}/{name}")
    old = InstalledVersion(receipt.name, receipt.version, receipt.sha256, legacy)
    record = Record(next=directory_name(new.version, new.sha256))
    PluginHome(prepared).write(record.with_entry(old, "migration", "ready"))
    sync(versions)
    sync(prepared)
    return name


def _receipt_of(plain: Path) -> Receipt:
    """Describe a directory that no package is known of."""
    version = ""
    try:
        version = read_manifest(plain / MANIFEST_NAME).version
        check_version(version, str(plain))
    except (ManifestError, InstallError):
        version = ""  # it may have no manifest, like packages of the original host
    # Not of the contents, which its process may be writing: it only has to be a name.
    status = plain.stat()
    mark = f"{plain.name}\0{version}\0{status.st_ino}\0{status.st_mtime_ns}"
    return Receipt(
        name=plain.name,
        version=version,
        sha256=LEGACY + hashlib.sha256(mark.encode()).hexdigest(),
        source=str(plain),
        time=time.time(),
    )
