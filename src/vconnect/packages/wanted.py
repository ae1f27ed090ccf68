"""``NAME[@RANGE]``: a package that is asked of an index, by its plugin's name."""

from __future__ import annotations

import msgspec

from vconnect.errors import InstallError
from vconnect.names import NAME_RULE, canonical_name, may_be_named, split_request

from .semver import Range, parse_range


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of an index.

    Attributes:
        name: The plugin's canonical name.
        versions: Which versions of it will do.
        is_upgrade: Whether the highest of them is meant, whatever is locked.
        index: The index that has it, without credentials; empty before it was looked up.
        version: The version that was chosen there.
        notes: What the operator should know about that.
        files: The sha256 and the size of the version's file for each platform.
    """

    name: str
    versions: Range
    is_upgrade: bool = False
    index: str = ""
    version: str = ""
    notes: tuple[str, ...] = ()
    files: dict[str, tuple[str, int]] = {}

    @property
    def text(self) -> str:
        """How it is written."""
        return f"{self.name}@{self.versions}" if self.versions.text else self.name


def parse_wanted(text: str) -> Wanted | None:
    """Parse ``NAME[@RANGE]``; return ``None`` for a path or an address.

    Raises:
        InstallError: The name is none of a plugin, or the range none of versions.
    """
    parts = split_request(text)
    if parts is None:
        return None
    name = canonical_name(parts[0])
    if not may_be_named(name):
        raise InstallError(f"{text}: the name is {parts[0]!r}; expected {NAME_RULE}")
    try:
        return Wanted(name=name, versions=parse_range(parts[1].strip()))
    except ValueError as error:
        raise InstallError(f"{text}: {error}") from None
