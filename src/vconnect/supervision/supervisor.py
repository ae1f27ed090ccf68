"""The supervisor of one plugin: an actor that takes orders and carries them out."""

# The idea: orders (start, stop, restart) and events (a session came or went, a process ended, a
# timer expired) arrive at any moment and only set a note. A single task looks at the notes, does
# the one thing that is due, and looks again; `_step` is all of it. Everything else is synchronous,
# so no lock is needed. The last order wins, a hundred restarts at once are one, and a stop
# overrides a restart in progress.
#
# Callers wait for a state (`Changes`), not for the work. So a cancelled caller leaves nothing half
# done, and several callers can wait for the same work.
#
# There are up to three kinds of instances (a process with its session): the current one; during a
# zero-downtime restart a successor until its handshake is complete; and those that are leaving,
# each with a task that drains and ends it. The handover is one assignment, `_take_over`.

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial

from vconnect.errors import (
    HandshakeError,
    PluginStartError,
    PluginStuckError,
    PluginUnavailableError,
    RemoteProtocolError,
)
from vconnect.plugins.restarts import Decision, Ended
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import SELF_EXPLANATORY, Desired, PluginStatus, Substate
from vconnect.settings.parts import SupervisionSettings
from vconnect.wire.messages import Handshake
from vconnect.wire.server import Admission
from vconnect.wire.session import Peer, Session

from .admission import Admissions
from .changes import Changes
from .endings import exited, overdue, record_end, refused, stopped, why_disconnected
from .instance import Instance
from .launcher import Launcher
from .start_slots import StartSlots
from .verdict import Verdict
from .watchdog import WatchKeeper

_log = logging.getLogger(__name__)

# A step that keeps failing must not keep the loop busy. Seconds.
_FAULT_PAUSE = 1.0
# States that end by themselves, which callers wait out.
_IN_BETWEEN = (PluginStatus.STARTING, PluginStatus.STOPPING)


class _Order(Enum):
    """The order that has been given and not been carried out yet."""

    NONE = auto()
    START = auto()
    STOP = auto()
    RESTART = auto()


class Supervisor:
    """Starts, watches, restarts and ends one plugin.

    Create it in a running event loop; `close` ends it. The public methods may be called at any time
    and concurrently. Cancelling one of them only ends the waiting: the order stands.

    Args:
        plugin: The plugin's state, which only this object changes.
        settings: Timeouts, and the limits of connections.
        launcher: Starts processes.
        slots: Limits how many plugins start at the same time.
        on_given_up: Called when a crash loop has begun.
    """

    def __init__(
        self,
        plugin: PluginRuntime,
        settings: SupervisionSettings,
        launcher: Launcher,
        slots: StartSlots,
        on_given_up: Callable[[PluginRuntime], None] = lambda _: None,
    ) -> None:
        self.plugin = plugin
        self._settings = settings
        self._launcher = launcher
        self._on_given_up = on_given_up
        self._admissions = Admissions(plugin, settings)
        self._restarts = plugin.restarts
        self._order = _Order.NONE
        self._current: Instance | None = None
        self._successor: Instance | None = None
        self._leaving: dict[Instance, asyncio.Task[None]] = {}
        self._failure = ""  # why the last successor did not take over; empty if it did
        self._watch_keeper = WatchKeeper(
            settings.heartbeats, plugin.saw_alive, partial(self.condemn, Substate.WATCHDOG)
        )
        self._closing = False
        self._wake = asyncio.Event()
        self._slot = slots.slot(self._wake.set)
        self._changes = Changes()
        self._task = asyncio.create_task(self._live(), name=f"supervisor of {plugin.name}")

    # Orders.

    async def start(self) -> None:
        """Start the plugin and wait for its handshake; do nothing if it is running.

        Raises:
            PluginStartError: It did not start or complete its handshake, or was stopped meanwhile.
        """
        self._want("running")
        self._check_startable()
        if self._current is None or self.plugin.status is PluginStatus.STOPPING:
            self._clear_history()
            self._give(_Order.START)
        # It still runs, so withdrawing the stop is all that is needed.
        elif self._order is _Order.STOP:
            self._give(_Order.NONE)
        await self._changes.wait_for(self._has_settled)
        self._check_running()

    async def stop(self) -> None:
        """Stop the plugin, and wait until nothing of its process tree is left."""
        self._want("stopped")
        self._give(_Order.STOP)
        await self._changes.wait_for(self._is_past_stopping)

    async def restart(self) -> None:
        """Restart the plugin and wait for its handshake.

        Unless the plugin is exclusive, the old process runs until the new one's handshake is
        complete, and keeps running if the new one fails.

        Raises:
            PluginStartError: See `start`; also raised if the old process keeps running.
        """
        if self.plugin.is_external:
            raise PluginStartError(
                self.plugin.name, "it is started by another program; restart it there"
            )
        self._want("running")
        self._check_startable()
        self._clear_history()
        self._failure = ""
        self._give(_Order.RESTART)
        await self._changes.wait_for(lambda: self._has_settled() and not self._leaving)
        self._check_running()
        if self._failure:
            raise PluginStartError(self.plugin.name, self.plugin.reason)

    async def close(self) -> None:
        """Stop the plugin and end the actor. The plugin's desired state stays as it is."""
        self._closing = True
        self._give(_Order.STOP)
        await asyncio.wait([self._task])

    def kill_now(self) -> None:
        """Send SIGKILL to every process of the plugin, without waiting."""
        for instance in self.instances():
            if instance.process is not None:
                instance.process.kill_now()

    def condemn(self, substate: Substate, reason: str) -> None:
        """End the current process, and let the restart policy decide; for watchdog and monitor."""
        if self._current is not None and self._current.process is not None:
            _log.error("plugin %s will be replaced: %s", self.plugin.name, reason)
            self._current.condemn(Verdict(PluginStatus.ERROR, substate, reason, Ended.FAILED))
            self._wake.set()

    # Events from the socket.

    def instances(self) -> list[Instance]:
        """Return its instances, including those that are leaving."""
        living = [one for one in (self._successor, self._current) if one is not None]
        return [*living, *self._leaving]

    def admit(self, handshake: Handshake, peer: Peer, instance: Instance | None) -> Admission:
        """Decide about a handshake under this plugin's name (``docs/wire.md``, "Who may connect").

        Args:
            handshake: The peer's handshake.
            peer: The process that connected.
            instance: The instance that the process belongs to, if it is one of this plugin's.

        Raises:
            HandshakeError: ``stranger``, ``name_taken``, ``disabled`` or ``stopping``.
        """
        if self._closing:
            raise HandshakeError("stopping", f"{self.plugin.name} is being stopped")
        if instance in self._leaving:
            raise HandshakeError("stopping", f"{self.plugin.name} has been replaced")
        present = [one for one in (self._successor, self._current) if one is not None]
        return self._admissions.decide(handshake, peer, instance, present)

    def attached(self, session: Session, instance: Instance | None) -> None:
        """Called when the handshake of a session is complete.

        Args:
            session: The new session.
            instance: The instance of its process; ``None`` if another program started the plugin.
        """
        if instance is None:
            instance = self._current = Instance(self.plugin.generation)
        instance.session = session
        if instance.running_since is None:
            instance.running_since = time.monotonic()
        self._slot.release()
        if instance is self._successor:
            self._take_over(instance)
        self._serve(instance, session)
        handshake = session.handshake
        _log.info(
            "plugin handshake: %s v%s (priority %d, capabilities [%s])",
            self.plugin.name,
            handshake.version,
            handshake.priority,
            ", ".join(handshake.capabilities),
        )

    def detached(self, session: Session, error: Exception | None) -> None:
        """Called at the end of a session."""
        instance = next((one for one in self.instances() if one.session is session), None)
        if instance is None:
            return  # the session of an earlier process
        instance.session = None
        instance.lost_events = session.lost_events()
        reason = why_disconnected(error)
        level = logging.WARNING if isinstance(error, RemoteProtocolError) else logging.INFO
        _log.log(level, "plugin %s: %s", self.plugin.name, reason)
        if instance is self._current:
            self._lost_session(instance, error, reason)
        self._wake.set()

    def refused(self, instance: Instance, error: HandshakeError) -> None:
        """Called when a process of this plugin was refused: another attempt would fail too."""
        if instance.session is not None:
            return
        instance.condemn(refused(instance, error))
        self._wake.set()

    # The actor.

    async def _live(self) -> None:
        while not (self._closing and not list(self.instances())):
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - a bug of ours must not affect other plugins
                _log.exception("plugin %s: internal error", self.plugin.name)
                self._give_up(f"internal error: {error!r}; the traceback is in the host's log")
                await asyncio.sleep(_FAULT_PAUSE)
        self._order = _Order.NONE
        self._changes.notify_all()

    async def _step(self) -> None:
        """Do the one thing that is due, or wait for news."""
        # The order of the cases is the policy; docs/architecture.md lists it.
        current, successor, order = self._current, self._successor, self._order
        if successor is not None and (verdict := self._why_end(successor)) is not None:
            await self._drop_successor(successor, verdict)
        elif current is not None and (verdict := self._why_end(current)) is not None:
            await self._end(current, verdict)
        elif order is _Order.STOP:
            await self._rest_stopped()
        elif order is _Order.RESTART and successor is not None:
            await self._overtake_successor(successor)
        elif order is _Order.RESTART and current is not None and self._may_overlap(current):
            await self._with_slot(self._begin_successor)
        elif order is _Order.RESTART and current is not None:
            await self._end(current, stopped())
        elif current is None and (order is not _Order.NONE or self._restarts.is_due()):
            await self._with_slot(self._begin)
        else:
            await self._watch()

    def _why_end(self, instance: Instance) -> Verdict | None:
        """Return the verdict of an instance that must end, or ``None`` if it may go on."""
        if instance.verdict is not None:
            return instance.verdict
        if self._order is _Order.STOP:
            return stopped()
        if instance.process is None and instance.session is None:
            return Verdict(PluginStatus.STOPPED, Substate.DISCONNECTED, self.plugin.reason)
        if instance.process is not None and not instance.process.is_alive:
            return exited(instance, instance.process.exited.result())
        if instance.process is not None and instance.is_overdue():
            return overdue(instance)
        return None

    async def _watch(self) -> None:
        """Wait for news, or until the next timer expires."""
        times = [
            instance.handshake_until
            for instance in (self._current, self._successor)
            if instance is not None and instance.process is not None and instance.session is None
        ]
        if self._restarts.due_at is not None:
            times.append(self._restarts.due_at)
        timeout = min(times) - time.monotonic() if times else None
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass  # the next step finds what is due
        self._wake.clear()

    # Beginning.

    def _begin(self) -> None:
        """Start a new generation if none is running."""
        self._order = _Order.NONE
        self._restarts.cancel()
        self.plugin.begin_generation()
        self._move(PluginStatus.STARTING, Substate.SPAWNED)
        instance = self._launcher.begin(self.plugin, self._wake)
        if isinstance(instance, Verdict):
            self._slot.release()
            self._settle(instance, ran_for=0.0)
            _log.error("plugin %s cannot be started: %s", self.plugin.name, instance.reason)
            return
        self._current = instance
        self.plugin.started(instance.process)
        self._changes.notify_all()

    def _begin_successor(self) -> None:
        """Start a new generation beside the running one."""
        self._order = _Order.NONE
        self.plugin.begin_generation()
        instance = self._launcher.begin(self.plugin, self._wake)
        if isinstance(instance, Verdict):
            self._slot.release()
            self._keep_current(instance.reason)
            return
        self._successor = instance
        self.plugin.explain(Substate.REPLACING)
        self._changes.notify_all()

    # Serving.

    def _serve(self, instance: Instance, session: Session) -> None:
        """Send events to this session from now on."""
        plugin = self.plugin
        plugin.served_by(instance.process, session)
        substate = Substate.EXTERNAL if instance.process is None else Substate.CONNECTED
        if plugin.status is not PluginStatus.RUNNING:
            self._move(PluginStatus.RUNNING, substate)
        plugin.explain(substate, "")
        self._watch_keeper.watch(session)
        self._changes.notify_all()
        self._wake.set()

    def _lost_session(self, instance: Instance, error: Exception | None, reason: str) -> None:
        """Handle the loss of the serving connection: the process may reconnect, unless it hung."""
        self._retire_session()
        if self.plugin.status is not PluginStatus.RUNNING:
            return
        if instance.process is None:
            self.plugin.explain(self.plugin.substate, reason)
        elif isinstance(error, PluginStuckError):
            # A process that does not answer would not answer on a new connection either.
            self.condemn(Substate.WATCHDOG, reason)
        else:
            instance.expect_handshake(self._settings.handshake_timeout)
            self._move(PluginStatus.STARTING, Substate.DISCONNECTED, reason)

    def _retire_session(self) -> None:
        """Send no more events to the serving session."""
        self._watch_keeper.rest()
        self.plugin.retire_session()

    # Replacing.

    def _may_overlap(self, current: Instance) -> bool:
        """Return whether a new process may be started beside the running one."""
        return (
            self.plugin.status is PluginStatus.RUNNING
            and current.process is not None
            and self._successor is None
            and not self.plugin.is_exclusive
        )

    def _take_over(self, successor: Instance) -> None:
        """Let the successor serve, and the old instance leave once it is drained."""
        old, self._current, self._successor = self._current, successor, None
        assert old is not None, "a successor is only begun beside a current instance"
        self._retire_session()
        if not old.is_ending:  # otherwise it has died, and `_end` is clearing up after it
            task = asyncio.create_task(self._leave(old), name=f"leaving of {self.plugin.name}")
            self._leaving[old] = task
        _log.info(
            "plugin %s: generation %d takes over from %d",
            self.plugin.name,
            successor.generation,
            old.generation,
        )

    async def _leave(self, old: Instance) -> None:
        try:
            await old.end(self._settings.shutdown, "replaced", lambda _: None)
        finally:
            del self._leaving[old]
            self._changes.notify_all()
            self._wake.set()

    async def _drop_successor(self, successor: Instance, verdict: Verdict) -> None:
        """End a successor that failed or was overtaken by a stop; the old process keeps running."""
        await self._end_successor(successor, verdict.reason)
        if self._current is not None:
            self._keep_current(verdict.reason or "it was stopped")

    async def _overtake_successor(self, successor: Instance) -> None:
        """End a successor whose code may be old by now; the next step begins another one."""
        _log.info(
            "plugin %s: generation %d is overtaken by another restart",
            self.plugin.name,
            successor.generation,
        )
        await self._end_successor(successor, "overtaken by another restart")

    async def _end_successor(self, successor: Instance, reason: str) -> None:
        await successor.end(self._settings.shutdown, reason, lambda _: None)
        self._successor = None
        self._slot.release()

    def _keep_current(self, reason: str) -> None:
        self._failure = reason
        self.plugin.explain(
            Substate.CONNECTED, f"a new process failed: {reason}; the old one keeps running"
        )
        _log.error("plugin %s: %s", self.plugin.name, self.plugin.reason)
        self._changes.notify_all()

    # Ending.

    async def _end(self, instance: Instance, verdict: Verdict) -> None:
        """End the whole process tree, and settle on the verdict."""
        self._retire_session()
        ran_for = instance.ran_for
        process = instance.process
        if process is None:
            await self._end_external(instance)
        else:
            if verdict.ended is not None and not process.is_alive:
                level = logging.INFO if verdict.ended is Ended.CLEANLY else logging.ERROR
                _log.log(level, "plugin %s %s", self.plugin.name, process.exited.result())
            await instance.end(
                self._settings.shutdown, verdict.reason, partial(self._phase, verdict)
            )
            record_end(self.plugin, instance, verdict, ran_for)
        if self._current is not instance and process is not None:
            return  # a successor has taken over meanwhile, and serves
        self._current = None
        self._slot.release()
        # An end by itself during a stop is what was wanted, not a failure.
        if self._order is _Order.STOP and verdict.ended is not None:
            verdict = stopped()
        self._settle(verdict, ran_for)
        self._adopt_successor()

    async def _end_external(self, instance: Instance) -> None:
        # Not ours to signal: it is only disconnected.
        if instance.session is None:
            return
        instance.session.abort(PluginUnavailableError(self.plugin.name, "stopped by the operator"))
        while instance.session is not None:
            await self._watch()

    def _phase(self, verdict: Verdict, substate: Substate) -> None:
        """Show the progress of the shutdown sequence, before each step."""
        if self.plugin.status is not PluginStatus.STOPPING:
            self._move(PluginStatus.STOPPING, substate, verdict.reason)
        self.plugin.explain(substate)
        if substate is Substate.KILLING:
            _log.warning(
                "plugin %s did not exit within %g s; killing it",
                self.plugin.name,
                self._settings.shutdown.stop_timeout,
            )

    def _settle(self, verdict: Verdict, ran_for: float) -> None:
        """Set the final state, and decide when the plugin is started again."""
        substate = verdict.substate
        if verdict.ended is not None and self._order is _Order.NONE and not self._closing:
            decision = self._restarts.ended(verdict.ended, ran_for, time.monotonic())
            self._restarts.plan(decision, time.monotonic())
            substate = self._plan(decision, verdict)
        self._move(verdict.status, substate, verdict.reason)

    def _plan(self, decision: Decision, verdict: Verdict) -> Substate:
        """Log and report the decision, and return the substate for it."""
        if decision.is_crash_loop:
            _log.error(
                "plugin %s is in a crash loop (%s); %s",
                self.plugin.name,
                verdict.reason,
                decision.in_words(),
            )
            self._on_given_up(self.plugin)
        if verdict.substate in SELF_EXPLANATORY:
            return verdict.substate
        if decision.is_crash_loop:
            return Substate.CRASH_LOOP
        return verdict.substate if decision.delay is None else Substate.BACKOFF

    def _adopt_successor(self) -> None:
        """Make a successor that is still starting the current instance."""
        if self._successor is not None and self._order is not _Order.STOP:
            self._current, self._successor = self._successor, None
            self._restarts.cancel()
            self.plugin.started(self._current.process)
            self._move(PluginStatus.STARTING, Substate.SPAWNED)

    async def _rest_stopped(self) -> None:
        """Complete a stop once nothing is left, including instances that were already leaving."""
        if self._leaving:
            await asyncio.wait(self._leaving.values())
        self._restarts.cancel()
        if self.plugin.status is PluginStatus.ERROR:
            self._move(PluginStatus.STOPPED, Substate.NONE)
        elif self.plugin.substate in (Substate.BACKOFF, Substate.CRASH_LOOP, Substate.WAITING):
            self.plugin.explain(Substate.NONE)
        self._order = _Order.NONE
        self._changes.notify_all()

    def _give_up(self, reason: str) -> None:
        """Stop after a bug of ours, and kill whatever is still running."""
        self._order = _Order.STOP if self._closing else _Order.NONE
        self.kill_now()
        for instance in self.instances():
            instance.condemn(Verdict(PluginStatus.ERROR, Substate.NONE, reason))
        if self._current is None and self.plugin.status in _IN_BETWEEN:
            self._move(PluginStatus.ERROR, Substate.NONE, reason)
        self._changes.notify_all()

    # Building blocks.

    def _want(self, desired: Desired) -> None:
        self.plugin.want(desired)

    def _give(self, order: _Order) -> None:
        self._order = order
        self._wake.set()

    def _clear_history(self) -> None:
        """Clear the failure history: a manual command overrides back-off."""
        self._restarts.forget()
        self._restarts.cancel()

    async def _with_slot(self, begin: Callable[[], None]) -> None:
        """Call ``begin`` if there is a free start slot; else wait for news."""
        if not self._launcher.is_prepared(self.plugin):
            await self._launcher.prepare(self.plugin)
            return  # an order may have arrived meanwhile; the next step looks at it
        if self._slot.try_acquire():
            begin()
            return
        if self._current is None:
            self.plugin.explain(Substate.WAITING)
        await self._wake.wait()
        self._wake.clear()
        # Queue again with the next step, which may find that no start is wanted any more.
        self._slot.leave_queue()

    def _move(self, status: PluginStatus, substate: Substate, reason: str = "") -> None:
        self.plugin.move(status, substate, reason)
        self._changes.notify_all()

    def _has_settled(self) -> bool:
        return (
            self._order is _Order.NONE
            and self._successor is None
            and self.plugin.status not in _IN_BETWEEN
        )

    def _is_past_stopping(self) -> bool:
        return (
            self._order is not _Order.STOP
            and self.plugin.status is not PluginStatus.STOPPING
            and not self._leaving
        )

    def _check_startable(self) -> None:
        if self.plugin.is_external and self._current is None:
            raise PluginStartError(
                self.plugin.name, "it is started by another program, which may attach again now"
            )
        if self._closing:
            raise PluginStartError(self.plugin.name, "the host is stopping")

    def _check_running(self) -> None:
        plugin = self.plugin
        if plugin.status is not PluginStatus.RUNNING:
            raise PluginStartError(plugin.name, plugin.reason or "stopped before it was running")
