"""``store.json``: what happened to the versions of one plugin, and which one comes next."""

# The link `current` is the truth about what is started; this file only explains it. So it is
# written after the switch, a failure to write it is a warning, and a file that cannot be read costs
# the history and nothing else. The one thing that only this file knows is which version waits.

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from vconnect.durable import read_own, replace_file
from vconnect.errors import InstallError

from .layout import FORMAT, RECORD, InstalledVersion

_KEPT = 50

#: ``installed`` is a version that became current without being tried: the first one.
Result = Literal["installed", "ready", "failed"]

_log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a version.

    Attributes:
        version: The version as its manifest has it.
        digest: See `InstalledVersion.digest`.
        at: When, in Unix seconds.
        by: Who: the user's ID.
        how: What was done: ``install``, ``switch``, ``migration`` or ``start``.
        result: What came of it: a `Result`, or what a newer vconnect knows.
        reason: Why it failed.
    """

    version: str
    digest: str
    at: float
    by: str
    how: str
    result: str
    reason: str = ""


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a host's configuration that was carried out.

    Attributes:
        source: A digest of its text, which may have credentials.
        digest: The digest of the package that it stood for.
    """

    source: str
    digest: str


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The contents of the file.

    Attributes:
        format: The version of the format.
        next: The directory's name of the version that the next start tries; empty for none.
        history: What happened, oldest first.
        configured: What the configuration of each host said last, by a digest of its socket.
        sources: Where a version was installed from again, if elsewhere, by its digest; without
            credentials.
    """

    format: int = FORMAT
    next: str = ""
    history: tuple[Entry, ...] = ()
    configured: dict[str, Configured] = {}
    sources: dict[str, str] = {}

    def with_entry(
        self, version: InstalledVersion, how: str, result: Result, reason: str = ""
    ) -> Record:
        """Return the record after this happened to a version."""
        entry = Entry(
            version=version.version,
            digest=version.digest,
            at=time.time(),
            by=f"uid {os.geteuid()}",
            how=how,
            result=result,
            reason=reason,
        )
        return msgspec.structs.replace(self, history=(*self.history, entry)[-_KEPT:])

    def last(self, digest: str) -> Entry | None:
        """Return what last happened to a version, or ``None`` if nothing is known of it."""
        return next((one for one in reversed(self.history) if one.digest == digest), None)


def read_record(home: Path) -> Record:
    """Read the record of a plugin's directory. Blocks.

    A record that is missing or corrupt is empty: the versions themselves say what is installed.

    Raises:
        InstallError: It was written by a newer vconnect.
    """
    file = home / RECORD
    try:
        raw = _raw(file)
        record = msgspec.convert(raw, Record)
    except FileNotFoundError:
        return Record()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _log.warning("%s cannot be read (%s); its history is lost", file, error)
        return Record()
    if record.format > FORMAT:
        raise InstallError(
            f"{file} has format version {record.format}; this vconnect supports at most {FORMAT}"
        )
    return record


def write_record(home: Path, record: Record) -> None:
    """Replace the record. Blocks.

    Raises:
        OSError: Writing failed; the old record is unchanged.
    """
    file = home / RECORD
    try:
        others = _raw(file)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        others = {}
    # Fields of a newer vconnect are kept.
    for key in Record.__struct_fields__:
        others.pop(key, None)
    fields = {"format": FORMAT, **msgspec.to_builtins(record), **others}
    replace_file(file, msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n")


def _raw(file: Path) -> dict[str, Any]:
    return msgspec.json.decode(read_own(file), type=dict[str, Any])
