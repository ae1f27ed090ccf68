"""When and how often a plugin is started again, as the operator wants it."""

from __future__ import annotations

from typing import Literal

import msgspec

RestartMode = Literal["always", "on-failure", "never"]
AfterCrashLoop = Literal["hold", "give_up"]


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When and how often a plugin is started again. Durations are seconds.

    Attributes:
        mode: ``always``; ``on-failure``: not after a clean exit; ``never``.
        delay: The first back-off; it doubles with each failure.
        max_delay: The longest one.
        reset_after: A plugin that ran for so long has no past.
        crash_limit: So many ends within `crash_window` are a crash loop.
        crash_window: See there.
        after_crash_loop: ``hold`` tries again every `hold` seconds, ``give_up`` does not.
        hold: See there.
    """

    mode: RestartMode = "always"
    delay: float = 0.5
    max_delay: float = 30.0
    reset_after: float = 60.0
    crash_limit: int = 5
    crash_window: float = 60.0
    after_crash_loop: AfterCrashLoop = "hold"
    hold: float = 300.0
