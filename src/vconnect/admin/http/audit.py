"""Who has changed what, and who was turned away: lines in the log, and the last changes."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from vconnect.admin.answers import AuditRecord
from vconnect.bounds import cut
from vconnect.bucket import Bucket
from vconnect.logs.text import escape_controls

from .asked import Asked, Who

_KEPT = 1000

#: Problems of those who may not do what they ask for, or are not who they should be.
REFUSALS = frozenset(
    {"role", "bad_token", "too_many_tries", "confined", "bad_host", "bad_origin", "cross_site"}
)
# Lines of the log about them: so many at once, and one each ten seconds.
_BURST, _LINES_PER_S = 10, 0.1

_log = logging.getLogger(__name__)


class Audit:
    """Writes down changes.

    Attributes:
        on_record: Called with each record.
    """

    def __init__(self) -> None:
        self._records: deque[AuditRecord] = deque(maxlen=_KEPT)
        self._seq = 0
        self._lines = Bucket(_BURST, _LINES_PER_S)
        self._untold = 0
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

    def refuse(self, asked: Asked, code: str) -> None:
        """Write down that somebody was turned away, as long as it does not happen all the time.

        Args:
            asked: What they asked for.
            code: Why, as the code of the problem.
        """
        if code not in REFUSALS:
            return
        if self._lines.level() < 1:
            self._untold += 1
            return
        self._lines.take(1)
        more, self._untold = self._untold, 0
        _log.warning(
            "refused who=%s via=%s%s order=%s path=%s result=%s%s",
            "-" if asked.who is None else asked.who.name.replace(" ", "_"),
            asked.via,
            f" peer={escape_controls(cut(asked.peer))}" if asked.peer else "",
            asked.method,
            escape_controls(cut(asked.path)),
            code,
            f" more={more}" if more else "",
        )

    def since(self, moment: float) -> list[AuditRecord]:
        """Return the records after a moment in Unix seconds, oldest first."""
        return [record for record in self._records if record.time > moment]
