"""The names in ``plugin_dir``, and what one installed version is.

::

    plugin_dir/
        example/                 a *store directory*; without `current` and `versions` it is *plain*
            current              a link to versions/1.2.0+0123456789abcdef; what is started
            store.json           see `vconnect.store.record`
            versions/
                1.2.0+0123456789abcdef/
                    pkg/         the package: never written, and never a working directory
                    env/         its Python environment, if it declares dependencies
                    install.json the receipt
                    .in-use      locked by each host that runs this version, and by its processes
        .vconnect/
            store.lock           held while names are compared, and while example/ is made or moved
            locks/example.lock   held during a whole change of the plugin
            staging/XXXX/        a change in progress, locked by it
            partial/             interrupted downloads; see `vconnect.packages.fetching.partial`
            blobs/               packages that clients have sent; see `vconnect.store.blobs`
            wheels/              the cache of wheels, from which environments are linked
            replaced-example/    a plain directory that is being replaced by a store directory
            hosts/               the state and data of each host
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TypeVar

import msgspec

from vconnect.durable import read_own, replace_file
from vconnect.errors import InstallError

PRIVATE = ".vconnect"
PARTIAL = "partial"
WHEEL_CACHE = "wheels"
BLOBS = "blobs"
CURRENT = "current"
VERSIONS = "versions"
PACKAGE = "pkg"
RECEIPT = "install.json"
RECORD = "store.json"
IN_USE = ".in-use"
#: The version of a plain directory that was replaced has no package file, so no digest of one.
LEGACY = "legacy-"
#: A version that is being deleted.
DOOMED = ".del-"
REPLACED = "replaced-"
#: Names that are taken in a plugin's directory, or that a command means something else by.
RESERVED_NAMES = frozenset({"versions", "current", "vconnect", "host", "all"})

FORMAT = 1
_DIGEST_CHARS = 16
_MAX_VERSION_BYTES = 64
_LINK = re.compile(r"versions/([^/]+)")
# Everything else becomes "_": the digest keeps the names apart.
_ODD = re.compile(r"[^A-Za-z0-9._+~-]")


class InstalledVersion(msgspec.Struct, frozen=True):
    """One version of a plugin in the store.

    Attributes:
        name: The plugin's canonical name.
        version: The version as its manifest has it; may be empty.
        digest: The sha256 of the package file, in hex; begins with ``legacy-`` for what was a plain
            directory.
        directory: Its directory, ``plugin_dir/NAME/versions/V+D``.
        granted: The permissions that were granted to it; ``None`` for all that it asks for.
        signer: The number of the key that has signed it; empty if nobody has.
    """

    name: str
    version: str
    digest: str
    directory: Path
    granted: tuple[str, ...] | None = None
    signer: str = ""

    @property
    def package(self) -> Path:
        """The directory of the package's files."""
        return self.directory / PACKAGE

    @property
    def home(self) -> Path:
        """The plugin's directory in ``plugin_dir``."""
        return self.directory.parent.parent

    @property
    def is_legacy(self) -> bool:
        """Whether it was a plain directory."""
        return self.digest.startswith(LEGACY)


class ReceiptHead(msgspec.Struct, frozen=True, kw_only=True):
    """What of a receipt says which version it is; a start reads no more than that.

    Attributes:
        format: The version of the format.
        name: The plugin's canonical name.
        version: The version as its manifest has it.
        sha256: The digest of the package file; see `InstalledVersion.digest`.
        granted: See `InstalledVersion.granted`.
        signer: See `InstalledVersion.signer`.
    """

    format: int = FORMAT
    name: str
    version: str
    sha256: str
    granted: tuple[str, ...] | None = None
    signer: str = ""


class Receipt(ReceiptHead, frozen=True, kw_only=True):
    """The contents of ``install.json``: what was installed, from where, and when.

    Attributes:
        tree: The digest of the contents, whatever they were compressed with.
        size: The size of the package file in bytes.
        source: Where it came from, without credentials.
        requested: What was asked of an index, such as ``example@^1.2``; empty for a path or URL.
        index: The index that had it, without credentials.
        time: When, in Unix seconds.
        files: Each file's sha256, and whether it is executable.
        platforms: The sha256 and the size of the package for each platform, if an index has them.
    """

    tree: str = ""
    size: int = 0
    source: str = ""
    requested: str = ""
    index: str = ""
    time: float = 0.0
    files: dict[str, tuple[str, bool]] = {}
    platforms: dict[str, tuple[str, int]] = {}

    @property
    def origin(self) -> str:
        """What an upgrade asks for again: what was asked of an index, or else the source."""
        return self.requested or self.source


R = TypeVar("R", bound=ReceiptHead)


def check_version(version: str, origin: str) -> None:
    """Refuse a version that cannot be a part of a directory's name.

    Raises:
        InstallError: It has more than 64 bytes, a slash or a zero byte.
    """
    size = len(version.encode("utf-8", "surrogatepass"))
    if size > _MAX_VERSION_BYTES:
        raise InstallError(
            f"{origin}: the version has {size} bytes; the limit is {_MAX_VERSION_BYTES}"
        )
    if "/" in version or "\0" in version:
        raise InstallError(f"{origin}: version is {version!r}; expected one without '/' and NUL")


def directory_name(version: str, digest: str) -> str:
    """Return the name of a version's directory: the version and the begin of its digest."""
    shown = _ODD.sub("_", version) or "0"
    if shown.startswith("."):
        shown = "_" + shown[1:]
    kept = _DIGEST_CHARS + (len(LEGACY) if digest.startswith(LEGACY) else 0)
    return f"{shown}+{digest[:kept]}"


def is_version_name(name: str) -> bool:
    """Return whether a name in ``versions`` is that of a version, not of a leftover."""
    return not name.startswith(".") and "+" in name


def read_head(directory: Path) -> ReceiptHead:
    """Read which version is in a directory, from its receipt. Blocks.

    Raises:
        InstallError: It is missing, unreadable, or of another version than the directory.
    """
    return _read(directory, ReceiptHead)


def read_receipt(directory: Path) -> Receipt:
    """Read the whole receipt of a version. Blocks.

    Raises:
        InstallError: See `read_head`.
    """
    return _read(directory, Receipt)


def write_receipt(directory: Path, receipt: Receipt) -> None:
    """Write the receipt of a version, in place of the one that is there. Blocks.

    Raises:
        OSError: Writing failed; the old one is unchanged.
    """
    replace_file(directory / RECEIPT, msgspec.json.encode(receipt) + b"\n", mode=0o444)


def _read(directory: Path, kind: type[R]) -> R:
    file = directory / RECEIPT
    try:
        receipt = msgspec.json.decode(read_own(file), type=kind)
    except OSError as error:
        raise InstallError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InstallError(f"{file} is not a valid receipt: {error}") from None
    if receipt.format > FORMAT:
        raise InstallError(
            f"{file} has format version {receipt.format}; this vconnect supports at most {FORMAT}"
        )
    # From the whole, not by parting the name: a version may contain "+" itself.
    named = directory_name(receipt.version, receipt.sha256)
    if directory.name != named:
        raise InstallError(f"{file} is the receipt of {named}, not of {directory.name}")
    return receipt


def read_version(directory: Path) -> InstalledVersion:
    """Read what is installed in a version's directory. Blocks.

    Raises:
        InstallError: There is nothing complete; see `read_head`.
    """
    receipt = read_head(directory)
    if not (directory / PACKAGE).is_dir():
        raise InstallError(f"{directory / PACKAGE} is missing")
    return InstalledVersion(
        receipt.name,
        receipt.version,
        receipt.sha256,
        directory,
        receipt.granted,
        receipt.signer,
    )


def is_whole(version: InstalledVersion) -> bool:
    """Return whether every file of a version is still there, whatever is in it. Blocks."""
    try:
        files = read_receipt(version.directory).files
    except InstallError:
        return False
    return all(os.path.lexists(version.package / name) for name in files)


def find_in_homes(plugin_dir: Path, pattern: str) -> list[Path]:
    """Return what matches below the plugins' directories, in order. Blocks.

    A directory that nobody may read is passed over; `pathlib` would raise.
    """
    found = glob.glob(pattern, root_dir=plugin_dir)  # noqa: PTH207 - see above
    return [plugin_dir / one for one in sorted(found)]


def is_store_directory(home: Path) -> bool:
    """Return whether a plugin's directory has versions; otherwise it is plain. Blocks.

    Raises:
        InstallError: It cannot be read.
    """
    try:
        if _LINK.fullmatch(os.readlink(home / CURRENT)):  # noqa: PTH115 - the text as it is
            return True
    except OSError:
        pass  # there is no link of this name
    try:
        return next((home / VERSIONS).glob(f"*/{RECEIPT}"), None) is not None
    except OSError as error:
        place = error.filename or home
        raise InstallError(
            f"{place} cannot be read: {error.strerror or error}; let the host's user read "
            f"it: chmod -R u+rX {home}"
        ) from error


def current_version(home: Path) -> InstalledVersion:
    """Resolve ``current`` once, and return the version that it leads to. Blocks.

    Raises:
        InstallError: It is missing, no link, leads elsewhere, or to nothing complete.
    """
    target = _target(home)
    while True:
        try:
            return _version_at(home, target)
        except InstallError:
            before, target = target, _target(home)
            # Unless it was switched, and the version removed, while we were looking.
            if target == before:
                raise


def _target(home: Path) -> str:
    link = home / CURRENT
    try:
        return os.readlink(link)  # noqa: PTH115 - the text as it is
    except FileNotFoundError:
        raise InstallError(
            f"{link} is missing, so no version is installed; install one of them again"
        ) from None
    except OSError:
        raise InstallError(
            f"{link} is not a symbolic link; expected a link to versions/VERSION"
        ) from None


def _version_at(home: Path, target: str) -> InstalledVersion:
    link = home / CURRENT
    match = _LINK.fullmatch(target)
    if match is None or not is_version_name(match[1]):
        raise InstallError(f"{link} leads to {target}; expected versions/VERSION")
    try:
        return read_version(home / VERSIONS / match[1])
    except InstallError as error:
        raise InstallError(f"{link} leads to {target}, which cannot be used: {error}") from None
