"""What an operator sees of a plugin."""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec

from vconnect.plain import Plain
from vconnect.plugins.breaker import BreakerState
from vconnect.plugins.crashes import CrashReport, QuarantinedEvent
from vconnect.plugins.latency import Latency
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.state_file import DISABLED_BY_OPERATOR
from vconnect.plugins.status import Desired, PluginStatus, Substate
from vconnect.settings.events import resolve_choices

from .last_minute import EventLatency, Minute

#: What a state looks like beside its word, so that color alone never says it.
Shape = Literal["running", "starting", "error", "barred", "quarantine", "stopped", "installed"]


class Queue(Plain, frozen=True):
    """The events that wait for a slot in a plugin's window.

    Attributes:
        events: How many there are.
        limit: How many there may be.
        bytes: The bytes of those that wait or are in flight, and of the plugin's calls.
    """

    events: int
    limit: int
    bytes: int


class Also(Plain, frozen=True):
    """Another finding about a plugin, beside the one that decides.

    Attributes:
        code: See `vconnect.seeing.why.Why`.
        cause: In words.
    """

    code: str
    cause: str


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
        passed_over_total: Events that were not sent to it although it wants them: not connected,
            circuit open, queue full, in quarantine, or no time left in the chain.
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
        required: Whether the host does not go on without it.
        role: What it may do with events: ``filter`` (stop and change), ``transform`` (change),
            ``observer`` (neither), or ``mixed``.
        subscriptions: Events of which it is notified in addition.
        restarts: How many times it was started again.
        spawn_s: Seconds that it took to start its process; ``None`` before.
        ready_s: Seconds from there until it could serve; ``None`` before.
        window: How many events may be in flight.
        queue: The events that wait.
        next_probe_s: Seconds until an open circuit lets an event through; ``None`` if it is closed.
        failures_in_a_row: How many failures in a row its circuit breaker has counted.
        is_disabled: Whether an operator has disabled it.
        conflict: Why it may not be started: another plugin has one of its names; or empty.
        requires: The plugins that it requires.
        forgotten_at: When its past was last cleared, in Unix seconds.
        ordered_by: Who gave the last order; empty if nobody did, or it is unknown.
        ordered_at: When that was, in Unix seconds; ``None`` likewise.
        window_s: The seconds that "the last minute" has here; after a start they are fewer.
        events_per_s: Events sent to it in the last minute; ``None`` if there were none.
        latency: How long its answers took in the last minute; ``None`` without any.
        outcomes: What became of the events of the last minute.
        passed_over: Events of the last minute that it did not get, by what became of them.
        dropped_last_minute: Notifications of the last minute that it did not get.
        share: The largest part of a chain's time that it took; ``None`` without a chain.
        is_slow: Whether it delays others.
        latency_by_event: The last minute of each event.
        serving: Whether it would be asked now.
        state: Its state in one or two words.
        shape: What is drawn beside them.
        code: What `why` is, in one word; ``healthy`` if all is well.
        why: What is wrong, in one line; empty if all is well.
        next: What to do about it; empty if there is nothing to do.
        since: Since when, in Unix seconds; ``None`` if that is unknown.
        also: What else is wrong.
        last_error: The words of the last answer that was an error or could not be read.
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
    passed_over_total: int
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
    required: bool = False
    role: str = "filter"
    subscriptions: tuple[str, ...] = ()
    restarts: int = 0
    spawn_s: float | None = None
    ready_s: float | None = None
    window: int = 0
    queue: Queue = Queue(0, 0, 0)
    next_probe_s: float | None = None
    failures_in_a_row: int = 0
    is_disabled: bool = False
    conflict: str = ""
    requires: tuple[str, ...] = ()
    forgotten_at: float = 0.0
    ordered_by: str = ""
    ordered_at: float | None = None
    window_s: float = 0.0
    events_per_s: float | None = None
    latency: Latency | None = None
    outcomes: dict[str, int] = msgspec.field(default_factory=dict)
    passed_over: dict[str, int] = msgspec.field(default_factory=dict)
    dropped_last_minute: int = 0
    share: float | None = None
    is_slow: bool = False
    latency_by_event: list[EventLatency] = msgspec.field(default_factory=list)
    serving: bool = False
    state: str = ""
    shape: Shape = "installed"
    code: str = "healthy"
    why: str = ""
    next: str = ""
    since: float | None = None
    also: tuple[Also, ...] = ()
    last_error: str = ""


def with_minute(
    summary: PluginSummary, minute: Minute, window_s: float, *, is_slow: bool
) -> PluginSummary:
    """Add the last minute to a summary."""
    return msgspec.structs.replace(
        summary,
        window_s=window_s,
        events_per_s=minute.events_per_s,
        latency=minute.latency,
        outcomes=minute.outcomes,
        passed_over=minute.passed_over,
        dropped_last_minute=minute.dropped,
        share=minute.share,
        is_slow=is_slow,
        latency_by_event=minute.by_event,
    )


def without_payloads(summary: PluginSummary) -> PluginSummary:
    """Leave out what only those may see who may change something."""
    hidden = tuple(msgspec.structs.replace(one, payload="") for one in summary.quarantine)
    return msgspec.structs.replace(summary, quarantine=hidden) if hidden else summary


def summarize(plugin: PluginRuntime) -> PluginSummary:
    """Describe the current state of a plugin, without the last minute."""
    state, shape = _state(plugin)
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
        passed_over_total=plugin.passed_over.count,
        timeouts=counters.timeouts,
        refused_changes=counters.refused_changes,
        stalls=counters.stalls,
        log_suppressed=plugin.log.suppressed,
        breaker=plugin.breaker.state,
        next_retry_at=_next_retry_at(plugin),
        crashes=tuple(plugin.crashes.reports),
        quarantine=tuple(plugin.crashes.quarantine.values()),
        required=plugin.policy.required,
        role=role_of(plugin),
        subscriptions=plugin.subscriptions,
        restarts=max(0, plugin.generation - 1),
        spawn_s=plugin.spawn_s,
        ready_s=plugin.ready_s,
        window=plugin.policy.window,
        next_probe_s=plugin.breaker.opens_in if plugin.breaker.is_open else None,
        failures_in_a_row=plugin.breaker.failures,
        is_disabled=plugin.reason == DISABLED_BY_OPERATOR,
        conflict=plugin.conflict,
        requires=plugin.required_plugins,
        forgotten_at=plugin.forgotten_at,
        ordered_by=plugin.ordered_by,
        ordered_at=plugin.ordered_at or None,
        serving=plugin.session is not None and plugin.breaker.state != "open",
        state=state,
        shape=shape,
        last_error=plugin.last_error,
        events=plugin.rows.sent,
        **_of_session(plugin),
        **_of_usage(plugin),
        **_of_end(plugin),
    )


#: The words that `_state` has, from good to bad.
STATES = (
    *("running", "circuit open", "starting", "stopping", "restarting", "crash loop", "error"),
    *("stopped", "installed"),
)


def _state(plugin: PluginRuntime) -> tuple[str, Shape]:
    """Return a plugin's state as a word and a shape."""
    match plugin.status:
        case PluginStatus.RUNNING if plugin.breaker.is_open:
            return "circuit open", "barred"
        case PluginStatus.RUNNING if plugin.crashes.quarantine:
            return "running", "quarantine"
        case PluginStatus.RUNNING:
            return "running", "running"
        case PluginStatus.STARTING | PluginStatus.STOPPING:
            return plugin.status.lower(), "starting"
        case PluginStatus.ERROR | PluginStatus.STOPPED if plugin.substate is Substate.CRASH_LOOP:
            return "crash loop", "error"
        case PluginStatus.ERROR | PluginStatus.STOPPED if plugin.substate is Substate.BACKOFF:
            return "restarting", "error"
        case PluginStatus.ERROR:
            return "error", "error"
        case PluginStatus.STOPPED:
            return "stopped", "stopped"
        case _ if plugin.conflict:
            return "error", "error"
        case _ if plugin.is_expected:
            return "starting", "starting"
    return ("stopped", "stopped") if plugin.reason else ("installed", "installed")


def role_of(plugin: PluginRuntime) -> str:
    """Return what a plugin may do with the events that it declares."""
    tables = plugin.policy.events
    if not tables:
        return "filter"
    roles = {resolve_choices(one, tables).role for one in (plugin.capabilities or tables)}
    return roles.pop() if len(roles) == 1 else "mixed"


def _of_session(plugin: PluginRuntime) -> dict[str, Any]:
    session, counters = plugin.session, plugin.counters
    if session is None:
        return {
            "dialect": "",
            "interface": "",
            "in_flight": 0,
            "queued_bytes": 0,
            "queue": Queue(0, plugin.max_queued, 0),
            "late": 0,
            "unasked": 0,
            "dropped": counters.dropped,
        }
    return {
        "dialect": str(session.dialect),
        "interface": session.interface,
        "in_flight": session.in_flight,
        "queued_bytes": session.queued_bytes,
        "queue": Queue(session.queued, plugin.max_queued, session.queued_bytes),
        "late": session.late,
        "unasked": session.unasked,
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
