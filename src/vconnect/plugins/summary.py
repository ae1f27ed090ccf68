"""What an operator sees of a plugin."""

from __future__ import annotations

import msgspec

from .breaker import BreakerState
from .crashes import CrashReport, QuarantinedEvent
from .status import Desired, PluginStatus, Substate


class PluginSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sees of a plugin.

    Attributes:
        desired: What the operator asked for.
        reason: Why it is where it is, in words to act on; empty when all is well.
        pid: Its process, while there is one.
        last_heartbeat: When it was last seen alive; Unix time in seconds.
        uptime_s: Seconds since it became ``Running``.
        generation: How often it was started.
        path: Its directory; empty for one that another program started.
        dialect: What its session speaks; empty without one.
        cpu_percent: Of one processor, by its whole process tree in the last second; ``None``
            where that is not known, as on macOS.
        rss_bytes: Resident memory of the tree; likewise.
        processes: How many processes the tree has; likewise.
        threads: … and threads.
        open_files: … and open descriptors.
        exit_code: Of its last end, or ``None``.
        exit_signal: The signal that ended it last, or ``None``.
        last_stderr: The last lines of its standard error.
        in_flight: Events sent and not yet answered.
        events: Events sent to it since the host began.
        errors: … that it answered with an error, or never.
        timeouts: … that it did not answer in time.
        late: Answers of this session that came when nobody waited for them any more.
        unasked: … that belong to no event.
        dropped: Notifications that it did not get: its queue was full, or it was not connected.
        refused_changes: Protected fields that its replacements tried to change.
        log_suppressed: Lines of its output that were too many to be kept.
        breaker: Its circuit: ``closed``, ``open`` (calls fail at once) or ``half_open``.
        next_retry_at: When it is started again; Unix time in seconds, or ``None``.
        crashes: Its last ends that nobody asked for, oldest first.
        quarantine: Events that it does not get any more: each was in flight in two crashes.
    """

    name: str
    version: str
    status: PluginStatus
    substate: Substate
    desired: Desired
    reason: str
    pid: int | None
    priority: int
    capabilities: tuple[str, ...]
    last_heartbeat: float | None
    uptime_s: float | None
    generation: int
    description: str
    path: str
    dev: bool
    external: bool
    dialect: str
    cpu_percent: float | None
    rss_bytes: int | None
    processes: int | None
    threads: int | None
    open_files: int | None
    exit_code: int | None
    exit_signal: str | None
    last_stderr: tuple[str, ...]
    in_flight: int
    events: int
    errors: int
    timeouts: int
    late: int
    unasked: int
    dropped: int
    refused_changes: int
    log_suppressed: int
    breaker: BreakerState
    next_retry_at: float | None
    crashes: tuple[CrashReport, ...]
    quarantine: tuple[QuarantinedEvent, ...]
