"""A store in a directory of its own, and versions in it without package files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.package_kit import SCRIPT, manifest_bytes

from vconnect.store.layout import InstalledVersion, Receipt
from vconnect.store.store import PluginStore


def add(directory: Path, manifest: bytes | None = None, *executables: str) -> Path:
    """Make a directory as a package is unpacked into it."""
    directory.mkdir(parents=True)
    if manifest is not None:
        (directory / "plugin.json").write_bytes(manifest)
    for name in executables:
        (directory / name).write_bytes(SCRIPT)
        (directory / name).chmod(0o755)
    return directory


def install(
    store: PluginStore, version: str = "1", *, name: str = "example", content: bytes = b""
) -> InstalledVersion:
    """Install a version; its digest is made from what it is called and has."""
    digest = hashlib.sha256(f"{name} {version}".encode() + content).hexdigest()
    with store.staging() as staging:
        manifest = manifest_bytes(name=name, version=version)
        package = add(staging.path / "package" / "top", manifest, name)
        (package / "content").write_bytes(content)
        store.commit(package, Receipt(name=name, version=version, sha256=digest))
    found = store.home(name).find(digest)
    assert found is not None
    return found


def plain(store: PluginStore, name: str = "example", version: str = "1") -> Path:
    """Make a plain directory, as the original and older versions of vconnect do."""
    return add(store.plugin_dir / name, manifest_bytes(name=name, version=version), name)


def current(store: PluginStore, name: str = "example") -> str:
    """Return the version that is current."""
    found = store.home(name).current()
    return found.version if found is not None else ""


def waiting(store: PluginStore, name: str = "example") -> str:
    """Return the version that the next start tries."""
    found = store.home(name).next_version()
    return found.version if found is not None else ""
