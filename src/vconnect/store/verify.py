"""Compares what is installed with what was installed."""

# The receipt of a version has the digest of each file. Nothing changes a package in the store, so
# any difference was made by hand, by another program, or by the disk.

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from vconnect.environments.build import problem_of
from vconnect.errors import InstallError
from vconnect.packages.contents import entries

from .layout import LEGACY, PACKAGE, VERSIONS, is_version_name, read_receipt
from .listing import locate

#: How many paths of each kind a report names.
MAX_NAMED = 20


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one installed version.

    Attributes:
        name: The plugin's name.
        version: The version, as its manifest had it.
        digest: The sha256 of the package that it was unpacked from; empty for a plain directory.
        is_current: Whether it is the one that is started.
        verdict: ``ok``, ``changed``, ``not from a package`` (nothing is known of what it was), or
            ``unusable``.
        changed: Files with other contents or another mode, at most 20.
        missing: Files that are gone, at most 20.
        extra: Files and links that the package did not have, at most 20.
        reason: Why it cannot be used, or what is wrong with its environment.
        signer: The number of the key that has signed it; empty if nobody has.
        revoked: That this key was revoked, in words; empty if it was not.
    """

    name: str
    version: str = ""
    digest: str = ""
    is_current: bool = True
    verdict: str = "ok"
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    reason: str = ""
    signer: str = ""
    revoked: str = ""

    def in_words(self) -> str:
        """Say what speaks against it."""
        kinds = {"changed": self.changed, "missing": self.missing, "extra": self.extra}
        found = [f"{kind}: {', '.join(paths)}" for kind, paths in kinds.items() if paths]
        return "; ".join(filter(None, (self.reason, *found)))

    @property
    def is_sound(self) -> bool:
        """Whether nothing speaks against it."""
        return self.verdict in ("ok", "not from a package")


def verify(plugin: str, home: Path) -> list[Verified]:
    """Compare every version of a plugin with its receipt. Blocks: every file is read.

    Args:
        plugin: The plugin's name.
        home: Its directory in ``plugin_dir``.
    """
    try:
        located = locate(home)
    except InstallError as error:
        return [Verified(name=plugin, verdict="unusable", reason=str(error))]
    if located.version is None:
        return [Verified(name=plugin, verdict="not from a package")]
    current = located.version.directory
    return [
        _compare(plugin, directory, is_current=directory == current)
        for directory in sorted((home / VERSIONS).iterdir())
        if is_version_name(directory.name)
    ]


def _compare(plugin: str, directory: Path, *, is_current: bool) -> Verified:
    version, _, digest = directory.name.rpartition("+")
    found = Verified(name=plugin, version=version, digest=digest, is_current=is_current)
    try:
        receipt = read_receipt(directory)
        found = msgspec.structs.replace(
            found, version=receipt.version, digest=receipt.sha256, signer=receipt.signer
        )
        if receipt.sha256.startswith(LEGACY):
            return msgspec.structs.replace(found, verdict="not from a package")
        expected, there = receipt.files, entries(directory / PACKAGE)
    except (InstallError, OSError) as error:
        return msgspec.structs.replace(found, verdict="unusable", reason=str(error))
    changed = [name for name in expected.keys() & there.keys() if expected[name] != there[name]]
    differences = {
        "changed": _named(changed),
        "missing": _named(expected.keys() - there.keys()),
        "extra": _named(there.keys() - expected.keys()),
    }
    reason = problem_of(directory, directory / PACKAGE)
    verdict = "changed" if reason or any(differences.values()) else "ok"
    return msgspec.structs.replace(found, verdict=verdict, reason=reason, **differences)


def _named(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(paths)[:MAX_NAMED])
