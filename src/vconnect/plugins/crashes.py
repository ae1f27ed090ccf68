"""What is kept of a plugin's ends that nobody asked for, and of the events that go with them."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
import orjson

from vconnect.durable import replace_file
from vconnect.threads import BackgroundWriter
from vconnect.wire.session import LostEvent

_KEPT_REPORTS = 10
_CRASHES_TO_QUARANTINE = 2
_MAX_SUSPECTS = 4096

_log = logging.getLogger(__name__)


class CrashReport(msgspec.Struct, frozen=True, kw_only=True):
    """One end that nobody asked for.

    Attributes:
        at: When; Unix time in seconds.
        generation: Which start of the plugin it was.
        ran_for_s: Seconds since its handshake; 0 without one.
        reason: In words.
        exit_code: Of the leader, or ``None``.
        exit_signal: The signal that ended it, or ``None``.
        last_stderr: Its last lines.
        in_flight: The events that it had not answered.
        max_rss_bytes: The most memory that its leader ever had; ``None`` where nobody knows.
        cpu_s: Processor time of its leader.
    """

    at: float
    generation: int
    ran_for_s: float
    reason: str
    exit_code: int | None
    exit_signal: str | None
    last_stderr: tuple[str, ...]
    in_flight: tuple[str, ...]
    max_rss_bytes: int | None
    cpu_s: float | None


class QuarantinedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a plugin does not get any more: it was in flight in two of its crashes.

    Attributes:
        fingerprint: Of event and payload.
        event: Its name.
        payload: As JSON text, so that it can be looked at and sent again.
        skipped: How often it was kept from the plugin since.
    """

    fingerprint: str
    event: str
    payload: str
    skipped: int = 0


class Crashes:
    """One plugin's crash reports, and its quarantine.

    Args:
        plugin: Canonical name.
        directory: Where reports are kept on the disk too; ``None`` for nowhere.
    """

    def __init__(self, plugin: str, directory: Path | None) -> None:
        self._plugin = plugin
        self._file = None if directory is None else directory / f"{plugin}.json"
        self._suspects: dict[str, int] = {}
        self._writer: BackgroundWriter[bytes] | None = None
        if self._file is not None:
            self._writer = BackgroundWriter(
                f"file of crash reports {self._file}",
                self._encoded,
                partial(replace_file, self._file),
                "they are kept in memory only",
            )
        self.reports: deque[CrashReport] = deque(self._read(), maxlen=_KEPT_REPORTS)
        self.quarantine: dict[str, QuarantinedEvent] = {}

    def add(self, report: CrashReport, lost: Iterable[LostEvent]) -> None:
        """Keep a report; quarantine the events that were in flight for the second time."""
        self.reports.append(report)
        for event in lost:
            self._suspect(event)
        if self._writer is not None:
            self._writer.changed()

    async def flush(self) -> None:
        """Return when every report is on the disk, or the disk has refused."""
        if self._writer is not None:
            await self._writer.flush()

    def skips(self, frame: bytes) -> bool:
        """Tell whether an event is quarantined; the classic frame is what is looked at."""
        entry = self.quarantine.get(fingerprint(frame))
        if entry is None:
            return False
        self.quarantine[entry.fingerprint] = msgspec.structs.replace(
            entry, skipped=entry.skipped + 1
        )
        return True

    def _suspect(self, lost: LostEvent) -> None:
        key = fingerprint(lost.frame)
        crashes = self._suspects.pop(key, 0) + 1
        if crashes < _CRASHES_TO_QUARANTINE:
            if len(self._suspects) >= _MAX_SUSPECTS:
                del self._suspects[next(iter(self._suspects))]
            self._suspects[key] = crashes
            return
        payload = orjson.dumps(lost.payload).decode()
        self.quarantine[key] = QuarantinedEvent(fingerprint=key, event=lost.event, payload=payload)
        _log.error(
            "plugin %s crashed twice with the event %s (%s); it will not get this event again",
            *(self._plugin, lost.event, key),
        )

    def _read(self) -> list[CrashReport]:
        if self._file is None or not self._file.exists():
            return []
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[CrashReport])
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("crash reports in %s cannot be read: %s", self._file, error)
            return []

    def _encoded(self) -> bytes:
        return msgspec.json.encode(list(self.reports))


def fingerprint(frame: bytes) -> str:
    """Name an event by what it says."""
    return hashlib.blake2b(frame, digest_size=8).hexdigest()
