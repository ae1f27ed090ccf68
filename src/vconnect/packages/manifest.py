"""``plugin.json``: what a package says of itself.

Unknown fields are kept (in `Manifest.raw`) and ignored, so that a package made for a newer host
still installs here.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from vconnect.errors import ManifestError
from vconnect.names import NAME_RULE, canonical_name, is_valid_name
from vconnect.validation import place_and_words

MANIFEST_NAME = "plugin.json"
MAX_MANIFEST_BYTES = 1024 * 1024


class DevLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start the plugin from its source directory.

    Attributes:
        command: The program and its first arguments; the host's own arguments follow.
    """

    command: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A validated ``plugin.json``.

    Attributes:
        name: As written; `plugin` is the canonical form.
        plugin_no: Another name for the same plugin, or empty.
        priority: Chain order, higher first.
        capabilities: Events, families or wildcards (see ``docs/wire.md``).
        config: Defaults, delivered at the handshake under the operator's own values.
        entry: The executable, relative to the package, or empty for the default rule.
        requires: Plugins that this one needs: ``name``, or ``name:started`` where it is enough
            that the other one's process exists.
        before: Plugins that this one precedes in a chain.
        after: Plugins that this one follows in a chain.
        exclusive: Whether it may not run twice, so that a restart stops it first.
        raw: Every field as read, known or not.
    """

    name: str
    plugin_no: str = ""
    version: str = ""
    description: str = ""
    author: str = ""
    capabilities: tuple[str, ...] = ()
    priority: int = 0
    config: dict[str, Any] = {}
    entry: str = ""
    dev: DevLaunch = DevLaunch()
    permissions: tuple[str, ...] = ()
    config_schema: dict[str, Any] = {}
    requires: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    min_host_version: str = ""
    exclusive: bool = False
    raw: dict[str, Any] = {}

    @property
    def plugin(self) -> str:
        """The canonical name."""
        return canonical_name(self.name)


def parse_manifest(data: bytes, origin: str) -> Manifest:
    """Read and validate a manifest.

    Args:
        data: The file's bytes.
        origin: Where they came from, for messages.

    Raises:
        ManifestError: It is not JSON, a field has the wrong type, the name is missing or breaks
            the rule, or ``entry`` leads outside the package.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(
            f"{origin}: {len(data)} bytes; a manifest may have {MAX_MANIFEST_BYTES}"
        )
    try:
        raw = msgspec.json.decode(data)
        if not isinstance(raw, dict):
            raise ManifestError(f"{origin}: expected a JSON object, got {type(raw).__name__}")
        manifest = msgspec.convert({**raw, "raw": raw}, Manifest)
    except msgspec.DecodeError as error:
        place, words = place_and_words(error)
        where = f"{place}: " if place != "$" else ""
        raise ManifestError(f"{origin}: {where}{words}") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{origin}: a string is not UTF-8: {error.reason}") from None
    except RecursionError:
        raise ManifestError(f"{origin}: is nested too deeply") from None
    _check_names(manifest, origin)
    _check_entry(manifest.entry, origin)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read and validate the manifest file at ``path``.

    Raises:
        ManifestError: It cannot be read, or `parse_manifest` refuses it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_manifest(data, str(path))


def _check_names(manifest: Manifest, origin: str) -> None:
    for field, name in (("name", manifest.name), ("plugin_no", manifest.plugin_no)):
        required = field == "name"
        if (name or required) and not is_valid_name(canonical_name(name)):
            raise ManifestError(f"{origin}: {field} is {name!r}; a plugin's name is {NAME_RULE}")


def _check_entry(entry: str, origin: str) -> None:
    path = PurePosixPath(entry)
    if path.is_absolute() or ".." in path.parts or "\0" in entry:
        raise ManifestError(
            f"{origin}: entry is {entry!r}; it must be a path inside the package, without '..'"
        )
