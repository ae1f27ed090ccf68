"""One plugin as the host knows it: its state, its process, its session, and what it counts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from vconnect.logs.plugin_log import PluginLog
from vconnect.names import canonical_name, capability_matches
from vconnect.packages.manifest import Manifest
from vconnect.processes.process import ExitStatus, PluginProcess
from vconnect.processes.usage import Usage
from vconnect.settings.model import PluginPolicy, Settings
from vconnect.wire.messages import Handshake
from vconnect.wire.session import LostEvent, Session

from .breaker import Breaker
from .crashes import Crashes
from .order import Position
from .restarts import Restarts
from .status import Desired, PluginStatus, Substate, advance
from .summary import PluginSummary


class PluginRuntime:
    """One plugin at run time: its state, its process and its session.

    Its supervisor moves it, the dispatcher counts on it, everybody else reads its `summary`.

    Args:
        name: Canonical.
        path: Its directory, or ``None`` for a plugin that another program starts.
        manifest: Its manifest, where it has one.
        dev: Whether `path` is a source directory.
        limits: What holds for it alone; by default what holds for all.
        crash_dir: Where its crash reports are kept; by default only in memory.
        log: Where its output goes; by default a log of its own.
    """

    def __init__(
        self,
        name: str,
        path: Path | None,
        manifest: Manifest | None = None,
        *,
        dev: bool = False,
        limits: PluginPolicy | None = None,
        crash_dir: Path | None = None,
        log: PluginLog | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.manifest = manifest
        self.dev = dev
        self.log = log or PluginLog(name)
        self.limits = limits = limits or Settings().plugin_policy(name)
        self.breaker = Breaker(limits.breaker_failures, limits.breaker_cooldown)
        self.status = PluginStatus.INSTALLED
        self.substate = Substate.NONE
        self.reason = ""
        #: What the operator gave it while it ran, in place of the settings'.
        self.config: dict[str, Any] | None = None
        self.desired: Desired = "stopped"
        self.generation = 0
        self.process: PluginProcess | None = None
        #: What its process tree used when it was last sampled.
        self.usage: Usage | None = None
        #: The session that gets its events; ``None`` as soon as it shall get no more.
        self.session: Session | None = None
        self.handshake: Handshake | None = None  # the last one
        self.exit: ExitStatus | None = None
        self.last_stderr: tuple[str, ...] = ()
        self.last_heartbeat: float | None = None
        self.running_since: float | None = None
        self.known_since = time.time()
        self.events = 0
        self.errors = 0
        self.timeouts = 0
        self.dropped = 0
        self.refused_changes = 0
        #: Of the events in flight that came through other plugins: through how many.
        self.hops_in_flight: list[int] = []
        self.restarts = Restarts(limits.restart)
        #: What was in flight when its last session ended, until its process is buried.
        self.lost_events: list[LostEvent] = []
        self.crashes = Crashes(name, crash_dir)

    @property
    def is_external(self) -> bool:
        """Whether another program starts it."""
        return self.path is None

    @property
    def requirements(self) -> dict[str, bool]:
        """The plugins that it needs, and whether each must be ready, or only started."""
        asked = self.manifest.requires if self.manifest is not None else ()
        parted = [text.partition(":") for text in asked]
        return {canonical_name(name): condition != "started" for name, _, condition in parted}

    @property
    def required_plugins(self) -> tuple[str, ...]:
        """The names of the plugins that it needs."""
        return tuple(self.requirements)

    @property
    def is_exclusive(self) -> bool:
        """Whether it may not run twice, not even for a moment."""
        asked = self.manifest.exclusive if self.manifest is not None else False
        return asked or self.limits.exclusive

    @property
    def is_up(self) -> bool:
        """Whether there is a process or a session of it."""
        return self.process is not None or self.session is not None

    @property
    def is_wanted(self) -> bool:
        """Whether events are for it: it is connected, or is meant to be."""
        return self.session is not None or (self.desired == "running" and not self.is_external)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it declares: in its last handshake, else in its manifest."""
        return self._said().capabilities

    @property
    def position(self) -> Position:
        """Where it wants to be in a chain."""
        if self.manifest is None:
            return Position(self._said().priority)
        before, after = self.manifest.before, self.manifest.after
        return Position(
            self._said().priority,
            tuple(map(canonical_name, before)),
            tuple(map(canonical_name, after)),
        )

    def may_call(self, call: str) -> bool:
        """Tell whether its manifest asks for a call and the operator has not withdrawn it.

        Both may name calls, families and wildcards, as capabilities do.
        """
        asked = self.manifest.permissions if self.manifest is not None else ()
        return any(capability_matches(pattern, call) for pattern in asked) and not any(
            capability_matches(pattern, call) for pattern in self.limits.withdraw
        )

    def saw_alive(self) -> None:
        """Note a sign of life."""
        self.last_heartbeat = time.time()

    def move(self, status: PluginStatus, substate: Substate, reason: str = "") -> None:
        """Go along one edge of the transition table.

        Raises:
            IllegalTransitionError: There is no such edge.
        """
        self.status = advance(self.name, self.status, status)
        self.substate = substate
        self.reason = reason
        running = status is PluginStatus.RUNNING
        self.running_since = time.monotonic() if running else None

    def aliases(self) -> set[str]:
        """Every canonical name that means this plugin."""
        names = {self.name}
        if self.path is not None and not self.dev:
            names.add(canonical_name(self.path.name))
        if self.manifest is not None:
            names.add(self.manifest.plugin)
            if self.manifest.plugin_no:
                names.add(canonical_name(self.manifest.plugin_no))
        return names

    def summary(self) -> PluginSummary:
        """Describe it as it is now."""
        said, manifest, exit_status = self._said(), self.manifest, self.exit
        output = self.process.log if self.process is not None else None
        usage = self.usage if output is not None else None
        return PluginSummary(
            name=self.name,
            version=said.version or (manifest.version if manifest else ""),
            status=self.status,
            substate=self.substate,
            desired=self.desired,
            reason=self.reason or self._past(),
            pid=self._pid(),
            priority=said.priority,
            capabilities=said.capabilities,
            last_heartbeat=self.last_heartbeat,
            uptime_s=time.monotonic() - self.running_since if self.running_since else None,
            generation=self.generation,
            description=manifest.description if manifest else "",
            path=str(self.path or ""),
            dev=self.dev,
            external=self.is_external,
            dialect=str(self.session.dialect) if self.session else "",
            cpu_percent=usage.cpu_percent if usage else None,
            rss_bytes=usage.rss_bytes if usage else None,
            processes=usage.processes if usage else None,
            threads=usage.threads if usage else None,
            open_files=usage.open_files if usage else None,
            exit_code=exit_status.code if exit_status else None,
            exit_signal=exit_status.signal if exit_status else None,
            last_stderr=output.last_stderr if output else self.last_stderr,
            in_flight=self.session.in_flight if self.session else 0,
            events=self.events,
            errors=self.errors,
            timeouts=self.timeouts,
            late=self.session.late if self.session else 0,
            unasked=self.session.unasked if self.session else 0,
            dropped=self.dropped + (self.session.dropped if self.session else 0),
            refused_changes=self.refused_changes,
            log_suppressed=self.log.suppressed,
            breaker=self.breaker.state,
            next_retry_at=self._next_retry_at(),
            crashes=tuple(self.crashes.reports),
            quarantine=tuple(self.crashes.quarantine.values()),
        )

    def _said(self) -> _Said:
        """What it says of itself: in its last handshake, else in its manifest."""
        shaken = self.handshake if self.session is None else self.session.handshake
        if shaken is not None:
            return _Said(shaken.version, shaken.priority, shaken.capabilities)
        if self.manifest is not None:
            return _Said(self.manifest.version, self.manifest.priority, self.manifest.capabilities)
        return _Said("", 0, ())

    def _past(self) -> str:
        """Why it was started again, as long as that counts: a minute of quiet wipes it out."""
        if self.running_since is None or not self.crashes.reports:
            return ""
        last = self.crashes.reports[-1]
        is_recent = time.monotonic() - self.running_since < self.limits.restart.reset_after
        return f"restarted: {last.reason}" if is_recent and last.at >= self.known_since else ""

    def _next_retry_at(self) -> float | None:
        due_at = self.restarts.due_at
        return None if due_at is None else time.time() + due_at - time.monotonic()

    def _pid(self) -> int | None:
        if self.process is not None:
            return self.process.pid if self.process.is_alive else None
        return self.session.peer.pid if self.session is not None else None


class _Said(msgspec.Struct, frozen=True):
    version: str
    priority: int
    capabilities: tuple[str, ...]
