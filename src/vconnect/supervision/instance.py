"""One generation of a plugin: a process with its session, and the way down from there."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from vconnect.errors import PluginError
from vconnect.plugins.status import Substate
from vconnect.processes.process import PluginProcess
from vconnect.settings.parts import ShutdownSettings
from vconnect.threads import in_thread
from vconnect.wire.messages import DRAIN, EVENT_NAMES, STOP_EVENT
from vconnect.wire.session import Session

from .verdict import Verdict

_DRAIN_POLL = 0.005

#: Hears which step the way down has come to.
OnPhase = Callable[[Substate], None]


class Instance:
    """One generation.

    Attributes:
        generation: Its number.
        process: ``None`` for a plugin that another program started.
        session: Its connection, also when it gets no more events.
        verdict: Why it must end; the first one counts.
        handshake_timeout: How long it may be without a session, and …
        handshake_until: … when that is over, in seconds of ``time.monotonic()``.
        running_since: When it first shook hands, or ``None``.
        is_ending: Whether its way down has begun.
    """

    def __init__(self, generation: int, process: PluginProcess | None = None) -> None:
        self.generation = generation
        self.process = process
        self.session: Session | None = None
        self.verdict: Verdict | None = None
        self.handshake_timeout = 0.0
        self.handshake_until = 0.0
        self.running_since: float | None = None
        self.is_ending = False

    @property
    def is_alive(self) -> bool:
        """Whether its leader runs, or another program's process is connected."""
        return self.process.is_alive if self.process is not None else self.session is not None

    @property
    def ran_for(self) -> float:
        """Seconds since it first shook hands."""
        return 0.0 if self.running_since is None else time.monotonic() - self.running_since

    def owns(self, pid: int) -> bool:
        """Tell whether a process belongs to it."""
        return self.process is not None and self.process.owns(pid)

    def condemn(self, verdict: Verdict) -> None:
        """Say why it must end, unless that is decided already."""
        if self.verdict is None:
            self.verdict = verdict

    def expect_handshake(self, timeout: float) -> None:
        """Give it time for a handshake, from now on."""
        self.handshake_timeout = timeout
        self.handshake_until = time.monotonic() + timeout

    def is_overdue(self) -> bool:
        """Tell whether the time for a handshake is over."""
        return self.session is None and time.monotonic() >= self.handshake_until

    async def end(self, settings: ShutdownSettings, reason: str, on_phase: OnPhase) -> None:
        """Go down the ladder, until nobody of the process's session is left.

        What is in flight may end; a native plugin is told; then SIGINT, SIGTERM, SIGKILL, to the
        whole group. Each step is skipped once there is nothing left to do for it. The caller has
        seen to it that no new work comes.

        Args:
            settings: How long each step may take.
            reason: For the plugin.
            on_phase: Called before each step.
        """
        process = self.process
        assert process is not None, "another program's process is not ours to end"
        self.is_ending = True
        if process.is_alive and self.session is not None:
            await self._notify_stopping(process, self.session, settings, reason, on_phase)
        phases = {signal.SIGKILL: Substate.KILLING}
        await process.end(
            settings.stop_timeout,
            lambda number: on_phase(phases.get(number, Substate.TERMINATING)),
            interrupt=settings.interrupt_timeout,
        )
        if self.session is not None:  # held open by somebody who left the process group
            self.session.abort()
        await in_thread(None, process.remove_leftovers)

    async def _notify_stopping(
        self,
        process: PluginProcess,
        session: Session,
        settings: ShutdownSettings,
        reason: str,
        on_phase: OnPhase,
    ) -> None:
        """Let what is in flight end, and tell a native plugin that it is time."""
        grace = settings.drain_timeout
        if session.in_flight or session.queued:
            on_phase(Substate.DRAINING)
            await _first(process, _drained(session), grace)
        if not session.is_native or not process.is_alive:
            return
        on_phase(Substate.DRAINING)
        told = {"grace_ms": int(settings.stop_timeout * 1000), "reason": reason}
        for event in (DRAIN, STOP_EVENT):
            await _first(process, _told(session, event, told, grace), grace)
        # It goes by itself now; the signals are for those that do not.
        await _first(process, asyncio.sleep(settings.interrupt_timeout), grace)


# Why an instance ends, and where its plugin comes to rest.


async def _first(process: PluginProcess, step: Awaitable[None], timeout: float) -> None:
    """Wait for a step, or for the process's end, but not longer than ``timeout`` seconds."""
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
    with suppress(PluginError):  # an old kit may not know it; the signals follow anyway
        await session.request(EVENT_NAMES[event], payload, timeout)
