"""Versions of packages and ranges of them: Semantic Versioning 2.0.0 (https://semver.org)."""

# A version is compared by its three numbers and its pre-release. Build metadata has no order. What
# authors write in practice is read as well: a leading "v", and fewer than three numbers. Anything
# else is a version without an order: it is equal to itself, and to nothing else.

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import total_ordering
from typing import Any

import msgspec

_NUMBER = r"(?:0|[1-9]\d{0,17})"
_TAIL = r"(?:-(?P<pre>[0-9A-Za-z.-]+))?(?:\+(?P<build>[0-9A-Za-z.-]+))?"
_VERSION = re.compile(
    rf"v?(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER}))?(?:\.(?P<patch>{_NUMBER}))?{_TAIL}",
    re.ASCII,
)
_WILDCARD = re.compile(
    rf"v?(?:(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER}))?\.)?[*xX](?:\.[*xX])*", re.ASCII
)
_COMPARATOR = re.compile(r"(?P<operator>>=|<=|[=><^~]?)\s*(?P<version>[0-9A-Za-z.+*_-]+)")
_SEPARATORS = re.compile(r"[\s,]*")
RANGE_RULE = "comparators such as >=1.2, <2, ^1.2, ~1.2 or 1.2.*, separated by spaces or commas"

# The same in one pattern, for JSON Schema, which has no names for groups. A version without an
# order may only stand alone or after "=". Each character can be matched in one way only, so that a
# text that does not match takes no longer than one that does.
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_N = r"(?:0|[1-9][0-9]{0,17})"
_ORDERED = (
    rf"v?{_N}(?:\.{_N}){{0,2}}(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_END = r"(?![0-9A-Za-z.+*_-])"
RANGE_PATTERN = (
    rf"(?:[\s,]*(?:(?:=\s*)?[0-9A-Za-z.+*_-]+{_END}|(?:>=?|<=?|[\^~])\s*{_ORDERED}{_END}))*[\s,]*"
)
"""What a text matches that `parse_range` accepts."""

_MAX_CHARACTERS = 255
# The lowest pre-release: a bound with it excludes the pre-releases of its version as well.
_LOWEST: tuple[tuple[int, int, str], ...] = ((0, 0, ""),)


@total_ordering
class Version:
    """A version.

    Args:
        text: As written.

    Attributes:
        numbers: Major, minor and patch; ``None`` if the text has no order.
        prerelease: Its identifiers, in a form that compares as the specification says.
        parts: How many of the numbers were written.
    """

    __slots__ = ("numbers", "parts", "prerelease", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.numbers: tuple[int, int, int] | None = None
        self.prerelease: tuple[tuple[int, int, str], ...] = ()
        self.parts = 0
        found = _VERSION.fullmatch(text) if len(text) <= _MAX_CHARACTERS else None
        if found is None or not _has_sound_identifiers(found):
            return
        written = [int(found[name]) for name in ("major", "minor", "patch") if found[name]]
        self.parts = len(written)
        major, minor, patch = (*written, 0, 0)[:3]
        self.numbers = major, minor, patch
        if found["pre"]:
            self.prerelease = tuple(map(_identifier, found["pre"].split(".")))

    @classmethod
    def bound(cls, major: int, minor: int = 0, patch: int = 0) -> Version:
        """Return the lowest pre-release of a version, which excludes all others of it."""
        made = cls(f"{major}.{minor}.{patch}-0")
        made.prerelease = _LOWEST
        return made

    @property
    def has_order(self) -> bool:
        """Whether it can be compared with others."""
        return self.numbers is not None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version({self.text!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return self._key() == other._key()

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        # Those without an order are below all others, so that a list of them can be sorted.
        if self.numbers is None:
            return (0, self.text)
        # A version is higher than its pre-releases.
        return (1, self.numbers, not self.prerelease, self.prerelease)


class Comparator(msgspec.Struct, frozen=True):
    """One condition of a range: ``=``, ``>``, ``>=``, ``<`` or ``<=`` and a version."""

    operator: str
    version: Version

    def takes(self, version: Version) -> bool:
        """Return whether a version meets it."""
        if self.operator == "=":
            return version == self.version
        if not (version.has_order and self.version.has_order):
            return False
        if self.operator.startswith(">"):
            return version > self.version or (self.operator == ">=" and version == self.version)
        return version < self.version or (self.operator == "<=" and version == self.version)


class Range(msgspec.Struct, frozen=True):
    """A range of versions.

    Attributes:
        text: As written; empty takes every version that is no pre-release.
        comparators: Its conditions, all of which must be met.
    """

    text: str
    comparators: tuple[Comparator, ...] = ()

    def takes(self, version: Version | str) -> bool:
        """Return whether a version is in the range.

        A pre-release is in it only if a condition names one of the same version: ``^1.2.0`` does
        not ask for ``1.3.0-beta``.
        """
        if isinstance(version, str):
            version = Version(version)
        if not all(one.takes(version) for one in self.comparators):
            return False
        return not version.prerelease or any(
            one.version.prerelease not in ((), _LOWEST) and one.version.numbers == version.numbers
            for one in self.comparators
        )

    def best(self, versions: Iterable[Version]) -> Version | None:
        """Return the highest version in the range, or ``None``."""
        return max(filter(self.takes, versions), default=None)

    def __str__(self) -> str:
        return self.text


def parse_range(text: str) -> Range:
    """Parse a range.

    >>> parse_range(">=1.2 <2").takes("1.10.0")
    True
    >>> parse_range("^0.2.3").takes("0.3.0")
    False

    Raises:
        ValueError: It is not one; the text says what is wrong.
    """
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"a range of {len(text)} characters; the limit is {_MAX_CHARACTERS}")
    if "||" in text:
        raise ValueError("|| is not supported; expected " + RANGE_RULE)
    return Range(text, tuple(_comparators(text)))


def _comparators(text: str) -> Iterator[Comparator]:
    at = _skip(text, 0)
    while at < len(text):
        found = _COMPARATOR.match(text, at)
        if found is None:
            raise ValueError(f"{text[at:]!r} is not a comparator; expected {RANGE_RULE}")
        yield from _expand(found["operator"], found["version"])
        at = _skip(text, found.end())


def _skip(text: str, at: int) -> int:
    found = _SEPARATORS.match(text, at)
    return found.end() if found is not None else at


def _expand(operator: str, text: str) -> Iterator[Comparator]:
    """Yield the plain comparators that one written one stands for."""
    if wildcard := _WILDCARD.fullmatch(text):
        if operator not in ("", "="):
            raise ValueError(f"{operator}{text} combines an operator and a wildcard; omit one")
        numbers = [int(wildcard[name]) for name in ("major", "minor") if wildcard[name]]
        yield from _prefix(numbers)
        return
    version = Version(text)
    if operator in ("", "="):
        yield Comparator("=", version)
        return
    if version.numbers is None:
        raise ValueError(f"{text!r} has no order; expected a version such as 1.2.3, or = before it")
    if operator == "^":
        yield Comparator(">=", version)
        yield Comparator("<", _above_caret(version.numbers, version.parts))
    elif operator == "~":
        yield Comparator(">=", version)
        major, minor, _ = version.numbers
        upper = Version.bound(major, minor + 1) if version.parts > 1 else Version.bound(major + 1)
        yield Comparator("<", upper)
    else:
        yield Comparator(operator, version)


def _prefix(numbers: list[int]) -> Iterator[Comparator]:
    """Yield what takes all versions that begin with these numbers."""
    if not numbers:
        yield Comparator(">=", Version("0.0.0"))
        return
    lower = ".".join(map(str, (*numbers, 0, 0)[:3]))
    yield Comparator(">=", Version(lower))
    major, *rest = numbers
    upper = Version.bound(major, rest[0] + 1) if rest else Version.bound(major + 1)
    yield Comparator("<", upper)


def _above_caret(numbers: tuple[int, int, int], parts: int) -> Version:
    """Return the first version that changes the leftmost number that is not zero."""
    major, minor, patch = numbers
    if major or parts == 1:
        return Version.bound(major + 1)
    if minor or parts == 2:
        return Version.bound(0, minor + 1)
    return Version.bound(0, 0, patch + 1)


def _has_sound_identifiers(found: re.Match[str]) -> bool:
    """Return whether no identifier is empty, and no number in a pre-release begins with 0."""
    for name in ("pre", "build"):
        for identifier in (found[name] or "x").split("."):
            is_padded = identifier.isdigit() and len(identifier) > 1 and identifier[0] == "0"
            if not identifier or (name == "pre" and is_padded):
                return False
    return True


def _identifier(text: str) -> tuple[int, int, str]:
    """Return an identifier so that it compares: numbers first, and by their value."""
    return (0, int(text), "") if text.isdigit() else (1, 0, text)
