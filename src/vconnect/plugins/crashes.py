"""A plugin's unexpected ends, and the events that appear to cause them."""

# An event that was being handled when its plugin crashed is suspect. A good answer clears it, and
# so does time: a heartbeat with the same payload every minute must not add up two crashes that are
# a month apart. The second crash puts a suspect into quarantine, until an operator or another
# version of the plugin gives it a new chance.

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec
import orjson

from vconnect.bounds import cut
from vconnect.durable import read_own, replace_file
from vconnect.threads import BackgroundWriter
from vconnect.wire.session import LostEvent

# Reports are in every summary and rewritten as a whole, so there are only a few.
_KEPT_REPORTS = 10
# A busy plugin that crashes often has many events in flight each time; the oldest are forgotten.
_MAX_SUSPECTS = 4096
# They are in every summary of the plugin.
_MAX_QUARANTINED = 256
_MAX_SHOWN_BYTES = 64 * 1024
# Seconds after which a suspicion is forgotten.
_SUSPECT_FOR_S = 3600.0

_log = logging.getLogger(__name__)


class CrashReport(msgspec.Struct, frozen=True, kw_only=True):
    """One unexpected end.

    Attributes:
        at: When it happened, in Unix seconds.
        generation: The generation of the plugin that ended.
        ran_for_s: Seconds since its handshake; 0 without a handshake.
        reason: The reason, for the operator.
        exit_code: The leader's exit code, or ``None``.
        exit_signal: The signal that ended the leader, or ``None``.
        last_stderr: Its last lines on stderr.
        in_flight: The names of the events that it had not answered.
        max_rss_bytes: The leader's peak resident memory; ``None`` if unknown.
        cpu_s: The leader's processor time in seconds; ``None`` if unknown.
        said: The last words in `last_stderr` from before the host's own signal; ``None`` in reports
            of older versions.
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
    said: str | None = None


class QuarantinedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a plugin no longer gets, because it crashed twice with it.

    Attributes:
        fingerprint: A digest of event and payload.
        event: The event's name.
        payload: The payload as JSON text, so that it can be inspected and sent again; of a large
            one, the first 64 KiB and its size.
        skipped: How often it has been withheld since.
    """

    fingerprint: str
    event: str
    payload: str
    skipped: int = 0


class Crashes:
    """One plugin's crash reports and quarantine.

    Args:
        plugin: The plugin's canonical name.
        directory: Where reports are also kept on disk; ``None`` for in memory only.
        clock: Returns monotonic seconds.

    Attributes:
        reports: The newest reports, oldest first.
        quarantine: The quarantined events by fingerprint.
        is_watching: Whether any event is suspect or quarantined. If not, events need not be passed
            to `skips` and `answered`.
    """

    def __init__(
        self, plugin: str, directory: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plugin = plugin
        self._clock = clock
        self.is_watching = False
        self._file = None if directory is None else directory / f"{plugin}.json"
        # When each suspect was last being handled in a crash; the oldest comes first.
        self._suspects: dict[str, float] = {}
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
        """Keep a report, and quarantine events that were being handled for the second time.

        Args:
            report: The report.
            lost: The events that may have caused the end; see `LostEvent`.
        """
        self.reports.append(report)
        self._forget_old()
        # By fingerprint: however often an event was in flight, one crash counts once.
        for key, event in {fingerprint(event.frame): event for event in lost}.items():
            self._suspect(key, event)
        self._look()
        if self._writer is not None:
            self._writer.changed()

    async def flush(self) -> None:
        """Wait until every report is on disk, or writing it has failed."""
        if self._writer is not None:
            await self._writer.flush()

    def skips(self, frame: bytes) -> bool:
        """Return whether an event, given as its classic frame, is quarantined; count if so."""
        entry = self.quarantine.get(fingerprint(frame))
        if entry is None:
            return False
        self.quarantine[entry.fingerprint] = msgspec.structs.replace(
            entry, skipped=entry.skipped + 1
        )
        return True

    def answered(self, frame: bytes) -> None:
        """Clear an event, given as its classic frame, that the plugin has answered well."""
        if self._suspects.pop(fingerprint(frame), None) is not None:
            self._look()

    def release(self) -> int:
        """Give every suspect and quarantined event a new chance; return how many were withheld."""
        released = len(self.quarantine)
        if released:
            _log.info("plugin %s gets %d quarantined event(s) again", self._plugin, released)
        self.quarantine = {}
        self._suspects = {}
        self._look()
        return released

    def _look(self) -> None:
        self.is_watching = bool(self._suspects or self.quarantine)

    def _forget_old(self) -> None:
        until = self._clock() - _SUSPECT_FOR_S
        for key in [key for key, at in self._suspects.items() if at < until]:
            del self._suspects[key]

    def _suspect(self, key: str, lost: LostEvent) -> None:
        # Popped and added again, so that the dictionary's order is that of the last crash.
        if self._suspects.pop(key, None) is None:
            if len(self._suspects) >= _MAX_SUSPECTS:
                # Dictionaries keep their order, so this is the oldest.
                del self._suspects[next(iter(self._suspects))]
            self._suspects[key] = self._clock()
            return
        payload = cut(orjson.dumps(lost.payload).decode(), _MAX_SHOWN_BYTES)
        if len(self.quarantine) >= _MAX_QUARANTINED:
            oldest = self.quarantine.pop(next(iter(self.quarantine)))
            _log.warning(
                "plugin %s has %d events in quarantine; it gets the oldest, %s (%s), again",
                self._plugin,
                _MAX_QUARANTINED,
                oldest.event,
                oldest.fingerprint,
            )
        self.quarantine[key] = QuarantinedEvent(fingerprint=key, event=lost.event, payload=payload)
        _log.error(
            "plugin %s crashed twice with the event %s (%s), which is in quarantine for it; to end "
            "that: vconnect release %s",
            self._plugin,
            lost.event,
            key,
            self._plugin,
        )

    def _read(self) -> list[CrashReport]:
        if self._file is None:
            return []
        try:
            return msgspec.json.decode(read_own(self._file), type=list[CrashReport])
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # Reports are for information only: a bad file must not keep the plugin from starting.
            _log.warning("cannot read crash reports in %s: %s", self._file, error)
            return []

    def _encoded(self) -> bytes:
        return msgspec.json.encode(list(self.reports))


def fingerprint(frame: bytes) -> str:
    """Return a digest of an event's classic frame, which is the same in both dialects."""
    # 8 bytes: an operator can compare them, and a coincidence among 4096 suspects is unlikely.
    return hashlib.blake2b(frame, digest_size=8).hexdigest()
