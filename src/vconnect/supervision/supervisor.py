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
# Its instances (a process with its session) are in `Generations`: the current one, a successor
# until that is ready, and those that are leaving. Readiness is what counts, not the handshake: a
# plugin that still initializes gets no events and replaces no other process.

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from vconnect.bounds import cut
from vconnect.errors import (
    HandshakeError,
    InstallError,
    PluginStuckError,
    PluginUnavailableError,
    RemoteProtocolError,
)
from vconnect.plugins.restarts import Ended
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.settings.parts import SupervisionSettings
from vconnect.sockets.credentials import Peer
from vconnect.store.layout import InstalledVersion
from vconnect.store.listing import Located
from vconnect.store.releases import Releases
from vconnect.watching.watchdog import WatchKeeper
from vconnect.wire.messages import Handshake
from vconnect.wire.server import Admission
from vconnect.wire.session import Session

from .admission import Admissions
from .endings import (
    exited,
    failed_start,
    overdue,
    record_end,
    refused,
    resting_substate,
    stopped,
    unkillable,
    why_disconnected,
    why_started,
)
from .generations import Generations
from .instance import Instance
from .launcher import Launcher
from .orders import IN_BETWEEN, Order, Orders
from .start_slots import StartSlots
from .trials import Trials
from .verdict import Verdict

_log = logging.getLogger(__name__)

# A step that keeps failing must not keep the loop busy. Seconds.
_FAULT_PAUSE = 1.0


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
        releases: The versions on the disk; without them the plugin gets no new ones.
    """

    def __init__(
        self,
        plugin: PluginRuntime,
        settings: SupervisionSettings,
        launcher: Launcher,
        slots: StartSlots,
        on_given_up: Callable[[PluginRuntime], None] = lambda _: None,
        releases: Releases | None = None,
    ) -> None:
        self.plugin = plugin
        self._settings = settings
        self._launcher = launcher
        self._on_given_up = on_given_up
        self._admissions = Admissions(plugin, settings)
        self._restarts = plugin.restarts
        self._trials = Trials(plugin, releases)
        # Why a new version does not run that was tried last; empty once that has been shown.
        self._fallen = ""
        self._wake = asyncio.Event()
        self._generations = Generations(plugin.name, self._left)
        self._orders = orders = Orders(plugin, self._generations, self._wake.set)
        self._watch_keeper = WatchKeeper(
            settings.heartbeats, plugin.saw_alive, partial(self.condemn, Substate.WATCHDOG)
        )
        self._slot = slots.slot(plugin.name, self._wake.set, is_build=plugin.dev)
        self._task = asyncio.create_task(self._live(), name=f"supervisor of {plugin.name}")
        self.start, self.stop, self.restart = orders.start, orders.stop, orders.restart
        self.wait_until_begun, self.led_by = orders.wait_until_begun, self._generations.led_by

    async def close(self) -> None:
        """Stop the plugin and end the actor. The plugin's desired state stays as it is."""
        self._orders.is_closing = True
        self._orders.give(Order.STOP)
        await asyncio.wait([self._task])

    def kill_now(self) -> None:
        """Send SIGKILL to every process of the plugin, without waiting."""
        for instance in self.instances():
            if instance.process is not None:
                instance.process.kill_now()

    def condemn(self, substate: Substate, reason: str) -> None:
        """End the current process, and let the restart policy decide; for watchdog and monitor."""
        current = self._generations.current
        if current is not None and current.process is not None:
            _log.error("plugin %s will be replaced: %s", self.plugin.name, reason)
            current.condemn(Verdict(PluginStatus.ERROR, substate, reason, Ended.FAILED))
            self._wake.set()

    # Events from the socket.

    def instances(self) -> list[Instance]:
        """Return its instances, including those that are leaving."""
        return self._generations.all

    def admit(self, handshake: Handshake, peer: Peer, instance: Instance | None) -> Admission:
        """Decide about a handshake under this plugin's name (``docs/wire.md``, "Who may connect").

        Args:
            handshake: The peer's handshake.
            peer: The process that connected.
            instance: The instance that the process belongs to, if it is one of this plugin's.

        Raises:
            HandshakeError: ``stranger``, ``name_taken``, ``disabled`` or ``stopping``.
        """
        if self._orders.is_closing:
            raise HandshakeError("stopping", f"{self.plugin.name} is being stopped")
        if self._generations.is_leaving(instance):
            raise HandshakeError("stopping", f"{self.plugin.name} has been replaced")
        return self._admissions.decide(handshake, peer, instance, self._generations.present)

    def attached(self, session: Session, instance: Instance | None) -> None:
        """Called when the handshake of a session is complete.

        Args:
            session: The new session.
            instance: The instance of its process; ``None`` if another program started the plugin.
        """
        if instance is None:
            instance = self._generations.current = Instance(self.plugin.generation)
        instance.attach(session)
        # Another program's plugin may have the name of an installed one, and then has its manifest.
        manifest = self.plugin.manifest if instance.process is None else instance.manifest
        session.permissions = manifest.permissions if manifest is not None else ()
        self._slot.release()
        handshake = session.handshake
        _log.info(
            "plugin handshake: %s v%s (priority %d, capabilities [%s])",
            self.plugin.name,
            handshake.version,
            handshake.priority,
            cut(", ".join(handshake.capabilities)),
        )
        if session.is_ready:
            self._got_ready(instance)
        else:
            self._initializes(instance)

    def became_ready(self, session: Session) -> None:
        """Called when a plugin says that it can serve after its handshake said otherwise."""
        for instance in self._generations.present:
            if instance.session is session:
                self._got_ready(instance)

    def detached(self, session: Session, error: Exception | None) -> None:
        """Called at the end of a session."""
        instance = next((one for one in self.instances() if one.session is session), None)
        if instance is None:
            return  # the session of an earlier process
        instance.session = None
        self.plugin.counters.take(session)
        instance.lost_events = session.lost_events()
        reason = why_disconnected(error)
        is_violation = isinstance(error, RemoteProtocolError)
        instance.violation = reason if is_violation else ""
        level = logging.WARNING if is_violation else logging.INFO
        _log.log(level, "plugin %s: %s", self.plugin.name, reason)
        if instance is self._generations.current and not instance.is_ending:
            self._lost_session(instance, session, error, reason)
        else:
            instance.expect(self._settings.handshake_timeout)
        self._wake.set()

    def refused(self, instance: Instance, error: HandshakeError) -> None:
        """Called when a process of this plugin was refused: another attempt would fail too."""
        if instance.session is not None:
            return
        instance.condemn(refused(instance, error))
        self._wake.set()

    # The actor.

    async def _live(self) -> None:
        while not (self._orders.is_closing and not self.instances()):
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - a bug of ours must not affect other plugins
                _log.exception("plugin %s: internal error", self.plugin.name)
                self._give_up(f"internal error: {error!r}; the traceback is in the host's log")
                await asyncio.sleep(_FAULT_PAUSE)
        self._orders.pending = Order.NONE
        self._orders.changes.notify_all()

    async def _step(self) -> None:
        """Do the one thing that is due, or wait for news."""
        # The order of the cases is the policy; docs/architecture.md lists it.
        current, successor = self._generations.current, self._generations.successor
        order = self._orders.pending
        if self._trials.has_failed:
            await self._trials.record_failure()
        elif successor is not None and (verdict := self._why_end(successor)) is not None:
            await self._drop_successor(successor, verdict)
        elif current is not None and (verdict := self._why_end(current)) is not None:
            await self._end(current, verdict)
        elif order is Order.STOP:
            await self._rest_stopped()
        elif order is Order.RESTART and successor is not None:
            await self._overtake_successor(successor)
        elif (ready := self._generations.ready_trial) is not None:
            await self._make_current(ready)
        elif order is Order.RESTART and current is not None and self._may_overlap(current):
            await self._with_slot(self._begin_successor)
        elif order is Order.RESTART and current is not None:
            await self._end(current, stopped())
        elif current is None and (order is not Order.NONE or self._restarts.is_due()):
            await self._with_slot(self._begin)
        else:
            await self._watch()

    def _why_end(self, instance: Instance) -> Verdict | None:
        """Return the verdict of an instance that must end, or ``None`` if it may go on."""
        if instance.verdict is not None:
            return instance.verdict
        if self._orders.pending is Order.STOP:
            return stopped()
        if instance.process is None and instance.session is None:
            return Verdict(PluginStatus.STOPPED, Substate.DISCONNECTED, self.plugin.reason)
        if instance.process is not None and not instance.process.is_alive:
            return exited(instance, instance.process.exited.result())
        if instance.is_overdue():
            return overdue(instance)
        return None

    async def _watch(self) -> None:
        """Wait for news, or until the next timer expires."""
        self._slot.leave_queue()
        times = [one.due_at for one in self._generations.present if one.must_hurry]
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
        located = self._launcher.look(self.plugin)
        is_ordered = self._orders.pending is not Order.NONE
        trial = self._trials.choose(is_ordered=is_ordered)
        if not is_ordered and self._still_waits(located):
            return
        self._orders.pending = Order.NONE
        self._restarts.cancel()
        self.plugin.begin_generation(why_started(self.plugin, is_ordered=is_ordered))
        self._move(PluginStatus.STARTING, Substate.SPAWNED)
        instance = self._launcher.begin(self.plugin, self._wake, located, trial)
        if isinstance(instance, Verdict):
            self._slot.release()
            _log.error("plugin %s cannot be started: %s", self.plugin.name, instance.reason)
            if trial is not None and instance.ended is not Ended.TRANSIENT:
                self._fall_back(trial, instance.reason)
            self._settle(instance, ran_for=0.0)
            return
        self._generations.current = instance
        if trial is None:
            self._launcher.adopt(self.plugin, instance)
        self.plugin.started(instance.process)
        self._orders.changes.notify_all()

    def _still_waits(self, located: Located | None) -> bool:
        """Return whether a retry would fail for the reason that has been told; plan the next one.

        What a plugin requires may be missing for days, and is tried every few seconds.
        """
        plugin = self.plugin
        if located is None or plugin.substate is not Substate.SPAWN_FAILED:
            return False
        reason = self._launcher.why_not_yet(plugin, located)
        if not reason or reason != plugin.reason:
            return False
        self._slot.release()
        now = time.monotonic()
        self._restarts.plan(self._restarts.ended(Ended.TRANSIENT, 0.0, now), now)
        return True

    def _begin_successor(self) -> None:
        """Start a new generation beside the running one."""
        located = self._launcher.look(self.plugin)
        trial = self._trials.choose(is_ordered=True)
        self._orders.pending = Order.NONE
        self.plugin.begin_generation(why_started(self.plugin, is_ordered=True))
        instance = self._launcher.begin(self.plugin, self._wake, located, trial)
        if isinstance(instance, Verdict):
            self._slot.release()
            if trial is not None and instance.ended is not Ended.TRANSIENT:
                self._trials.fail(trial, instance.reason)
            self._keep_current(instance.reason)
            return
        self._generations.successor = instance
        self.plugin.explain(Substate.REPLACING, "")
        self._orders.changes.notify_all()

    def _initializes(self, instance: Instance) -> None:
        """Show that a connected plugin is not ready, and give it time for that."""
        instance.expect_ready(self._settings.start_timeout)
        if instance is self._generations.current:
            if instance.session is not None:
                self.plugin.announced(instance.session.handshake)
            if self.plugin.status is not PluginStatus.STARTING:
                self._move(PluginStatus.STARTING, Substate.INITIALIZING)
            self.plugin.explain(Substate.INITIALIZING, "connected, and not ready yet")
            self._orders.changes.notify_all()
        self._wake.set()

    def _got_ready(self, instance: Instance) -> None:
        """Let an instance serve, unless its version must first be made current on the disk."""
        if instance.running_since is None:
            instance.running_since = time.monotonic()
        instance.start_due_at = None
        if instance.trial is None:
            self._begin_serving(instance)
        self._wake.set()

    async def _make_current(self, instance: Instance) -> None:
        """Make the version of a ready instance current, then let it serve."""
        assert instance.trial is not None
        try:
            await self._trials.make_current(instance.trial)
        except InstallError as error:
            reason = f"version {instance.trial.version} cannot be made current: {error}"
            instance.condemn(failed_start(Substate.SPAWN_FAILED, reason, Ended.PERMANENT))
            return
        instance.trial = None
        self._fallen = ""
        is_alone = instance is self._generations.current
        # If it has ended meanwhile or lost its connection, the old process serves on for now.
        if instance.is_ready and instance.is_alive:
            self._begin_serving(instance)
        else:
            self._launcher.adopt(self.plugin, instance)
        if is_alone:  # otherwise the old one does it when it leaves
            await self._trials.collect()

    def _fall_back(self, trial: InstalledVersion, reason: str) -> None:
        """Start the current version after the failure of a new one, as part of the same order."""
        self._trials.fail(trial, reason, falls_back=True)
        self._orders.failure = f"version {trial.version} did not get ready: {reason}"
        self._fallen = f"{self._orders.failure}; the version before it runs"
        if self._orders.pending is Order.NONE:
            self._orders.pending = Order.START

    # Serving.

    def _begin_serving(self, instance: Instance) -> None:
        """Send events to a ready instance; a successor takes over."""
        session = instance.session
        assert session is not None, "only a connected instance is ready"
        if instance is self._generations.successor:
            self._take_over(instance)
        plugin = self.plugin
        self._launcher.adopt(plugin, instance)
        plugin.served_by(instance.process, session)
        substate = Substate.EXTERNAL if instance.process is None else Substate.CONNECTED
        if plugin.status is not PluginStatus.RUNNING:
            self._move(PluginStatus.RUNNING, substate)
        # Only until it connects again: by then it is no news.
        plugin.explain(substate, self._fallen)
        self._fallen = ""
        self._admissions.refresh_config(instance, session)
        self._watch_keeper.watch(session)
        self._orders.changes.notify_all()
        self._wake.set()

    def _lost_session(
        self, instance: Instance, session: Session, error: Exception | None, reason: str
    ) -> None:
        """Handle the loss of the current connection: the process may reconnect, unless it hung."""
        self._retire_session()
        instance.expect(self._settings.handshake_timeout)
        if self.plugin.status is PluginStatus.STARTING:  # it was not ready yet
            self.plugin.explain(Substate.DISCONNECTED, reason)
        if self.plugin.status is not PluginStatus.RUNNING:
            return
        if instance.process is None:
            self.plugin.explain(self.plugin.substate, reason)
        elif isinstance(error, PluginStuckError):
            # A process that does not answer would not answer on a new connection either.
            self.condemn(Substate.WATCHDOG, reason)
        else:
            self._move(PluginStatus.STARTING, Substate.DISCONNECTED, reason)
            if not session.is_native and self.plugin.policy.on_disconnect == "replace":
                self._replace_disconnected(instance)

    def _replace_disconnected(self, instance: Instance) -> None:
        """Start a new process for one that has closed its connection, as the operator chose."""
        # Like an end, so that a plugin that does this again and again is not replaced forever.
        decision = self._restarts.ended(Ended.FAILED, instance.ran_for, time.monotonic())
        if (
            self._orders.pending is Order.NONE
            and decision.delay is not None
            and not decision.is_crash_loop
        ):
            _log.info("plugin %s: a new process replaces the disconnected one", self.plugin.name)
            self._orders.give(Order.RESTART)

    def _retire_session(self) -> None:
        """Send no more events to the serving session."""
        self._watch_keeper.rest()
        self.plugin.retire_session()

    # Replacing.

    def _may_overlap(self, current: Instance) -> bool:
        """Return whether a new process may be started beside the running one."""
        # Another process may have installed something that the two must not share.
        self._launcher.look(self.plugin)
        serves = self.plugin.status is PluginStatus.RUNNING
        is_away = self.plugin.substate is Substate.DISCONNECTED
        return (serves or is_away) and current.process is not None and not self.plugin.is_exclusive

    def _take_over(self, successor: Instance) -> None:
        """Let the successor serve, and the old instance leave once it is drained."""
        old = self._generations.take_over(self._leave)
        self._retire_session()
        words = f"generation {successor.generation} takes over from {old.generation}"
        self.plugin.say("info", words)

    async def _leave(self, old: Instance) -> None:
        await old.end(self._settings.shutdown, "replaced", lambda _: None)
        await self._trials.collect()

    def _left(self) -> None:
        self._orders.changes.notify_all()
        self._wake.set()

    async def _drop_successor(self, successor: Instance, verdict: Verdict) -> None:
        """End a successor that failed or was overtaken by a stop; the old process keeps running."""
        if successor.trial is not None and verdict.is_of_the_version:
            self._trials.fail(successor.trial, verdict.reason)
        await self._end_successor(successor, verdict.reason)
        if self._generations.current is not None and self._orders.pending is not Order.STOP:
            self._keep_current(verdict.reason or "it was stopped")

    async def _overtake_successor(self, successor: Instance) -> None:
        """End a successor whose code may be old by now; the next step begins another one."""
        generation = successor.generation
        _log.info("plugin %s: generation %d is overtaken", self.plugin.name, generation)
        await self._end_successor(successor, "overtaken by another restart")

    async def _end_successor(self, successor: Instance, reason: str) -> None:
        await successor.end(self._settings.shutdown, reason, lambda _: None)
        if self._generations.successor is successor:
            self._generations.successor = None
            self._slot.release()

    def _keep_current(self, reason: str) -> None:
        self._orders.failure = f"a new process failed: {reason}; the old one keeps running"
        connected = self.plugin.session is not None
        substate = Substate.CONNECTED if connected else Substate.DISCONNECTED
        self.plugin.explain(substate, self._orders.failure)
        self.plugin.say("error", self._orders.failure)
        self._orders.changes.notify_all()

    # Ending.

    async def _end(self, instance: Instance, verdict: Verdict) -> None:
        """End the whole process tree, and settle on the verdict."""
        self._slot.leave_queue()
        self._retire_session()
        ran_for = instance.ran_for
        process, left = instance.process, ""
        if process is None:
            await self._end_external(instance, verdict.reason or "stopped by the operator")
        else:
            if verdict.ended is not None and not process.is_alive:
                level = logging.INFO if verdict.ended is Ended.CLEANLY else logging.ERROR
                _log.log(level, "plugin %s %s", self.plugin.name, process.exited.result())
            phase = partial(self._phase, verdict)
            left = await instance.end(self._settings.shutdown, verdict.reason, phase)
            record_end(self.plugin, instance, verdict, ran_for)
        if self._generations.current is not instance and process is not None:
            return  # a successor has taken over meanwhile, and serves
        self._generations.current = None
        self._slot.release()
        is_stopping = self._orders.pending is Order.STOP
        if instance.trial is not None and verdict.is_of_the_version and not is_stopping:
            self._fall_back(instance.trial, verdict.reason)
        # An end by itself during a stop is what was wanted, not a failure.
        if is_stopping and verdict.ended is not None:
            verdict = stopped()
        self._settle(unkillable(left, verdict) if left else verdict, ran_for)
        self._adopt_successor()

    async def _end_external(self, instance: Instance, reason: str) -> None:
        # Not ours to signal: it is only disconnected.
        if instance.session is None:
            return
        instance.session.abort(PluginUnavailableError(self.plugin.name, reason))
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
        substate, is_ordered = verdict.substate, self._orders.pending is not Order.NONE
        self.plugin.substate_at_end = substate
        if verdict.ended is not None and not is_ordered and not self._orders.is_closing:
            decision = self._restarts.ended(verdict.ended, ran_for, time.monotonic())
            self._restarts.plan(decision, time.monotonic())
            substate = resting_substate(verdict, decision)
            if decision.is_crash_loop:
                _log.error(
                    "plugin %s is in a crash loop (%s); %s",
                    self.plugin.name,
                    verdict.reason,
                    decision.in_words(),
                )
                self._on_given_up(self.plugin)
        self._move(verdict.status, substate, verdict.reason)

    def _adopt_successor(self) -> None:
        """Make a successor that is still starting the current instance."""
        if (
            self._orders.pending is Order.STOP
            or (first := self._generations.adopt_successor()) is None
        ):
            return
        self._restarts.cancel()
        self.plugin.started(first.process)
        connected = first.session is not None
        self._move(PluginStatus.STARTING, Substate.INITIALIZING if connected else Substate.SPAWNED)

    async def _rest_stopped(self) -> None:
        """Complete a stop once nothing is left, including instances that were already leaving."""
        self._slot.leave_queue()
        await self._generations.wait_until_left()
        self._restarts.cancel()
        # What could not be killed stays to be seen.
        if self.plugin.status is PluginStatus.ERROR and self.plugin.substate != Substate.KILLING:
            self._move(PluginStatus.STOPPED, Substate.NONE)
        elif self.plugin.substate in (Substate.BACKOFF, Substate.CRASH_LOOP, Substate.WAITING):
            self.plugin.explain(Substate.NONE, "")
        self._orders.pending = Order.NONE
        self._orders.changes.notify_all()

    def _give_up(self, reason: str) -> None:
        """Stop after a bug of ours, and kill whatever is still running."""
        self._orders.pending = Order.STOP if self._orders.is_closing else Order.NONE
        self.kill_now()
        for instance in self.instances():
            instance.condemn(Verdict(PluginStatus.ERROR, Substate.NONE, reason))
        if self._generations.current is None and self.plugin.status in IN_BETWEEN:
            self._move(PluginStatus.ERROR, Substate.NONE, reason)
        self._orders.changes.notify_all()

    # Building blocks.

    async def _with_slot(self, begin: Callable[[], None]) -> None:
        """Call ``begin`` if there is a free start slot; else wait for news."""
        if not self._launcher.is_prepared(self.plugin):
            await self._launcher.prepare(self.plugin)
            return  # an order may have arrived meanwhile; the next step looks at it
        is_urgent = self._orders.is_urgent or self._orders.pending is Order.NONE
        if self._slot.try_acquire(is_urgent=is_urgent):
            begin()
            return
        # In the queue from here on, until the step does something else; see `leave_queue`.
        if self._generations.current is None:
            self.plugin.explain(Substate.WAITING, self._slot.waits_for())
        await self._wake.wait()
        self._wake.clear()

    def _move(self, status: PluginStatus, substate: Substate, reason: str = "") -> None:
        self.plugin.move(status, substate, reason)
        self._orders.changes.notify_all()
