"""``vconnect.lock``: which package of each plugin was meant, so that another one is noticed.

The file lies beside the configuration and is meant to be committed. It has one table per plugin,
sorted by name. What this version does not know in it is kept; comments are not.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from vconnect.durable import read_own, replace_file
from vconnect.errors import ConfigError, VerificationError
from vconnect.packages.manifest import MANIFEST_NAME, Manifest, read_manifest_if_any
from vconnect.packages.platforms import ANY
from vconnect.packages.source import platform_name

from .layout import InstalledVersion, Receipt, read_receipt
from .listing import granted_to
from .locks import locked

FORMAT = 1
_MODE = 0o644
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEAD = "# Written by vconnect. Commit it: it says which packages were meant.\n"


class LockedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A package file for one platform.

    Attributes:
        sha256: Its digest, in hex.
        size: Its size in bytes; 0 if that is not known.
    """

    sha256: str
    size: int = 0


class Locked(msgspec.Struct, frozen=True, kw_only=True):
    """What is locked of one plugin.

    Attributes:
        name: The plugin's canonical name.
        version: The version, as its manifest has it.
        requested: What was asked for: a path or URL, without credentials, or ``NAME@RANGE``.
        source: The index that had it, without credentials; empty if none was asked.
        signer: The number of the key that has signed it; empty if it was accepted unsigned.
        tree: The digest of the package's contents, whatever they were compressed with.
        permissions: The permissions that its manifest asks for.
        locked: When this package was locked first.
        files: The package files by platform, such as ``linux-amd64``.
    """

    name: str
    version: str
    requested: str = ""
    source: str = ""
    tree: str = ""
    signer: str = ""
    permissions: tuple[str, ...] = ()
    locked: datetime = msgspec.field(
        default_factory=lambda: datetime.now(UTC).replace(microsecond=0)
    )
    files: dict[str, LockedFile] = {}

    def file_for(self, platform: str) -> LockedFile | None:
        """Return the package file for a platform; ``any`` is for each."""
        return self.files.get(platform) or self.files.get(ANY)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class LockFile:
    """The lock file of a host. Every method blocks; several processes may use one file.

    Args:
        path: The file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> dict[str, Locked]:
        """Return what is locked, by plugin.

        Raises:
            ConfigError: The file cannot be read, is no lock file, or of a newer vconnect.
        """
        return {name: self._convert(table) for name, table in self._tables(self._read()).items()}

    def check(self, plugin: str, version: str, digest: str, platform: str) -> None:
        """Refuse a package that is called like the locked one, and is another.

        Raises:
            VerificationError: It is; the text has both digests.
            ConfigError: See `entries`.
        """
        entry = self.entries().get(plugin)
        file = entry.file_for(platform) if entry is not None else None
        if entry is None or entry.version != version or file is None:
            return  # of another version, or on another platform: first use
        meant = file.sha256
        if meant != digest:
            raise VerificationError(
                f"{plugin} {version} has sha256 {digest}, and {self.path} has {meant}: it was "
                "changed at its source, or something else was sent in its place; if the change is "
                f"meant, remove [[plugin]] and [plugin.files] of {plugin} from the file"
            )

    def check_frozen(self, plugin: str, version: str, digest: str, platform: str) -> None:
        """Refuse a package that is not exactly the locked one.

        Raises:
            VerificationError: It is not, or nothing is locked for the plugin and the platform.
            ConfigError: See `entries`.
        """
        entry = self.entries().get(plugin)
        if entry is None or entry.file_for(platform) is None:
            raise VerificationError(
                f"{plugin} {version} is not in {self.path} for {platform}; lock it by an "
                "installation without --frozen"
            )
        if entry.version != version:
            raise VerificationError(
                f"{plugin} is locked at {entry.version} in {self.path}, and this is {version}"
            )
        self.check(plugin, version, digest, platform)

    def put(self, entry: Locked) -> None:
        """Lock a package. What is known of its other platforms stays, if it is the same version.

        Raises:
            ConfigError: See `entries`; the file is left as it is.
            OSError: It cannot be written; the old contents are unchanged.
        """
        with self._changing() as document:
            tables = self._tables(document)
            old = tables.get(entry.name, {})
            if old and (known := self._convert(old)).version == entry.version:
                entry = _merged(known, entry)
            tables[entry.name] = {**old, **msgspec.to_builtins(entry, builtin_types=(datetime,))}
            document["plugin"] = [tables[name] for name in sorted(tables)]

    def remove(self, plugin: str) -> None:
        """Forget what is locked of a plugin; see `put`."""
        with self._changing() as document:
            tables = self._tables(document)
            if tables.pop(plugin, None) is not None:
                document["plugin"] = [tables[name] for name in sorted(tables)]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Yield the document under the file's lock; write it if that makes a difference."""
        with locked(self.path.with_name(self.path.name + ".flock")):
            document = self._read()
            before = dump(document)
            yield document
            if (text := dump(document)) != before:
                replace_file(self.path, (_HEAD + text).encode(), _MODE)

    def _read(self) -> dict[str, Any]:
        try:
            document = tomllib.loads(read_own(self.path).decode())
        except FileNotFoundError:
            return {"format": FORMAT}
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(
                f"{self.path}: is not a valid lock file: {error}; mend it (a plugin has [[plugin]] "
                "and [plugin.files]), or remove it to begin anew"
            ) from None
        if "format" not in document:
            raise ConfigError(f"{self.path}: format is missing; remove the file to begin anew")
        if not isinstance(written := document["format"], int) or written > FORMAT:
            raise ConfigError(
                f"{self.path}: format is {written!r}; this vconnect supports at most {FORMAT}"
            )
        return document

    def _tables(self, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
        tables: dict[str, dict[str, Any]] = {}
        for table in document.get("plugin", []):
            name = self._convert(table).name
            if name in tables:
                raise ConfigError(f"{self.path}: there are two tables of {name!r}; keep one")
            tables[name] = table
        return tables

    def _convert(self, table: Any) -> Locked:
        try:
            entry = msgspec.convert(table, Locked)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{self.path}: [[plugin]]: {error}") from None
        for platform, file in entry.files.items():
            if not _DIGEST.fullmatch(file.sha256):
                raise ConfigError(
                    f"{self.path}: [[plugin]] {entry.name}: files.{platform}.sha256 is "
                    f"{file.sha256!r}; expected 64 hex digits"
                )
        return entry


def _merged(known: Locked, entry: Locked) -> Locked:
    """Add a package to what is locked of the same version; its time stays if nothing changes."""
    files = {**known.files, **entry.files}
    return msgspec.structs.replace(
        entry, files=files, locked=known.locked if files == known.files else entry.locked
    )


# The text. Only what a lock file can have: tables of values, and values of values in line.


def dump(document: Mapping[str, Any]) -> str:
    """Return a document as TOML: its values, then each ``[[plugin]]`` with its ``files``."""
    plain = {key: value for key, value in document.items() if key != "plugin"}
    blocks = ["\n".join(_lines(plain))]
    for table in document.get("plugin", []):
        values = {key: value for key, value in table.items() if key != "files"}
        lines = [
            "[[plugin]]",
            *_lines(values),
            "",
            "[plugin.files]",
            *_lines(table.get("files", {})),
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _lines(values: Mapping[str, Any]) -> Iterable[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items()]


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(_lines(value)) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _text(text: str) -> str:
    # A basic string of TOML is one of JSON, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def locked_of(version: InstalledVersion) -> Locked:
    """Return what is to be locked of an installed version. Blocks.

    Raises:
        InstallError: Its receipt cannot be read.
        ManifestError: Its manifest cannot be read.
    """
    receipt = read_receipt(version.directory)
    manifest = read_manifest_if_any(version.package / MANIFEST_NAME)
    return Locked(
        name=version.name,
        version=version.version,
        requested=receipt.origin,
        source=receipt.index,
        tree=f"sha256:{receipt.tree}" if receipt.tree else "",
        signer=version.signer,
        permissions=granted_to(manifest, version).permissions if manifest is not None else (),
        files=_files_of(manifest, receipt),
    )


def _files_of(manifest: Manifest | None, receipt: Receipt) -> dict[str, LockedFile]:
    """Return the package files of a version: of every platform if an index has told of them."""
    found = receipt.platforms or {platform_of(manifest): (receipt.sha256, receipt.size)}
    return {name: LockedFile(sha256=sha256, size=size) for name, (sha256, size) in found.items()}


def platform_of(manifest: Manifest | None) -> str:
    """Return what a package is for. One that does not say so may be another one elsewhere."""
    said = manifest.platform if manifest is not None else ""
    return said if said not in ("", ANY) else platform_name()
