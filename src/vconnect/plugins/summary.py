"""What an operator sees of a plugin."""

from __future__ import annotations

import time
from typing import Any

from vconnect.plain import Plain

from .breaker import BreakerState
from .crashes import CrashReport, QuarantinedEvent
from .runtime import PluginRuntime
from .status import Desired, PluginStatus, Substate


class PluginSummary(Plain, frozen=True, kw_only=True):
    """What an operator sees of a plugin.

    Attributes:
        name: Its canonical name.
        version: Its version, from its handshake or else its manifest.
        status: Its state; see `PluginStatus`.
        substate: What it waits for, or what led to its status; see `Substate`.
        desired: The state that the operator asked for.
        reason: The reason for its status; empty if all is well.
        pid: The PID of its process, or ``None``.
        priority: Its priority in chains; higher comes first.
        capabilities: The events, families and wildcards that it declares.
        permissions: The calls to the host that it may make: what its manifest asks for, as far as
            it was granted and not withdrawn.
        withheld: What it asks for besides.
        last_heartbeat: When it was last seen alive, in Unix seconds; ``None`` for never.
        uptime_s: Seconds since it became ``Running``; ``None`` if it is not running.
        generation: How many times it has been started.
        description: The description in its manifest.
        path: Its directory; empty for a plugin that another program started.
        dev: Whether it runs from source.
        external: Whether another program started it.
        dialect: The dialect of its session; empty without a session.
        interface: The interface that it and the host have agreed on; empty without one.
        cpu_percent: Processor use of its process tree over the last second, in percent of one
            processor; ``None`` if unknown, for example on macOS.
        rss_bytes: Resident memory of the process tree; ``None`` if unknown.
        processes: The number of processes in the tree; ``None`` if unknown.
        threads: The number of threads in the tree; ``None`` if unknown.
        open_files: The number of open descriptors in the tree; ``None`` if unknown.
        exit_code: The exit code of its last end, or ``None``.
        exit_signal: The signal that caused its last end, or ``None``.
        last_stderr: Its last lines on standard error.
        in_flight: Events sent and not yet answered.
        queued_bytes: The bytes of its events that wait or are in flight, and of its calls.
        events: Events sent to it, or queued for it, since the host started.
        errors: Events sent to it that it answered with an error, or never.
        passed_over: Events that were not sent to it although it wants them: not connected, circuit
            open, queue full, in quarantine, or no time left in the chain.
        timeouts: Events that it did not answer in time.
        late: Answers of this session that arrived after their caller had given up.
        unasked: Answers of this session that belong to no event.
        dropped: Notifications that it did not get because its queue was full or it was not
            connected.
        refused_changes: Protected fields that its replacements tried to change.
        stalls: How often work for it held the host's event loop for more than a tenth of a second.
        log_suppressed: Lines of its output that exceeded the limits and were not kept.
        breaker: The state of its circuit: ``closed``, ``open`` (calls fail at once) or
            ``half_open``.
        next_retry_at: When it will be started again, in Unix seconds; ``None`` for never.
        crashes: Its last unexpected ends, oldest first.
        quarantine: Events that it no longer gets because it crashed with them twice.
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
    permissions: tuple[str, ...]
    withheld: tuple[str, ...]
    last_heartbeat: float | None
    uptime_s: float | None
    generation: int
    description: str
    path: str
    dev: bool
    external: bool
    dialect: str
    interface: str
    cpu_percent: float | None
    rss_bytes: int | None
    processes: int | None
    threads: int | None
    open_files: int | None
    exit_code: int | None
    exit_signal: str | None
    last_stderr: tuple[str, ...]
    in_flight: int
    queued_bytes: int
    events: int
    errors: int
    passed_over: int
    timeouts: int
    late: int
    unasked: int
    dropped: int
    refused_changes: int
    stalls: int
    log_suppressed: int
    breaker: BreakerState
    next_retry_at: float | None
    crashes: tuple[CrashReport, ...]
    quarantine: tuple[QuarantinedEvent, ...]


def summarize(plugin: PluginRuntime) -> PluginSummary:
    """Describe the current state of a plugin."""
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
        permissions=plugin.permissions,
        withheld=tuple(one for one in plugin.asked if one not in plugin.permissions),
        last_heartbeat=plugin.last_heartbeat,
        uptime_s=_uptime_s(plugin),
        generation=plugin.generation,
        description=manifest.description if manifest else "",
        path=str(plugin.path or ""),
        dev=plugin.dev,
        external=plugin.is_external,
        errors=counters.errors,
        passed_over=counters.passed_over,
        timeouts=counters.timeouts,
        refused_changes=counters.refused_changes,
        stalls=counters.stalls,
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
    session, counters = plugin.session, plugin.counters
    if session is None:
        return {
            "dialect": "",
            "interface": "",
            "in_flight": 0,
            "queued_bytes": 0,
            "late": 0,
            "unasked": 0,
            "events": counters.events,
            "dropped": counters.dropped,
        }
    return {
        "dialect": str(session.dialect),
        "interface": session.interface,
        "in_flight": session.in_flight,
        "queued_bytes": session.queued_bytes,
        "late": session.late,
        "unasked": session.unasked,
        # What had to make room in the queue was not sent after all.
        "events": counters.events - session.displaced,
        "dropped": counters.dropped + session.dropped,
    }


def _of_usage(plugin: PluginRuntime) -> dict[str, Any]:
    keys = ("cpu_percent", "rss_bytes", "processes", "threads", "open_files")
    # The last sample may be of a process that has ended since.
    usage = plugin.usage if plugin.process is not None else None
    return {key: None if usage is None else getattr(usage, key) for key in keys}


def _of_end(plugin: PluginRuntime) -> dict[str, Any]:
    # While a process runs, its own output is of interest, not that of the one before.
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
    """Return why it was restarted, if that was recently; afterwards it is no longer of interest."""
    if plugin.running_since is None or not plugin.crashes.reports:
        return ""
    last = plugin.crashes.reports[-1]
    is_recent = time.monotonic() - plugin.running_since < plugin.policy.restart.reset_after
    # Reports on disk may be from an earlier host, whose crashes did not cause this start, and an
    # operator's start has another cause.
    return f"restarted: {last.reason}" if is_recent and last.at >= plugin.forgotten_at else ""


def _next_retry_at(plugin: PluginRuntime) -> float | None:
    due_at = plugin.restarts.due_at
    # From monotonic to Unix time, for display only: the clock may be set meanwhile.
    return None if due_at is None else time.time() + due_at - time.monotonic()


def _pid(plugin: PluginRuntime) -> int | None:
    if plugin.process is not None:
        # A leader that has exited keeps its PID until its session is empty, but is not running.
        return plugin.process.pid if plugin.process.is_alive else None
    return plugin.session.peer.pid if plugin.session is not None else None
