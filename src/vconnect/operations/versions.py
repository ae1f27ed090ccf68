"""The versions of one plugin: which there are, which one is meant, and where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from vconnect.errors import InstallError
from vconnect.plugins.runtime import PluginRuntime
from vconnect.store.home import PluginHome
from vconnect.store.layout import InstalledVersion, read_receipt

# The begin of a digest that is long enough to mean only one version.
_MIN_DIGEST = 8


class VersionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One version in the store.

    Attributes:
        version: The version, as its manifest has it.
        digest: The sha256 of its package; begins with ``legacy-`` for what was a plain directory.
        states: Some of ``current``, ``running``, ``next`` (the next start tries it) and ``failed``
            (its last start); empty for one that is kept.
        size: The size of its package in bytes; 0 if that is not known.
        source: Where it came from, without credentials.
        installed_at: When, in Unix seconds; 0 if that is not known.
    """

    version: str
    digest: str
    states: tuple[str, ...]
    size: int
    source: str
    installed_at: float


class Outdated(msgspec.Struct, frozen=True, kw_only=True):
    """What the source of a plugin has now.

    Attributes:
        name: The plugin.
        current: The current version.
        available: The version that an upgrade would take.
        latest: The highest version that its index has, in the range that was asked for or not;
            empty if it is not from an index.
        yanked: Why the current version was withdrawn; empty if it was not.
        digest: The sha256 of that package.
        state: ``current``, ``outdated``, or ``unknown``: the source could not be asked.
        reason: Why it is unknown, or what speaks against an upgrade.
    """

    name: str
    current: str = ""
    available: str = ""
    latest: str = ""
    yanked: str = ""
    digest: str = ""
    state: Literal["current", "outdated", "unknown"]
    reason: str = ""


def source_of(plugin: PluginRuntime) -> str:
    """Return where the current version came from. Blocks.

    Raises:
        InstallError: That is not known, or has credentials that are not kept.
    """
    assert plugin.home is not None, "it is installed"
    current = PluginHome(plugin.home).current()
    if current is None or current.is_legacy:
        raise InstallError(
            f"{plugin.name} is not from a package; use: vconnect install SOURCE --upgrade"
        )
    moved = PluginHome(plugin.home).record().sources.get(current.digest)
    source = moved or read_receipt(current.directory).origin
    if not source:
        raise InstallError(
            f"where {plugin.name} came from is not known; use: vconnect install SOURCE --upgrade"
        )
    return source


def target_of(plugin: PluginRuntime, version: str) -> InstalledVersion:
    """Return the version to go back to. Blocks.

    Raises:
        InstallError: There is none, or more than one.
    """
    assert plugin.home is not None, "it is installed"
    home = PluginHome(plugin.home)
    current = home.current()
    others = [one for one in home.all_versions() if current is None or one.digest != current.digest]
    if version:
        found = [one for one in others if _is_meant(one, version)]
        if not found and current is not None and _is_meant(current, version):
            return current
        return _only(plugin.name, version, found)
    there = {one.digest: one for one in others}
    for entry in reversed(home.record().history):
        if entry.result != "failed" and entry.digest in there:
            return there[entry.digest]
    raise InstallError(f"{plugin.name} has no earlier version in the store")


def _is_meant(one: InstalledVersion, version: str) -> bool:
    is_digest = len(version) >= _MIN_DIGEST and one.digest.startswith(version)
    return version in (one.version, one.directory.name) or is_digest


def _only(plugin: str, version: str, found: list[InstalledVersion]) -> InstalledVersion:
    if not found:
        raise InstallError(
            f"{plugin} has no other version {version} in the store; to see which there are, use: "
            f"vconnect list --versions {plugin}"
        )
    if len(found) > 1:
        names = ", ".join(one.directory.name for one in found)
        raise InstallError(f"{plugin} {version} may be {names}; use one of these")
    return found[0]


def last_words(plugin: PluginRuntime, digest: str) -> str:
    """Return why a version has failed its last start; empty if it has not. Blocks."""
    assert plugin.home is not None, "it is installed"
    entry = PluginHome(plugin.home).record().last(digest)
    return entry.reason if entry is not None and entry.result == "failed" else ""


def summarize_versions(home: Path, running: InstalledVersion | None) -> list[VersionSummary]:
    """Describe the versions in a plugin's directory, the current one first. Blocks."""
    versions = PluginHome(home)
    current, waiting, record = versions.current(), versions.next_version(), versions.record()
    found = []
    for one in versions.all_versions():
        last = record.last(one.digest)
        marks = {
            "current": current is not None and one.digest == current.digest,
            "running": running is not None and one.digest == running.digest,
            "next": waiting is not None and one.digest == waiting.digest and one != current,
            "failed": last is not None and last.result == "failed",
        }
        try:
            receipt = read_receipt(one.directory)
        except InstallError:
            if one.directory.exists():
                raise
            continue  # it was removed meanwhile, as one of too many
        found.append(
            VersionSummary(
                version=one.version,
                digest=one.digest,
                states=tuple(mark for mark, applies in marks.items() if applies),
                size=receipt.size,
                source=receipt.source,
                installed_at=receipt.time,
            )
        )
    return sorted(found, key=lambda one: ("current" not in one.states, -one.installed_at))
