"""Indexes for tests: directories of packages, and hosts that read them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tests.support.package_kit import file, manifest_bytes, write_package

from vconnect.index.build import Built, Options, build
from vconnect.index.client import Indexes
from vconnect.index.document import Index, decode_index
from vconnect.packages.source import FetchLimits
from vconnect.settings.live import LiveSettings
from vconnect.settings.model import Settings, SourceOptions
from vconnect.store.installer import PluginInstaller
from vconnect.trust.files import write_signature
from vconnect.trust.keyring import TrustedKey
from vconnect.trust.minisign import SecretKey
from vconnect.trust.signing import sign as make_signature

LIMITS = FetchLimits(retries=1, retry_delay=0.001, idle_timeout=0.3, total_timeout=2.0)
SCRIPT = b"#!/bin/sh\nexit 0\n"


def put(
    directory: Path, version: str, *, name: str = "example", mark: str = "", **fields: Any
) -> Path:
    """Write a package; ``mark`` makes it another file."""
    members = [
        file("plugin.json", manifest_bytes(name=name, version=version, entry="run", **fields)),
        file("run", SCRIPT + mark.encode(), 0o755),
    ]
    directory.mkdir(exist_ok=True)
    platform = f"-{fields['platform']}" if "platform" in fields else ""
    return write_package(directory / f"{name}-{version}{platform}.vp", members)


def sign(path: Path, key: SecretKey, comment: str = "") -> None:
    """Sign a file as ``vconnect sign`` does, or with another comment."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not comment:
        what = f"file={path.name}"
        if path.suffix == ".vp":
            name, version = path.stem.split("-")[:2]
            what = f"name={name} version={version}"
        comment = f"vconnect 1 {what} sha256={digest}"
    with path.open("rb") as opened:
        write_signature(path, make_signature(opened, key, comment))


def trusted(key: SecretKey, **fields: Any) -> TrustedKey:
    """Return a key as a trust file has it."""
    public = key.public_key()
    return TrustedKey(id=public.id, key=public.line(), **fields)


def made(directory: Path, **options: Any) -> Built:
    """Make an index that nothing speaks against."""
    built = build(directory, Options(**options))
    assert built.faults == ()
    return built


def read(directory: Path) -> Index:
    """Read the index that is there."""
    return decode_index((directory / "index.json").read_bytes(), "index.json")


class Host:
    """What a host has: settings, a store, an installer that knows names.

    Args:
        directory: Where all of it is.
        places: The indexes, by their directories or addresses.
        settings: Other settings.
    """

    def __init__(self, directory: Path, *places: Any, **settings: Any) -> None:
        sources = {str(place): SourceOptions(index=True) for place in places}
        self.live = LiveSettings(
            Settings(
                **{
                    "plugin_dir": str(directory / "plugins"),
                    "state_dir": str(directory / "state"),
                    "lock_file": str(directory / "vconnect.lock"),
                    "sources": sources,
                    **settings,
                }
            )
        )
        self.installer = PluginInstaller.of(self.live.now)
        self.indexes = Indexes(self.live, self.installer.store)
        self.installer.resolve = self.indexes.resolve

    async def install(self, source: str, *, is_upgrade: bool = False) -> str:
        """Install, and return the version that the next start has."""
        parsed = self.installer.parse(source, is_upgrade=is_upgrade)
        installed = await self.installer.install(parsed)
        version = installed.next or installed.current
        return version.version if version is not None else ""
