"""Why an instance ends, and the state in which that leaves its plugin."""

from __future__ import annotations

import msgspec

from vconnect.plugins.restarts import Ended
from vconnect.plugins.status import PluginStatus, Substate


class Verdict(msgspec.Struct, frozen=True):
    """The state of a plugin once the last process of an instance has ended.

    Attributes:
        status: See `PluginStatus`.
        substate: See `Substate`.
        reason: The reason, for the operator.
        ended: The kind of end, which determines the restart; ``None`` if it was requested.
    """

    status: PluginStatus
    substate: Substate
    reason: str = ""
    ended: Ended | None = None

    @property
    def is_of_the_version(self) -> bool:
        """Whether another version might not have ended so: it failed, or cannot serve here."""
        return self.ended is not None or self.substate is Substate.DISABLED
