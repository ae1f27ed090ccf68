"""What an operator sees of a plugin."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from .breaker import BreakerState
from .crashes import CrashReport, QuarantinedEvent
from .runtime import PluginRuntime
from .status import Desired, PluginStatus, Substate


class PluginSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sees of a plugin.

    Attributes:
        name: Canonical name.
        version: As its handshake says, else its manifest.
        status: Where it is in its life; see `PluginStatus`.
        substate: What it waits for, or what brought it to its status; see `Substate`.
        desired: What the operator asked for.
        reason: Why it is where it is, in words to act on; empty when all is well.
        pid: The PID of its process, while there is one.
        priority: Its place in chains: higher first.
        capabilities: The events, families and wildcards that it declares.
        last_heartbeat: When it was last seen alive; Unix time in seconds.
        uptime_s: Seconds since it became ``Running``; ``None`` while it is not.
        generation: The number of times it was started.
        description: As its manifest says.
        path: Its directory; empty for a plugin that another program started.
        dev: Whether it runs from source.
        external: Whether another program started it.
        dialect: The dialect that its session speaks; empty without a session.
        cpu_percent: Processor use of its whole process tree in the last second, in percent of one
            processor; ``None`` where that is not known, as on macOS.
        rss_bytes: Resident memory of the process tree; ``None`` where that is not known.
        processes: Processes in the tree; ``None`` where that is not known.
        threads: Threads in the tree; ``None`` where that is not known.
        open_files: Open descriptors in the tree; ``None`` where that is not known.
        exit_code: The exit code of its last end, or ``None``.
        exit_signal: The signal that ended it last, or ``None``.
        last_stderr: The last lines of its standard error.
        in_flight: Events sent and not yet answered.
        events: Events sent to it since the host began.
        errors: Events that it answered with an error, or never.
        timeouts: Events that it did not answer in time.
        late: Answers of this session that arrived after their caller had gone.
        unasked: Answers of this session that belong to no event.
        dropped: Notifications that it did not get: its queue was full, or it was not connected.
        refused_changes: Protected fields that its replacements tried to change.
        log_suppressed: Lines of its output beyond the limits, which were counted and not kept.
        breaker: The state of its circuit: ``closed``, ``open`` (calls fail at once) or
            ``half_open``.
        next_retry_at: When it is started again; Unix time in seconds, or ``None``.
        crashes: Its last unexpected ends, oldest first.
        quarantine: Events that it does not get any more, each in flight in two crashes.
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


def summarize(plugin: PluginRuntime) -> PluginSummary:
    """Describe a plugin as it is now."""
    declared, manifest, counters = plugin.declared, plugin.manifest, plugin.counters
    return PluginSummary(
        name=plugin.name,
        version=declared.version or (manifest.version if manifest else ""),
        status=plugin.status,
        substate=plugin.substate,
        desired=plugin.desired,
        reason=plugin.reason or _why_restarted(plugin),
        pid=_pid(plugin),
        priority=declared.priority,
        capabilities=declared.capabilities,
        last_heartbeat=plugin.last_heartbeat,
        uptime_s=_uptime_s(plugin),
        generation=plugin.generation,
        description=manifest.description if manifest else "",
        path=str(plugin.path or ""),
        dev=plugin.dev,
        external=plugin.is_external,
        events=counters.events,
        errors=counters.errors,
        timeouts=counters.timeouts,
        refused_changes=counters.refused_changes,
        log_suppressed=plugin.log.suppressed,
        breaker=plugin.breaker.state,
        next_retry_at=_next_retry_at(plugin),
        crashes=tuple(plugin.crashes.reports),
        quarantine=tuple(plugin.crashes.quarantine.values()),
        **_of_session(plugin),
        **_of_usage(plugin),
        **_of_end(plugin),
    )


def _of_session(plugin: PluginRuntime) -> dict[str, Any]:
    session, dropped = plugin.session, plugin.counters.dropped
    if session is None:
        return {"dialect": "", "in_flight": 0, "late": 0, "unasked": 0, "dropped": dropped}
    return {
        "dialect": str(session.dialect),
        "in_flight": session.in_flight,
        "late": session.late,
        "unasked": session.unasked,
        "dropped": dropped + session.dropped,
    }


def _of_usage(plugin: PluginRuntime) -> dict[str, Any]:
    keys = ("cpu_percent", "rss_bytes", "processes", "threads", "open_files")
    usage = plugin.usage if plugin.process is not None else None
    return {key: None if usage is None else getattr(usage, key) for key in keys}


def _of_end(plugin: PluginRuntime) -> dict[str, Any]:
    output = plugin.process.log if plugin.process is not None else None
    return {
        "exit_code": plugin.exit.code if plugin.exit else None,
        "exit_signal": plugin.exit.signal if plugin.exit else None,
        "last_stderr": output.last_stderr if output else plugin.last_stderr,
    }


def _uptime_s(plugin: PluginRuntime) -> float | None:
    since = plugin.running_since
    return None if since is None else time.monotonic() - since


def _why_restarted(plugin: PluginRuntime) -> str:
    """Why it was started again, as long as that counts: a quiet minute wipes it out."""
    if plugin.running_since is None or not plugin.crashes.reports:
        return ""
    last = plugin.crashes.reports[-1]
    is_recent = time.monotonic() - plugin.running_since < plugin.policy.restart.reset_after
    return f"restarted: {last.reason}" if is_recent and last.at >= plugin.known_since else ""


def _next_retry_at(plugin: PluginRuntime) -> float | None:
    due_at = plugin.restarts.due_at
    return None if due_at is None else time.time() + due_at - time.monotonic()


def _pid(plugin: PluginRuntime) -> int | None:
    if plugin.process is not None:
        return plugin.process.pid if plugin.process.is_alive else None
    return plugin.session.peer.pid if plugin.session is not None else None
