"""Who has changed what: a line in the log for each change, and the last ones to be asked for."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from vconnect.admin.answers import AuditRecord
from vconnect.bounds import cut
from vconnect.logs.text import escape_controls

from .asked import Who

_KEPT = 1000

_log = logging.getLogger(__name__)


class Audit:
    """Writes down changes.

    Attributes:
        on_record: Called with each record.
    """

    def __init__(self) -> None:
        self._records: deque[AuditRecord] = deque(maxlen=_KEPT)
        self._seq = 0
        self.on_record: Callable[[AuditRecord], None] = lambda _: None

    def note(self, who: Who, order: str, plugin: str | None, result: str, began: float) -> None:
        """Write down a change.

        Args:
            who: Who has asked for it.
            order: What was asked for.
            plugin: The plugin, by any name.
            result: ``ok``, or the code of the problem.
            began: When it was asked for, in seconds of ``time.monotonic()``.
        """
        self._seq += 1
        record = AuditRecord(
            seq=self._seq,
            time=time.time(),
            who=who.name,
            via=who.via,
            role=who.role,
            order=order,
            plugin=plugin if plugin is None else cut(plugin),
            result=result,
            ms=round((time.monotonic() - began) * 1000),
        )
        self._records.append(record)
        _log.info(
            "audit who=%s via=%s role=%s order=%s%s result=%s ms=%d",
            record.who.replace(" ", "_"),
            record.via,
            record.role,
            record.order,
            f" plugin={escape_controls(record.plugin)}" if record.plugin is not None else "",
            record.result,
            record.ms,
        )
        self.on_record(record)

    def since(self, moment: float) -> list[AuditRecord]:
        """Return the records after a moment in Unix seconds, oldest first."""
        return [record for record in self._records if record.time > moment]
