"""Why an instance ends, and the state in which that leaves its plugin."""

from __future__ import annotations

import msgspec

from vconnect.plugins.restarts import Ended
from vconnect.plugins.status import PluginStatus, Substate


class Verdict(msgspec.Struct, frozen=True):
    """Where a plugin comes to rest once the last process of an instance has ended.

    Attributes:
        status: See `PluginStatus`.
        substate: See `Substate`.
        reason: In words to act on.
        ended: What it means for starting it again; ``None`` if the end was asked for.
    """

    status: PluginStatus
    substate: Substate
    reason: str = ""
    ended: Ended | None = None
