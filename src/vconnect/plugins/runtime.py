"""One plugin as the host knows it: what it is, which state it is in, and its counters."""

# Each part of the record has one writer. The supervisor changes the state and attaches what runs;
# the dispatcher adds to `Counters`; the monitor stores samples. They use the methods below, which
# notify the registry when something that a route depends on has changed. Everything else only
# reads.

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vconnect.errors import PluginError
from vconnect.logs.plugin_log import PluginLog
from vconnect.names import LOG_LEVELS, LogLevel, canonical_name, capability_matches
from vconnect.order import Position
from vconnect.packages.manifest import Manifest
from vconnect.processes.process import ExitStatus, PluginProcess
from vconnect.processes.usage import Usage
from vconnect.settings.model import PluginPolicy, Settings
from vconnect.store.layout import InstalledVersion
from vconnect.wire._latency import Rows
from vconnect.wire.messages import Handshake
from vconnect.wire.session import Session

from .breaker import Breaker
from .crashes import Crashes
from .deadlines import MissedDeadlines
from .latency import family_of
from .passed_over import PassedOver, Reason
from .restarts import Restarts
from .status import Desired, PluginStatus, Substate, advance

_log = logging.getLogger(__name__)

# Capabilities that are labels of their own, of one plugin.
_MAX_LABELS = 32

HOST_CALL_OUTCOMES = ("ok", "refused", "error", "cancelled")
"""What becomes of a plugin's call: answered, not begun, failed, or given up with its connection."""


@dataclass(slots=True)
class Counters:
    """What the dispatcher counts for one plugin since the host started; see `Rows` for the rest.

    Attributes:
        errors: Events sent to it that it answered with an error, or never.
        timeouts: Events that it did not answer in time.
        dropped: Notifications that it did not get because it was not connected or had no room.
        unconnected: Those among them for which it was not connected.
        blocked: Those among them for which nobody waited any longer.
        displaced: Those among them that had been queued, in sessions that have ended.
        refused_changes: Protected fields that its replacements tried to change.
        stalls: How often work for it held the event loop for more than a tenth of a second.
    """

    errors: int = 0
    timeouts: int = 0
    dropped: int = 0
    unconnected: int = 0
    blocked: int = 0
    displaced: int = 0
    refused_changes: int = 0
    stalls: int = 0

    def take(self, session: Session) -> None:
        """Add what a session that has ended did not send after all."""
        self.dropped += session.dropped
        self.displaced += session.displaced


class Declared(msgspec.Struct, frozen=True):
    """What a plugin declares about itself.

    Attributes:
        version: Its version.
        priority: Its priority in chains; higher comes first.
        capabilities: The events, families and wildcards that it handles.
    """

    version: str = ""
    priority: int = 0
    capabilities: tuple[str, ...] = ()


class PluginRuntime:
    """One plugin at run time.

    Args:
        name: Its canonical name.
        path: The directory of its files, or ``None`` for a plugin that another program starts.
        manifest: Its manifest, or ``None``.
        dev: Whether `path` is a source directory.
        policy: The operator's choices for this plugin; by default those of ``Settings()``.
        crash_dir: Where its crash reports are kept; by default only in memory.
        log: Where its output goes; by default to a new log.

    Attributes:
        home: Its directory in ``plugin_dir``; `path` itself for a plugin from source.
        current_version: The version that is current; ``None`` for a plain directory and a plugin
            from source.
        next_version: The version that the next start by an order tries, or ``None``.
        conflict: Why it may not be started: another plugin has one of its names; or empty.
        on_change: Called when something that a route depends on has changed; set by the registry.
        meant_by: Returns the plugin that a name means; set by the registry.
        is_named: Returns whether a table of the settings is for exactly this event; set likewise.
        on_failure: Called with the event and the error of each failure; set likewise.
        rows: How long its events took, and what became of them.
        passed_over: Events that were not sent to it although it wants them.
        process: The process that serves, or ``None``.
        session: The session that gets its events; ``None`` as soon as it must get no more.
        handshake: Its last handshake, or ``None``.
        usage: The last sample of its process tree, or ``None``.
        cpu_s: Processor seconds of all of its processes so far.
        config: The operator's configuration, which is merged into the manifest's defaults.
        hops_in_flight: The hops of each event in flight that came through other plugins.
        forgotten_at: When its past was last cleared, in Unix seconds: at its registration, or by an
            operator's start. Earlier crashes explain nothing.
        ordered_at: When it was last told to start, stop or restart, in Unix seconds.
        ordered_by: Who did that; empty if it is unknown.
        begun_at: When its last start began, in Unix seconds.
        spawn_s: Seconds that its last start took until its process was there.
        ready_s: Seconds from the beginning of that start until it could serve.
        restart_counts: How often it was started again, by reason.
        max_queued: How many events may wait for a slot in its window.
    """

    # What each event reads has a slot: an object with more than 30 attributes keeps them in a
    # dictionary, and reading one from there takes twice as long.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "breaker",
        "crashes",
        "has_timeouts",
        "name",
        "session",
    )

    def __init__(
        self,
        name: str,
        path: Path | None,
        manifest: Manifest | None = None,
        *,
        dev: bool = False,
        policy: PluginPolicy | None = None,
        config: dict[str, Any] | None = None,
        crash_dir: Path | None = None,
        log: PluginLog | None = None,
    ) -> None:
        self.name = name
        self.path = self.home = path
        self.current_version: InstalledVersion | None = None
        self.next_version: InstalledVersion | None = None
        self.manifest = manifest
        self.conflict = ""
        self.dev = dev
        self.log = log or PluginLog(name)
        self.policy = policy = policy or Settings().plugin_policy(name)
        #: Whether the event's timeout is not all that counts; most plugins are spared the question.
        self.has_timeouts = _has_timeouts(policy)
        self.on_change: Callable[[], None] = _nobody_listens
        self.meant_by: Callable[[str], str] = canonical_name
        self.on_failure: Callable[[str, PluginError], None] = _nobody_hears
        self.is_named: Callable[[str], bool] = _is_not_named
        self.rows = Rows(self._label)
        self.passed_over = PassedOver()

        self.status = PluginStatus.INSTALLED
        self.substate = Substate.NONE
        self.reason = ""
        #: What the last process ended with, before anything else is planned.
        self.substate_at_end = Substate.NONE
        self.desired: Desired = "stopped"
        #: Whether the host will start it, and has not done so yet: a filter that is not there yet
        #: is missed like one that has crashed.
        self.is_expected = False
        self.ordered_at = 0.0
        self.ordered_by = self._ordering = self._cause = ""
        self.generation = 0
        self.begun_at = 0.0
        self.spawn_s: float | None = None
        self.ready_s: float | None = None
        self.restart_counts: Counter[str] = Counter()
        self.max_queued = 0
        self.config: dict[str, Any] = config or {}

        self.process: PluginProcess | None = None
        self.session: Session | None = None
        self.handshake: Handshake | None = None
        self.usage: Usage | None = None
        self.cpu_s = 0.0
        self.last_heartbeat: float | None = None
        self.running_since: float | None = None
        self.forgotten_at = time.time()
        self.hops_in_flight: list[int] = []

        self.exit: ExitStatus | None = None
        self.last_stderr: tuple[str, ...] = ()
        #: The words of the last answer that was an error, or that could not be read.
        self.last_error = ""

        self.counters = Counters()
        #: Its calls to the host, by name and one of `HOST_CALL_OUTCOMES`.
        self.host_calls: Counter[tuple[str, str]] = Counter()
        self.breaker = Breaker(policy.breaker_failures, policy.breaker_cooldown, self.say)
        self.missed = MissedDeadlines(self.say, policy.timeout)
        self.restarts = Restarts(policy.restart)
        self.crashes = Crashes(name, crash_dir)

    # What it is.

    @property
    def is_external(self) -> bool:
        """Whether another program starts it."""
        return self.path is None

    @property
    def requirements(self) -> dict[str, bool]:
        """The plugins that it requires, and whether each must be connected or only started."""
        required = self.manifest.requirements if self.manifest is not None else {}
        return {self.meant_by(name): must_be_ready for name, must_be_ready in required.items()}

    @property
    def required_plugins(self) -> tuple[str, ...]:
        """The names of the plugins that it requires."""
        return tuple(self.requirements)

    @property
    def is_exclusive(self) -> bool:
        """Whether two processes of it must never run at the same time."""
        asked = self.manifest.exclusive if self.manifest is not None else False
        return asked or self.policy.exclusive or self.is_moving

    @property
    def is_moving(self) -> bool:
        """Whether its process works in its package directory, and the next one will not."""
        # What the process writes is carried to the data directory, once it has ended.
        return (
            self.process is not None
            and self.current_version is not None
            and self.process.directory == self.home
        )

    @property
    def is_up(self) -> bool:
        """Whether it has a process or a session."""
        return self.process is not None or self.session is not None

    @property
    def is_wanted(self) -> bool:
        """Whether it gets events: it is connected, or should be."""
        # Another program's plugin is not missed while it is away: this host cannot start it.
        is_missed = self.desired == "running" or self.is_expected
        return self.session is not None or (is_missed and not self.is_external)

    @property
    def declared(self) -> Declared:
        """What it declares: in its last handshake, or else in its manifest."""
        # The handshake wins, because it is what the running process really supports.
        handshake = self.handshake if self.session is None else self.session.handshake
        if handshake is not None:
            return Declared(handshake.version, handshake.priority, handshake.capabilities)
        if self.manifest is not None:
            manifest = self.manifest
            return Declared(manifest.version, manifest.priority, manifest.capabilities)
        return Declared()

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The events, families and wildcards that it declares."""
        return self.declared.capabilities

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The events, families and wildcards of which its session is notified in addition."""
        return self.session.subscriptions if self.session is not None else ()

    @property
    def position(self) -> Position:
        """Its position in a chain."""
        return self.position_with(self.manifest)

    @property
    def is_placed(self) -> bool:
        """Whether its manifest has ``before`` or ``after``."""
        return self.manifest is not None and bool(self.manifest.before or self.manifest.after)

    def position_with(self, manifest: Manifest | None) -> Position:
        """Return its position in a chain if it had this manifest."""
        priority = self.declared.priority
        if manifest is None:
            return Position(priority)
        before, after = manifest.before, manifest.after
        return Position(
            priority, tuple(map(self.meant_by, before)), tuple(map(self.meant_by, after))
        )

    def may_call(self, call: str, asked: tuple[str, ...]) -> bool:
        """Return whether a version may make a call: it asks for it, and it is not withdrawn.

        Args:
            call: The call's name.
            asked: What the version's manifest asks for: calls, families and wildcards.
        """
        # During a restart two versions run, each with the permissions of its own manifest.
        return any(capability_matches(pattern, call) for pattern in asked) and not any(
            capability_matches(pattern, call) for pattern in self.policy.withdraw
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """The permissions that its manifest asks for."""
        asked = self.manifest.raw.get("permissions", ()) if self.manifest is not None else ()
        return tuple(asked)

    @property
    def permissions(self) -> tuple[str, ...]:
        """What of that was granted, and is not withdrawn by the same name."""
        granted = self.manifest.permissions if self.manifest is not None else ()
        return tuple(one for one in granted if one not in self.policy.withdraw)

    def why_not_call(self, call: str) -> str:
        """Return what is to be done about a call that `may_call` denies."""
        if any(capability_matches(pattern, call) for pattern in self.policy.withdraw):
            return f"the operator has withdrawn {call!r} (withdraw in the configuration)"
        if any(capability_matches(pattern, call) for pattern in self.asked):
            return (
                f"its manifest asks for {call!r}, and nobody has granted it; to do so, install the "
                "same package again with --yes, or --grant and the permissions that it may have"
            )
        return f"add {call!r} to the permissions in its manifest"

    def aliases(self) -> set[str]:
        """Return every canonical name that refers to this plugin."""
        names = {self.name}
        # A package may be unpacked under another name than its manifest has; a source directory
        # may have any name, such as "src".
        if self.home is not None and not self.dev:
            names.add(canonical_name(self.home.name))
        if self.manifest is not None:
            names |= self.manifest.names
        return names

    def _label(self, event: str) -> str:
        """Return by what an event is counted: its name if somebody has written it, or its family.

        A name that another plugin makes up must not become a label.
        """
        # Of a plugin with many capabilities, the first count; its rows are limited anyway.
        is_own = event in self.capabilities[:_MAX_LABELS]
        return event if is_own or self.is_named(event) else family_of(event)

    # Its state.

    def move(self, status: PluginStatus, substate: Substate, reason: str = "") -> None:
        """Change the status, along an edge of the transition table.

        Raises:
            IllegalTransitionError: There is no such edge.
        """
        self.status = advance(self.name, self.status, status)
        self.explain(substate, reason)
        # Any other status ends the uptime, even the moment of a reconnect.
        running = status is PluginStatus.RUNNING
        self.running_since = time.monotonic() if running else None
        self._note_state()

    def explain(self, substate: Substate, reason: str | None = None) -> None:
        """Set the substate and the reason; the status stays the same.

        Args:
            substate: The new substate.
            reason: The new reason; ``None`` keeps the old one.
        """
        self.substate = substate
        if reason is not None:
            self.reason = reason

    def want(self, desired: Desired) -> None:
        """Set the desired state."""
        self.desired = desired
        self.is_expected = False
        self.ordered_at = time.time()
        self.ordered_by, self._ordering = self._ordering, ""
        self.on_change()

    def ordering(self, by: str, cause: str = "") -> None:
        """Record who gives the order that comes next, and its cause if that is no person."""
        self._ordering = by
        self._cause = cause or self._cause

    def take_cause(self) -> str:
        """Return the cause of the order that is being carried out."""
        cause, self._cause = self._cause, ""
        return cause or "operator"

    def was_ordered(self, by: str, at: float) -> None:
        """Record who gave the last order to an earlier host, and when."""
        self.ordered_by, self.ordered_at = by, at

    def learn(self, manifest: Manifest | None, path: Path | None = None) -> None:
        """Set the manifest of the version to show, and its directory; for `Registry.learn`."""
        self.manifest = manifest
        self.path = path or self.path

    def follow(self, policy: PluginPolicy) -> None:
        """Follow other settings, with the failures so far, and what a route needs of them."""
        self.policy = policy
        self.has_timeouts = _has_timeouts(policy)
        self.breaker.follow(policy.breaker_failures, policy.breaker_cooldown)
        self.missed.own_timeout = policy.timeout
        self.restarts.policy = policy.restart
        self.on_change()

    def forget_past(self) -> None:
        """Show no reasons from before an operator's start."""
        self.forgotten_at = time.time()

    def located(
        self,
        path: Path,
        current: InstalledVersion | None,
        next_version: InstalledVersion | None = None,
    ) -> None:
        """Set where its files are on disk now, and which version waits to be tried."""
        self.path = path
        self.current_version = current
        self.next_version = next_version

    def begin_generation(self, why: str = "operator") -> None:
        """Count a start, and why it is not the first one."""
        if self.generation:
            self.restart_counts[why] += 1
        self.generation += 1
        self.begun_at = time.time()
        self.spawn_s = self.ready_s = None

    def started(self, process: PluginProcess | None) -> None:
        """Set the process that serves, or is about to."""
        # Usage and uptime are those of the process that is shown, not of the one before.
        if process is not self.process:
            self.usage = self.running_since = None
        self.process = process

    def served_by(self, process: PluginProcess | None, session: Session) -> None:
        """Send events to this session from now on."""
        self.started(process)
        if self.running_since is None:
            self.running_since = time.monotonic()
        self.session = session
        self.max_queued = session.max_queued
        self.handshake = session.handshake
        if self.ready_s is None and self.begun_at:
            self.ready_s = max(0.0, time.time() - self.begun_at)
        self.rows.forget_names()  # what it declares may have changed
        self.breaker.succeeded()  # earlier failures were those of another process
        self.saw_alive()
        self.on_change()

    def announced(self, handshake: Handshake) -> None:
        """Learn from a plugin that is not ready what it wants, so that it is missed for that."""
        self.handshake = handshake
        self.on_change()

    def retire_session(self) -> None:
        """Send no more events to its session."""
        if self.session is not None:
            self.session = None
            self.on_change()

    def ended(
        self, process: PluginProcess, exit_status: ExitStatus, stderr: tuple[str, ...]
    ) -> None:
        """Record that nothing of ``process`` is left, which may have been replaced already."""
        self.exit = exit_status
        self.last_stderr = stderr
        if self.process is process:
            self.started(None)
        else:
            self.log.note("info", f"the replaced process {process.pid}: {exit_status}")

    def subscribe(self, session: Session, patterns: tuple[str, ...]) -> None:
        """Replace the subscriptions of one of its sessions."""
        session.subscriptions = patterns
        self.on_change()

    # What is said about it.

    @property
    def state_in_words(self) -> str:
        """Its status, and why, or else what it waits for."""
        why = self.reason or self.substate
        return f"{self.status}: {why}" if why else str(self.status)

    def close_circuit(self) -> None:
        """Send events again although its circuit is open."""
        self.breaker.succeeded()

    def say(self, level: LogLevel, text: str) -> None:
        """Write a line about it to the host's log, and to its own as a line of the host."""
        _log.log(LOG_LEVELS[level], "plugin %s: %s", self.name, text)
        self.log.note(level, text)

    @property
    def why_not_connected(self) -> Reason:
        """Why it gets no events while it has no session."""
        if self.status is PluginStatus.STARTING or (self.is_expected and not self.reason):
            return Reason.STARTING
        if self.status is PluginStatus.STOPPING:
            return Reason.DRAINING
        return Reason.FAILED if self.status is PluginStatus.ERROR else Reason.STOPPED

    def _note_state(self) -> None:
        """Keep a line about its status in its own log, also if it prints nothing itself."""
        next_try = ""
        if self.restarts.due_at is not None:
            next_try = f"; next try in {max(0.0, self.restarts.due_at - time.monotonic()):.1f} s"
        if self.status is PluginStatus.RUNNING:
            self.log.note("info", "it is ready")
        elif self.substate is Substate.CRASH_LOOP:
            self.log.note("error", f"crash loop: {self.reason}{next_try}")
        elif self.status is PluginStatus.ERROR:
            self.log.note("error", f"{self.reason or self.substate}{next_try}")
        elif self.status is PluginStatus.STOPPED:
            how = self.reason or (f"stopped: {self.exit}" if self.exit else "stopped")
            self.log.note("info", f"{how}{next_try}")
        elif self.status is PluginStatus.STARTING and self.reason:
            self.log.note("info", self.reason)

    # Signs of life.

    def saw_alive(self) -> None:
        """Record a sign of life."""
        self.last_heartbeat = time.time()

    def sampled(self, usage: Usage | None) -> None:
        """Store a sample of its process tree; ``None`` if there is none."""
        self.usage = usage
        if usage is not None:
            self.cpu_s += usage.cpu_s


def _is_not_named(_: str) -> bool:
    """Do nothing: the plugin is in no registry yet."""
    return False


def _nobody_hears(_: str, __: PluginError) -> None:
    """Do nothing: the plugin is in no registry yet."""


def _nobody_listens() -> None:
    """Do nothing: the plugin is in no registry yet."""


def _has_timeouts(policy: PluginPolicy) -> bool:
    return policy.timeout is not None or bool(policy.events)
