"""What must hold for the files of a plugin and its manifest, whether they are packed or not."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import msgspec

from vconnect.bounds import cut
from vconnect.durable import read_regular
from vconnect.errors import InstallError, ManifestError
from vconnect.names import NAME_RULE, PATTERN_RULE, canonical_name, is_pattern, may_be_named
from vconnect.packages.fitness import check_host_version
from vconnect.packages.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    decode_manifest,
    sift_manifest,
)
from vconnect.packages.preparation import faults_of_schema
from vconnect.store.layout import RESERVED_NAMES, check_version
from vconnect.validation import Fault
from vconnect.version import host_version

from .report import Finding, note

_CONDITIONS = ("", "started")
ANY_PLATFORM = "any platform"


class ManifestReading(NamedTuple):
    """A manifest that was looked at.

    Attributes:
        manifest: What it says; ``None`` if it cannot be used.
        faults: All that is wrong with it.
    """

    manifest: Manifest | None
    faults: list[Fault]


def read(file: Path, origin: str) -> ManifestReading:
    """Read a manifest and find all that is wrong with it. Blocks.

    Args:
        file: The file.
        origin: What it is called.
    """
    try:
        data = read_regular(file, MAX_MANIFEST_BYTES + 1)
        raw = decode_manifest(data, origin)
    except OSError as error:
        return ManifestReading(None, [Fault(origin, f"cannot be read: {error.strerror or error}")])
    except ManifestError as error:
        return ManifestReading(None, [_placed(str(error), origin)])
    manifest, wrong = sift_manifest(raw)
    faults = [_within(origin, fault) for fault in wrong]
    faults += _contradictions(manifest, origin)
    faults += faults_of_schema(manifest, origin)
    return ManifestReading(None if wrong else manifest, faults)


def _placed(text: str, origin: str) -> Fault:
    """Split the text of an error that begins with its file, perhaps with line and column."""
    rest = text.removeprefix(origin)
    place, _, words = rest.partition(": ")
    return Fault(origin + place, words)


def _within(origin: str, fault: Fault) -> Fault:
    return Fault(f"{origin}: {fault.place}" if fault.place else origin, fault.words)


def _contradictions(manifest: Manifest, origin: str) -> Iterator[Fault]:
    """Yield what the manifest says and no host could do."""
    for field in ("capabilities", "permissions"):
        for text in getattr(manifest, field):
            if not is_pattern(text):
                yield Fault(f"{origin}: {field}", f"got {text!a}; expected {PATTERN_RULE}")
    for field in ("before", "after"):
        yield from _faults_of_others(manifest, field, getattr(manifest, field), origin)
    both = set(map(canonical_name, manifest.before)) & set(map(canonical_name, manifest.after))
    for name in sorted(both):
        yield Fault(f"{origin}: after", f"{name!a} is in before too; remove it from one of them")
    yield from _faults_of_requires(manifest, origin)
    if manifest.plugin in RESERVED_NAMES:
        yield Fault(f"{origin}: name", f"{manifest.plugin!r} is a name that is taken; use another")
    for check in (_check_host, check_version_of):
        try:
            check(manifest, origin)
        except InstallError as error:
            yield _placed(str(error), origin)


def _check_host(manifest: Manifest, origin: str) -> None:
    check_host_version(manifest, host_version(), origin)


def check_version_of(manifest: Manifest, origin: str) -> None:
    """Refuse a version that an installation refuses; see `check_version`."""
    check_version(manifest.version, origin)


def _faults_of_requires(manifest: Manifest, origin: str) -> Iterator[Fault]:
    names = []
    for text in manifest.requires:
        name, _, condition = text.strip().partition(" ")[0].partition(":")
        names.append(name)
        if condition not in _CONDITIONS:
            yield Fault(
                f"{origin}: requires",
                f"got {text!a}; after a name, only ':started' and a range of versions may follow",
            )
    yield from _faults_of_others(manifest, "requires", names, origin)


def _faults_of_others(
    manifest: Manifest, field: str, names: list[str] | tuple[str, ...], origin: str
) -> Iterator[Fault]:
    """Yield which names in a list can be no other plugin's."""
    seen: set[str] = set()
    for name in names:
        other = canonical_name(name)
        if not may_be_named(other):
            yield Fault(f"{origin}: {field}", f"got {name!a}; expected {NAME_RULE}")
        elif other in manifest.names:
            yield Fault(f"{origin}: {field}", f"{name!a} is this plugin itself; remove it")
        elif other in seen:
            yield Fault(f"{origin}: {field}", f"{name!a} is there twice; remove one")
        seen.add(other)


def notes_of(manifest: Manifest, origin: str) -> Iterator[Finding]:
    """Yield what an operator wants to know of a plugin before it is installed."""
    about = f"{manifest.plugin} {manifest.version}".rstrip()
    yield note(origin, f"{about}, for {manifest.platform or ANY_PLATFORM}")
    # As a list, because a name may be anything.
    asked = ", ".join(map(ascii, manifest.permissions))
    yield note(origin, f"permissions that it asks for: {asked or 'none'}")
    known = [field.name for field in msgspec.structs.fields(Manifest) if field.name != "raw"]
    for key in manifest.raw:
        # Others are allowed: a tool may have its own.
        if key not in known and (near := get_close_matches(key, known, n=1)):
            yield note(f"{origin}: {cut(ascii(key))}", f"unknown key; did you mean {near[0]!r}?")
