"""One generation of a plugin: a process with its session, and its shutdown sequence."""

# The idea: an instance moves in one direction only. Once it is condemned or its shutdown sequence
# has begun, it never serves again, so a plugin's state can only be that of one of its instances.
# What is polite (finishing events, the host's own events, SIGINT) has its own limited time, and
# what is certain (SIGKILL until the session is empty) follows in any case.

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vconnect.errors import PluginError
from vconnect.packages.manifest import Manifest
from vconnect.plugins.status import Substate
from vconnect.processes.process import PluginProcess
from vconnect.settings.parts import ShutdownSettings
from vconnect.store.layout import InstalledVersion
from vconnect.threads import in_thread
from vconnect.wire.messages import DRAIN, EVENT_NAMES, STOP_EVENT
from vconnect.wire.server import HELD_UP_S
from vconnect.wire.session import LostEvent, Session

from .verdict import Verdict

# Nothing announces that the last answer has arrived, so a draining session is polled. Seconds.
_DRAIN_POLL = 0.005

#: Called with the step that the shutdown sequence has reached.
OnPhase = Callable[[Substate], None]


class Instance:
    """One generation.

    Attributes:
        generation: Its number.
        process: Its process; ``None`` for a plugin that another program started.
        session: Its connection, or ``None``. It is kept while it drains.
        verdict: Why it must end, or ``None``. Only the first verdict counts.
        package: The directory of the version that it runs, or ``None``.
        manifest: The manifest of that version, or ``None``.
        trial: The version that it runs, if that has not been ready before and is not current yet.
        refusal: Why a process that used its name was refused, or empty.
        config: The configuration that it was given at its handshake, or ``None``.
        patience: Seconds that it may take for what it is doing: its handshake, or getting ready.
        due_at: When this time is over, in seconds of ``time.monotonic()``.
        start_due_at: When it must be ready, however often it connects again until then; ``None``
            if it has not said that it needs time.
        has_connected: Whether it has ever completed a handshake.
        has_knocked: Whether it has ever connected.
        running_since: When it was first ready, in seconds of ``time.monotonic()``, or ``None``.
        is_ending: Whether its shutdown sequence has begun.
        lost_events: The events in flight when its last session ended.
        interface: The interface that it and the host have agreed on, or empty.
        violation: How its last session violated the protocol, if that has ended it, or empty.
        said: Its last words when the host began to end it; ``None`` before. What it prints then is
            an answer to the host's signals.
    """

    def __init__(
        self,
        generation: int,
        process: PluginProcess | None = None,
        package: Path | None = None,
        manifest: Manifest | None = None,
        trial: InstalledVersion | None = None,
    ) -> None:
        self.generation = generation
        self.process = process
        self.package = package
        self.manifest = manifest
        self.trial = trial
        self.session: Session | None = None
        self.verdict: Verdict | None = None
        self.refusal = ""
        self.config: dict[str, Any] | None = None
        self.patience = 0.0
        self.due_at = 0.0
        self.start_due_at: float | None = None
        self.has_connected = self.has_knocked = False
        self.running_since: float | None = None
        self.is_ending = False
        # Here and not at the plugin: two instances may end at the same time, and only the events of
        # the one that crashed are suspect.
        self.lost_events: list[LostEvent] = []
        self.violation = ""
        self.said: str | None = None
        self.interface = ""

    @property
    def is_alive(self) -> bool:
        """Whether its leader runs, or its session is connected if another program started it."""
        return self.process.is_alive if self.process is not None else self.session is not None

    @property
    def ran_for(self) -> float:
        """Seconds since it was first ready, or 0."""
        return 0.0 if self.running_since is None else time.monotonic() - self.running_since

    def owns(self, pid: int) -> bool:
        """Return whether process ``pid`` belongs to it."""
        return self.process is not None and self.process.owns(pid)

    def attach(self, session: Session) -> None:
        """Record that it has completed a handshake."""
        self.session, self.has_connected, self.violation = session, True, ""
        session.interface = self.interface

    def condemn(self, verdict: Verdict) -> None:
        """Set the reason why it must end, unless there is one already."""
        # Later reasons are usually consequences of the first.
        if self.verdict is None:
            self.verdict = verdict

    @property
    def is_ready(self) -> bool:
        """Whether it can serve: it is connected, and has not said that it needs more time."""
        return self.session is not None and self.session.is_ready

    @property
    def must_hurry(self) -> bool:
        """Whether `due_at` applies: it is not ready, and only its own process can change that."""
        return not self.is_ready and (self.process is not None or self.session is not None)

    def expect(self, patience: float) -> None:
        """Allow ``patience`` seconds, from now on, for its handshake or for getting ready."""
        self.patience = patience
        self.due_at = time.monotonic() + patience
        # A plugin that connects again and again must still get ready in the end.
        if self.start_due_at is not None:
            self.due_at = min(self.due_at, self.start_due_at)

    def expect_ready(self, patience: float) -> None:
        """Allow ``patience`` seconds, from its first handshake on, for getting ready."""
        if self.start_due_at is None:
            self.start_due_at = time.monotonic() + patience
        self.expect(patience)

    def is_overdue(self) -> bool:
        """Return whether it has taken too long. Call it soon after `due_at`, in the event loop.

        If that is late, the host itself was held up, perhaps together with the plugin, and what the
        plugin has sent has not been read yet. Then it gets the time again that the host has lost.
        """
        late = time.monotonic() - self.due_at
        if late < 0 or not self.must_hurry:
            return False
        if late < HELD_UP_S:
            return True
        given = late + min(late, self.patience)
        self.due_at += given
        if self.start_due_at is not None:
            self.start_due_at += given
        return False

    async def end(self, settings: ShutdownSettings, reason: str, on_phase: OnPhase) -> str:
        """Go through the shutdown sequence until the process's session is empty.

        Events in flight may finish, a native plugin is asked to stop, then SIGINT, SIGTERM and
        SIGKILL go to the whole process tree. A step is skipped if there is nothing left to do. The
        caller must have made sure that no new events arrive. If cancelled, call it again.

        Args:
            settings: How long each step may take.
            reason: The reason, for the plugin.
            on_phase: Called before each step.

        Returns:
            Which processes cannot be ended and why; empty if none is left.
        """
        process = self.process
        assert process is not None, "another program's process is not ours to end"
        self.is_ending = True
        if self.said is None:
            process.log.drain()
            self.said = process.log.last_words()
        # A process that has exited cannot answer any more, even if a child keeps its connection
        # open: its callers must not wait until that child has ended, too.
        if self.session is not None and not process.is_alive:
            self.session.abort()
        elif self.session is not None:
            await self._notify_stopping(process, self.session, settings, reason, on_phase)
        # SIGINT and SIGTERM are one phase for an operator.
        phases = {signal.SIGKILL: Substate.KILLING}
        left = await process.end(
            settings.stop_timeout,
            lambda number: on_phase(phases.get(number, Substate.TERMINATING)),
            interrupt=settings.interrupt_timeout,
        )
        if self.session is not None:  # kept open by a process that has left the session
            self.session.abort()
        # In a thread, because a plugin may have left a lot in its temporary directory.
        await in_thread(None, process.remove_leftovers)
        return left

    async def _notify_stopping(
        self,
        process: PluginProcess,
        session: Session,
        settings: ShutdownSettings,
        reason: str,
        on_phase: OnPhase,
    ) -> None:
        """Let events in flight finish, and ask a native plugin to stop."""
        grace = settings.drain_timeout
        if session.in_flight or session.queued:
            on_phase(Substate.DRAINING)
            await _first(process, _drained(session), grace)
        if not session.is_native or not process.is_alive:
            return
        on_phase(Substate.DRAINING)
        told = {"grace_ms": int(settings.stop_timeout * 1000), "reason": reason}
        for event in (DRAIN, STOP_EVENT):
            # Each step has its own time: a plugin that ignores one may still heed the next.
            await _first(process, _told(session, event, told, grace), grace)
        # It is exiting now; signals are for plugins that do not.
        await _first(process, asyncio.sleep(settings.interrupt_timeout), grace)


# Steps of the shutdown sequence.


async def _first(process: PluginProcess, step: Awaitable[None], timeout: float) -> None:
    """Wait for a step or for the process's exit, at most ``timeout`` seconds."""
    task = asyncio.ensure_future(step)
    try:
        ends: set[asyncio.Future[Any]] = {task, process.exited}
        await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, PluginError):
            await task


async def _drained(session: Session) -> None:
    while session.in_flight or session.queued:
        await asyncio.sleep(_DRAIN_POLL)


async def _told(session: Session, event: str, payload: dict[str, object], timeout: float) -> None:
    with suppress(PluginError):  # an old SDK may not know the event; signals follow anyway
        await session.request(EVENT_NAMES[event], payload, timeout)
