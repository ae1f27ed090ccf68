"""What one package file is: name, version, digests, permissions, signature."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vconnect.errors import InstallError, SignatureError, VerificationError
from vconnect.packages.archive import unpack
from vconnect.packages.contents import entries, measure, tree_digest
from vconnect.packages.fitness import check_host_version
from vconnect.packages.manifest import Manifest
from vconnect.packages.platforms import ANY
from vconnect.packages.preparation import PackedFile
from vconnect.store.layout import RESERVED_NAMES
from vconnect.store.offers import check_contents
from vconnect.trust.files import SIGNATURE_SUFFIX, read_signature
from vconnect.trust.keyring import TrustedKey
from vconnect.trust.policy import Signing


class PackageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a package file is.

    Attributes:
        file: Its path.
        name: The plugin's canonical name.
        aliases: Other names that it gives its plugin, as written.
        version: Its version.
        description: One line for operators.
        platform: The platform that its programs are for; ``any`` if they run on each.
        size: Its size in bytes.
        sha256: Its digest, in hex.
        tree: The digest of its contents, whatever they were compressed with.
        permissions: Calls to the host that it asks for.
        requires: The plugins that it requires.
        min_host_version: The oldest version of vconnect that can run it, or a range.
        interface: The interfaces that it is written for.
        signed_by: The number of the key that has signed it; empty if nobody has.
        signature: What the signature is worth, in words.
        files: The files in it.
    """

    file: str
    name: str
    aliases: tuple[str, ...] = ()
    version: str
    description: str = ""
    platform: str = ANY
    size: int
    sha256: str
    tree: str
    permissions: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    min_host_version: str = ""
    interface: tuple[str, ...] = ()
    signed_by: str = ""
    signature: str = "none"
    files: tuple[PackedFile, ...] = ()


def describe_package(path: Path) -> PackageInfo:
    """Open a package and say what it is, but for its signature. Blocks.

    It is unpacked into a temporary directory, which is removed.

    Raises:
        InstallError: It could be installed on no machine; the text begins with its path.
    """
    origin = str(path)
    digest, size = _digest(path)
    with tempfile.TemporaryDirectory(prefix="vconnect-index-") as scratch:
        unpacked = unpack(path, Path(scratch, "package"), origin=origin)
        manifest = unpacked.manifest
        _check_manifest(manifest, unpacked.path, origin)
        found = entries(unpacked.path)
        files = tuple(
            PackedFile(one, Path(unpacked.path, one).lstat().st_size) for one in sorted(found)
        )
    if _digest(path) != (digest, size):
        raise InstallError(f"{origin}: was changed while it was read; try again")
    return PackageInfo(
        file=origin,
        name=manifest.plugin,
        aliases=tuple(sorted(manifest.names - {manifest.plugin})),
        version=manifest.version,
        description=manifest.description,
        platform=manifest.platform or ANY,
        size=size,
        sha256=digest,
        tree=tree_digest(found),
        permissions=manifest.permissions,
        requires=manifest.requires,
        min_host_version=manifest.min_host_version,
        interface=manifest.interfaces,
        files=files,
    )


def with_signature(package: PackageInfo, keys: Mapping[str, TrustedKey] | None) -> PackageInfo:
    """Look at the signature beside a package, if there is one. Blocks.

    Args:
        package: The package.
        keys: The keys that are trusted, by their numbers; ``None`` to verify nothing.

    Raises:
        VerificationError: The signature is damaged, not of this package, of a key that was revoked
            or may not sign it.
        ConfigError: The extra ``sign`` is not installed.
    """
    path = Path(package.file)
    beside = path.with_name(path.name + SIGNATURE_SUFFIX)
    if not beside.exists():
        return package
    try:
        signature = read_signature(beside)
    except SignatureError as error:
        raise VerificationError(f"{package.file}: {error}") from None
    words = "not verified"
    if keys is not None:
        signing = Signing(
            origin=package.file, place=str(path.absolute()), keys=keys, is_required=False
        )
        signer = signing.verify(path, package.sha256, signature, "")
        signing.confirm(signer, package.name, package.version, package.sha256, "")
        words = "of a key that nobody trusts here" if signer is None else "good"
    return msgspec.structs.replace(package, signed_by=signature.id, signature=words)


def _check_manifest(manifest: Manifest, package: Path, origin: str) -> None:
    check_contents(manifest, package, origin)
    check_host_version(manifest, "", origin)  # which host it will be, is not known here
    if manifest.plugin in RESERVED_NAMES:
        raise InstallError(f"{origin}: {manifest.plugin!r} cannot be a plugin's name")


def _digest(path: Path) -> tuple[str, int]:
    try:
        return measure(path)
    except OSError as error:
        raise InstallError(f"{path}: cannot be read: {error.strerror}") from error
