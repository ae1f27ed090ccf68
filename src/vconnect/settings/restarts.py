"""When and how often a plugin is started again, as configured by the operator."""

from __future__ import annotations

from typing import Literal

import msgspec

RestartMode = Literal["always", "on-failure", "never"]
AfterCrashLoop = Literal["hold", "give_up"]


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When and how often a plugin is started again. Durations are in seconds.

    Attributes:
        mode: ``always``, ``on-failure`` (not after exit code 0) or ``never``.
        delay: Upper bound of the first back-off; it doubles with each failure.
        max_delay: Highest upper bound of the back-off.
        reset_after: Uptime after which the failure history is cleared.
        crash_limit: Number of ends within `crash_window` that counts as a crash loop.
        crash_window: Period in which `crash_limit` ends count as a crash loop.
        after_crash_loop: ``hold`` retries every `hold` seconds, ``give_up`` does not retry.
        hold: Time between retries in a crash loop, and after a permanent failure.
    """

    mode: RestartMode = "always"
    delay: float = 0.5
    max_delay: float = 30.0
    reset_after: float = 60.0
    crash_limit: int = 5
    crash_window: float = 60.0
    after_crash_loop: AfterCrashLoop = "hold"
    hold: float = 300.0
