"""Events that a plugin did not get although it wants them: how many, why, and with which effect."""

# Being passed over is a result, not an absence: an event that went on without a filter must be seen
# by somebody. So each is counted where that is decided, in `dispatch`. A row is one event, reason
# and effect; there are few of each.

from __future__ import annotations

import time
from enum import StrEnum

import msgspec

from vconnect.wire._latency import OTHER

from .moments import KEPT

# Rows of one plugin. What is beyond has the event `OTHER`.
_MAX_ROWS = 128


class Reason(StrEnum):
    """Why an event was not sent to a plugin."""

    NOT_INSTALLED = "not_installed"
    NOT_HANDLED = "not_handled"
    STOPPED = "stopped"
    STARTING = "starting"
    FAILED = "failed"
    DRAINING = "draining"
    CIRCUIT_OPEN = "circuit_open"
    QUARANTINE = "quarantine"
    QUEUE_FULL = "queue_full"
    TIME_USED_UP = "time_used_up"


class Effect(StrEnum):
    """What became of an event for which a plugin was passed over."""

    SKIPPED = "skipped"  #: it went on without the plugin
    REFUSED = "refused"  #: it went no further, or the caller got an error
    DEFAULT = "default"  #: the configured default answer replaced the plugin's


WORDS: dict[Reason, str] = {
    Reason.NOT_INSTALLED: "not installed",
    Reason.NOT_HANDLED: "it does not declare the event",
    Reason.STOPPED: "stopped",
    Reason.STARTING: "starting",
    Reason.FAILED: "failed",
    Reason.DRAINING: "stopping",
    Reason.CIRCUIT_OPEN: "circuit open",
    Reason.QUARANTINE: "in quarantine",
    Reason.QUEUE_FULL: "queue full",
    Reason.TIME_USED_UP: "no time left",
}
"""Each reason, for a person."""


class PassedOverRow(msgspec.Struct):
    """Events of one name that passed a plugin over for one reason, with one effect.

    Attributes:
        event: The event; ``_other`` if there are too many.
        reason: Why it was not sent.
        effect: What became of it.
        count: How many there were since the host started.
        first: When the first one came, in Unix seconds.
        last: When the last one came.
    """

    event: str
    reason: Reason
    effect: Effect
    count: int = 0
    first: float = 0.0
    last: float = 0.0


class PassedOver:
    """What passed one plugin over since the host started."""

    __slots__ = ("_kept", "_rows", "by_effect", "count")

    def __init__(self) -> None:
        self._rows: dict[tuple[str, Reason, Effect], PassedOverRow] = {}
        #: All of them, so that a reader sees cheaply whether there are more.
        self.count = 0
        self.by_effect = dict.fromkeys(Effect, 0)
        self._kept: list[dict[Effect, int]] = []

    def add(self, event: str, reason: Reason, effect: Effect) -> None:
        """Count an event.

        Args:
            event: Its label, see `Registry.label`.
            reason: Why it was not sent.
            effect: What became of it.
        """
        key = (event, reason, effect)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= _MAX_ROWS:
                key = (OTHER, reason, effect)
            row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = PassedOverRow(*key, first=time.time())
        row.count += 1
        row.last = time.time()
        self.count += 1
        self.by_effect[effect] += 1

    @property
    def rows(self) -> list[PassedOverRow]:
        """Each event, reason and effect; the latest comes first."""
        return sorted(self._rows.values(), key=lambda row: -row.last)

    def keep(self, moment: int) -> None:
        """Remember the present as a moment, for `since`."""
        if not self._kept:
            if not self.count:
                return  # almost every plugin
            self._kept = [dict.fromkeys(Effect, 0) for _ in range(KEPT)]
        self._kept[moment % KEPT] = dict(self.by_effect)

    def since(self, moment: int) -> dict[str, int]:
        """Return how many came since a moment, by effect."""
        kept = self._kept[moment % KEPT] if self._kept else dict.fromkeys(Effect, 0)
        return {str(effect): count - kept[effect] for effect, count in self.by_effect.items()}
