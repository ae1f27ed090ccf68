"""A package that could be installed, and what would be refused about it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from vconnect.errors import InstallError, ManifestError, PluginStartError, VerificationError
from vconnect.packages.command import production_command
from vconnect.packages.config_schema.check import check_schema
from vconnect.packages.manifest import MANIFEST_NAME, Manifest
from vconnect.packages.source import Source
from vconnect.packages.wanted import Wanted

from .layout import check_version


class Offer(NamedTuple):
    """A package that was fetched and checked, and would be installed.

    Attributes:
        plugin: The plugin's name.
        version: Its version, as its manifest has it.
        digest: The sha256 of the package file.
        size: The size of the package file in bytes; 0 if it is in the store already.
        manifest: Its manifest; ``None`` if what is in the store has none.
        is_stored: Whether it is in the store already.
        granted: The permissions that were granted to what is in the store; ``None`` if it is new.
        notes: What the operator should know about it.
    """

    plugin: str
    version: str
    digest: str
    size: int = 0
    manifest: Manifest | None = None
    is_stored: bool = False
    granted: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """The permissions that its manifest asks for."""
        return self.manifest.permissions if self.manifest is not None else ()


def check_contents(manifest: Manifest, package: Path, origin: str) -> None:
    """Refuse an unpacked package that could be installed on no machine. Blocks.

    Raises:
        InstallError: Its version or the schema of its configuration cannot be used, or there is
            nothing in it that could be started.
    """
    check_version(manifest.version, origin)
    try:
        check_schema(manifest.config_schema, f"{origin}: {MANIFEST_NAME}")
    except ManifestError as error:
        raise InstallError(str(error)) from error
    try:
        production_command(manifest.plugin, package, manifest)
    except PluginStartError as error:
        # The staging directory's path would mean nothing to the operator.
        message = error.message.replace(str(package), manifest.plugin)
        raise InstallError(f"{origin}: could not be started: {message}") from error


def check_found(wanted: Wanted, offer: Offer) -> None:
    """Refuse a package that is not what the index has called it.

    Raises:
        VerificationError: It is of another plugin, or another version.
    """
    if (offer.plugin, offer.version) != (wanted.name, wanted.version):
        raise VerificationError(
            f"{wanted.index} has {wanted.name} {wanted.version}, and the package that it leads to "
            f"is {offer.plugin} {offer.version}"
        )


def check_digest(source: Source, digest: str) -> None:
    """Refuse a package that has not the digest that was asked for.

    Raises:
        VerificationError: It has another one.
    """
    if source.sha256 and source.sha256 != digest:
        raise VerificationError(
            f"{source.shown} has sha256 {digest}, and {source.sha256} was asked for: it was "
            "changed at its source, or something else was sent in its place"
        )
