"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from vconnect.validation import Fault


class Subject(StrEnum):
    """What was looked at."""

    PACKAGE = "package"
    DIRECTORY = "directory"
    MANIFEST = "manifest"
    CONFIGURATION = "configuration"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found.

    Attributes:
        place: The file, and the key or member in it.
        message: What it is, and what to do.
        is_fault: Whether it is wrong; else it is only worth knowing.
    """

    place: str
    message: str
    is_fault: bool = True


class Report(msgspec.Struct, frozen=True):
    """All that was found.

    Attributes:
        subject: What was looked at.
        findings: What was found, in order.
        is_unusable: Whether the manifest or the configuration cannot be used at all.
    """

    subject: Subject
    findings: tuple[Finding, ...]
    is_unusable: bool = False

    @property
    def faults(self) -> int:
        """The number of faults."""
        return sum(finding.is_fault for finding in self.findings)


def faulty(faults: Iterable[Fault]) -> list[Finding]:
    """Return faults as findings, each of them once."""
    return [Finding(place, words) for place, words in dict.fromkeys(faults)]


def note(place: str, message: str) -> Finding:
    """Return something that is worth knowing."""
    return Finding(place, message, is_fault=False)
