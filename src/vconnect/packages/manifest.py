"""``plugin.json``: a package's description of itself."""

# Unknown fields are kept (in `Manifest.raw`) and ignored, so that a package made for a newer host
# can be installed here.

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import msgspec

from vconnect._framing import parse_message
from vconnect.bounds import (
    MAX_CAPABILITIES,
    MAX_INTERFACES,
    MAX_NAME_BYTES,
    MAX_PERMISSIONS,
    MAX_REQUIREMENTS,
    MAX_VERSION_BYTES,
    MAX_WORDS_BYTES,
    cut,
    find_excess,
    size_of,
)
from vconnect.durable import read_regular
from vconnect.errors import ManifestError, RemoteProtocolError
from vconnect.json_rule import find_problem
from vconnect.names import (
    INTERFACE_PATTERN,
    INTERFACE_RULE,
    NAME_RULE,
    PLUGIN_NAME_PATTERN,
    canonical_name,
    is_interface,
    may_be_named,
)
from vconnect.validation import Fault, explain_json, place_and_words, without_mark

from .semver import RANGE_PATTERN, Range, parse_range

MANIFEST_NAME = "plugin.json"
# It is read into memory as a whole, from packages that are not trusted.
MAX_MANIFEST_BYTES = 1024 * 1024

_BOUNDS = {
    "capabilities": MAX_CAPABILITIES,
    "permissions": MAX_PERMISSIONS,
    "requires": MAX_REQUIREMENTS,
    "before": MAX_REQUIREMENTS,
    "after": MAX_REQUIREMENTS,
    "interfaces": MAX_INTERFACES,
}
_SIZES = {"version": MAX_VERSION_BYTES, "platform": MAX_VERSION_BYTES, "entry": MAX_WORDS_BYTES}
# A file of this size is read again to explain what is wrong with it.
_EXPLAINED_BYTES = 16 * 1024
# Bytes of a value that an error quotes.
_SHOWN = 100
_PLACEHOLDER = "_"


# What an editor is told of a field. Types do not enforce it: `sift_manifest` has better words.


def _matches(pattern: str, **more: Any) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema={"pattern": f"^{pattern}$", **more})


def _at_most(items: int) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema={"maxItems": items})


# Those of the characters that are not printable which occur.
_PRINTABLE = (
    r"[^\u0000-\u001f\u007f-\u00a0\u00ad\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]*"
)
_INSIDE = _matches(r"(?!/)(?!(?:[^\u0000]*/)?\.\.(?:/|$))[^\u0000]*", maxLength=MAX_WORDS_BYTES)
_INTEGER = msgspec.Meta(extra_json_schema={"minimum": -(1 << 63), "maximum": (1 << 64) - 1})
_Version = Annotated[str, _matches(_PRINTABLE, maxLength=MAX_VERSION_BYTES)]
_Name = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": MAX_NAME_BYTES})]
_Interface = Annotated[str, _matches(INTERFACE_PATTERN)]
_Required = Annotated[str, _matches(rf"\s*[^ ]*(?: {RANGE_PATTERN})?\s*", maxLength=MAX_NAME_BYTES)]


class DevLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start the plugin from its source directory.

    Attributes:
        command: The program and its first arguments; the host appends its own arguments.
    """

    command: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A validated ``plugin.json``; see ``docs/plugin-authors.md``.

    Attributes:
        name: The plugin's name as written; `plugin` is the canonical form.
        plugin_no: Another name for the same plugin, or empty.
        version: The version of the package.
        description: One line for operators.
        author: The author.
        capabilities: Events, families or wildcards (see ``docs/wire.md``).
        priority: The priority in chains; higher comes first.
        config: Default configuration, which the operator's values override.
        entry: The executable relative to the package, or empty for the default rule.
        dev: How to start the plugin from source.
        permissions: Calls to the host that the plugin asks for.
        config_schema: A JSON schema of the configuration; see `config_schema`.
        requires: Plugins that this one requires: ``name``, or ``name:started`` if it is enough that
            the other plugin's process exists.
        before: Plugins that this one precedes in a chain.
        after: Plugins that this one follows in a chain.
        min_host_version: The oldest version of vconnect that can run it, or a range; or empty.
        exclusive: Whether two processes of it must not run at once, so that a restart stops it
            first.
        interface: The versions of the application's events that it is written for, such as
            ``chat/2``; a text, or a list.
        platform: The platform that its programs are for, such as ``linux-amd64``; empty or ``any``
            if they run on each.
        raw: All fields as read, known or not.
    """

    name: Annotated[str, _matches(PLUGIN_NAME_PATTERN)]
    plugin_no: Annotated[str, _matches(f"(?:{PLUGIN_NAME_PATTERN})?")] = ""
    version: _Version = ""
    description: str = ""
    author: str = ""
    capabilities: Annotated[tuple[_Name, ...], _at_most(MAX_CAPABILITIES)] = ()
    priority: Annotated[int, _INTEGER] = 0
    config: dict[str, Any] = {}
    entry: Annotated[str, _INSIDE] = ""
    dev: DevLaunch = DevLaunch()
    permissions: Annotated[tuple[_Name, ...], _at_most(MAX_PERMISSIONS)] = ()
    config_schema: dict[str, Any] = {}
    requires: Annotated[tuple[_Required, ...], _at_most(MAX_REQUIREMENTS)] = ()
    before: Annotated[tuple[_Name, ...], _at_most(MAX_REQUIREMENTS)] = ()
    after: Annotated[tuple[_Name, ...], _at_most(MAX_REQUIREMENTS)] = ()
    min_host_version: str = ""
    exclusive: bool = False
    interface: _Interface | Annotated[tuple[_Interface, ...], _at_most(MAX_INTERFACES)] = ()
    platform: _Version = ""
    raw: dict[str, Any] = {}

    @property
    def plugin(self) -> str:
        """The canonical name."""
        return canonical_name(self.name)

    @property
    def names(self) -> set[str]:
        """The canonical names that it gives to its plugin."""
        given = (self.name, self.plugin_no)
        return {canonical_name(name) for name in given if name}

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces that it is written for."""
        return (self.interface,) if isinstance(self.interface, str) else self.interface

    @property
    def requirements(self) -> dict[str, bool]:
        """The plugins that it requires, and whether each must be ready or only started."""
        parsed = map(parse_requirement, self.requires)
        return {one.plugin: one.must_be_ready for one in parsed}

    @property
    def required_versions(self) -> dict[str, Range]:
        """The plugins of which it requires certain versions."""
        parsed = map(parse_requirement, self.requires)
        return {one.plugin: one.versions for one in parsed if one.versions is not None}


class Requirement(msgspec.Struct, frozen=True):
    """An entry of ``requires``: ``NAME[:started][ RANGE]``.

    Attributes:
        plugin: The canonical name of the plugin that is required.
        must_be_ready: Whether it must be ready, or only started.
        versions: Which versions of it will do; ``None`` for any.
    """

    plugin: str
    must_be_ready: bool
    versions: Range | None


def parse_requirement(text: str) -> Requirement:
    """Parse an entry of ``requires``.

    >>> parse_requirement("cache:started ^1.2").plugin
    'cache'

    Raises:
        ValueError: What follows the name is not a range of versions.
    """
    name, _, wanted = text.strip().partition(" ")
    name, _, condition = name.partition(":")
    versions = parse_range(wanted.strip()) if wanted.strip() else None
    return Requirement(canonical_name(name), condition != "started", versions)


def parse_manifest(data: bytes, origin: str) -> Manifest:
    """Parse and validate a manifest.

    Args:
        data: The contents of the file.
        origin: Where they come from, for messages.

    Raises:
        ManifestError: It is not JSON, a field has the wrong type, the name is missing or invalid,
            or ``entry`` leads outside the package.
    """
    raw = decode_manifest(data, origin)
    try:
        manifest = _convert(raw, raw)
    except msgspec.ValidationError:
        raise ManifestError(f"{origin}: {sift_manifest(raw).faults[0]}") from None
    for fault in _faults_of(manifest):
        raise ManifestError(f"{origin}: {fault}")
    return manifest


def decode_manifest(data: bytes, origin: str) -> dict[str, Any]:
    """Decode a manifest without looking at its fields.

    Args:
        data: The contents of the file.
        origin: Where they come from, for messages.

    Raises:
        ManifestError: It is too large, or no JSON object.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{origin}: {len(data)} bytes; the limit is {MAX_MANIFEST_BYTES}")
    try:
        data = without_mark(data, origin)
    except ValueError as error:
        raise ManifestError(str(error)) from None
    try:
        raw = _decode(data, origin)
    except msgspec.DecodeError as error:
        raise ManifestError(explain_json(data, error, origin)) from None
    except RecursionError:
        raise ManifestError(f"{origin}: is nested too deeply") from None
    if not isinstance(raw, dict):
        raise ManifestError(f"{origin}: expected a JSON object, got {type(raw).__name__}")
    return raw


class Sifted(NamedTuple):
    """A manifest that was looked at field by field.

    Attributes:
        manifest: What is left of it without fields of a wrong type.
        faults: All that is wrong with its fields.
    """

    manifest: Manifest
    faults: list[Fault]


def merge_config(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Merge ``values`` into ``defaults``: tables recursively, everything else as a whole.

    >>> merge_config({"a": {"x": 1, "y": 2}, "b": [1, 2]}, {"a": {"x": 3}, "b": [4]})
    {'a': {'x': 3, 'y': 2}, 'b': [4]}
    """
    merged = dict(defaults)
    for key, value in values.items():
        default = merged.get(key)
        if isinstance(default, dict) and isinstance(value, dict):
            value = merge_config(default, value)
        merged[key] = value
    return merged


def sift_manifest(raw: dict[str, Any]) -> Sifted:
    """Look at each field of a manifest on its own.

    Args:
        raw: What `decode_manifest` has returned.
    """
    wrong = dict(_wrong_types(raw))
    sound = {key: value for key, value in raw.items() if key not in wrong}
    # A name that cannot be used is told already; the other fields are checked all the same.
    if "name" in wrong:
        sound["name"] = _PLACEHOLDER
    manifest = _convert(sound, raw)
    return Sifted(manifest, [*wrong.values(), *_faults_of(manifest)])


def _convert(fields: dict[str, Any], raw: dict[str, Any]) -> Manifest:
    # A package cannot set `raw` itself: the key is overwritten.
    return msgspec.convert({**fields, "raw": raw}, Manifest)


def _wrong_types(raw: dict[str, Any]) -> Iterator[tuple[str, Fault]]:
    """Yield the name of each field that is missing or of another type, and what is wrong."""
    for field in msgspec.structs.fields(Manifest):
        if field.name == "raw":
            continue
        if field.name not in raw:
            if field.required:
                yield field.name, Fault("", f"object missing required field `{field.name}`")
            continue
        try:
            msgspec.convert(raw[field.name], field.type)
        except msgspec.ValidationError as error:
            place, words = place_and_words(error)
            yield field.name, Fault(f"$.{field.name}{place[1:]}", words)


def _faults_of(manifest: Manifest) -> Iterator[Fault]:
    """Yield what is wrong with the values of fields that have the right types."""
    # What can be read must also be writable: in lists, on the wire and in the state file.
    if problem := find_problem(manifest.raw):
        place, _, words = problem.partition(": ")
        yield Fault(place, words)
    yield from _faults_of_names(manifest)
    yield from _faults_of_sizes(manifest)
    yield from _faults_of_requires(manifest)
    yield from _faults_of_interface(manifest)
    yield from _faults_of_entry(manifest.entry)


def _decode(data: bytes, origin: str) -> Any:
    """Decode JSON by the parser of the wire, which takes no longer for any number than for others.

    msgspec takes a second for a file full of numbers halfway between two floats. It has the better
    words for a mistake, so a short file that is refused is read by it again.
    """
    try:
        return parse_message(data)
    except RemoteProtocolError as error:
        if len(data) > _EXPLAINED_BYTES:
            raise ManifestError(f"{origin}: {error}") from None
        return msgspec.json.decode(data)


def read_manifest(path: Path) -> Manifest:
    """Read and validate the manifest file at ``path``. Blocks.

    Raises:
        ManifestError: The file cannot be read, or is invalid; see `parse_manifest`.
    """
    try:
        # One byte more than allowed, so that a file that is too large is told as such.
        data = read_regular(path, MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_manifest(data, str(path))


def read_manifest_if_any(path: Path) -> Manifest | None:
    """Read a manifest that a plugin need not have. Blocks.

    Raises:
        ManifestError: There is one, and it cannot be read or is invalid.
    """
    # A dangling link is an error to report, not a missing manifest; hence lexists.
    return read_manifest(path) if os.path.lexists(path) else None


def _faults_of_names(manifest: Manifest) -> Iterator[Fault]:
    for field, name in (("name", manifest.name), ("plugin_no", manifest.plugin_no)):
        required = field == "name"
        if (name or required) and not may_be_named(canonical_name(name)):
            yield Fault("", f"{field} is {cut(name, _SHOWN)!r}; expected {NAME_RULE}")


def _faults_of_sizes(manifest: Manifest) -> Iterator[Fault]:
    """Yield more names than the host compares, and longer ones."""
    for field, limit in _BOUNDS.items():
        if excess := find_excess(getattr(manifest, field), limit):
            yield Fault("", f"{field} {excess}")
    for field, most in _SIZES.items():
        if (size := size_of(getattr(manifest, field))) > most:
            yield Fault("", f"{field} has {size} bytes; the limit is {most}")
    # They stand in paths, in logs and in the comments of signatures.
    for field in ("version", "platform"):
        if not (value := getattr(manifest, field)).isprintable():
            yield Fault("", f"{field} is {value!a}; expected one without control characters")


def _faults_of_interface(manifest: Manifest) -> Iterator[Fault]:
    for text in manifest.interfaces:
        if not is_interface(text):
            yield Fault("", f"interface has {cut(text, _SHOWN)!r}; expected {INTERFACE_RULE}")


def _faults_of_requires(manifest: Manifest) -> Iterator[Fault]:
    for text in manifest.requires:
        try:
            parse_requirement(text)
        except ValueError as error:
            yield Fault("", f"requires has {cut(text, _SHOWN)!r}: {cut(str(error))}")


def _faults_of_entry(entry: str) -> Iterator[Fault]:
    path = PurePosixPath(entry)
    # Checked as text here, and again on disk before it is started, where links count.
    if path.is_absolute() or ".." in path.parts or "\0" in entry:
        yield Fault(
            "",
            f"entry is {cut(entry, _SHOWN)!r}; expected a path inside the package, without '..'",
        )
