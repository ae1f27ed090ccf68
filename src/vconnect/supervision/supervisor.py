"""One plugin's life: an actor that takes orders, and brings the plugin to where they say.

Orders (start, stop, restart) and news (a session came or went, a process ended, a time is up)
arrive at any moment and only leave a note; the actor's one task acts on the notes, one step after
the other. So no lock is needed, the last order wins, and orders of one kind are carried out once.

A plugin has one instance (a process and its session). During a restart without a gap there is a
second one for a while: the successor, until it has shaken hands; then the old one, until what it
has in flight is answered.
"""

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
from .endings import crash_report, exited, overdue, refused, stopped, why_disconnected
from .instance import Instance
from .launcher import Launcher
from .start_slots import StartSlots
from .verdict import Verdict
from .watchdog import WatchKeeper

_log = logging.getLogger(__name__)

# A fault that repeats itself must not keep the loop busy. Seconds.
_FAULT_PAUSE = 1.0
_IN_BETWEEN = (PluginStatus.STARTING, PluginStatus.STOPPING)


class _Order(Enum):
    """What the actor was told to do and has not done yet."""

    NONE = auto()
    START = auto()
    STOP = auto()
    RESTART = auto()


class Supervisor:
    """Starts, watches, restarts and ends one plugin.

    Create it in a running event loop; `close` ends it. The public methods may be called at any
    time and in any number. Cancelling one of them only stops the waiting: the order stands.

    Args:
        plugin: The plugin's state, which only this object changes.
        settings: Timeouts, and the bounds of its connections.
        launcher: Starts its processes.
        slots: Bound how many plugins start at the same time.
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
        self._failure = ""  # why the last successor did not take over
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
        """Start the plugin and wait for its handshake; nothing to do if it is running.

        Raises:
            PluginStartError: It did not start, did not shake hands, or was stopped meanwhile.
        """
        self._want("running")
        self._check_startable()
        if self._current is None or self.plugin.status is PluginStatus.STOPPING:
            self._clear_history()
            self._give(_Order.START)
        elif self._order is _Order.STOP:
            self._give(_Order.NONE)
        await self._changes.wait_for(self._has_settled)
        self._check_running()

    async def stop(self) -> None:
        """Stop the plugin, and return when nothing of its process tree is left."""
        self._want("stopped")
        self._give(_Order.STOP)
        await self._changes.wait_for(self._is_past_stopping)

    async def restart(self) -> None:
        """Restart the plugin and wait for its handshake.

        If it runs and may run twice, the new process is started first and takes over once it has
        shaken hands; the old one answers what it has in flight. If the new one fails, the old one
        serves on.

        Raises:
            PluginStartError: As `start`; also if the old one serves on.
        """
        if self.plugin.is_external:
            raise PluginStartError(self.plugin.name, "another program starts it; restart it there")
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
        """Stop the plugin and end the actor; what the operator asked for stays as it is."""
        self._closing = True
        self._give(_Order.STOP)
        await asyncio.wait([self._task])

    def kill_now(self) -> None:
        """Send SIGKILL to every process of the plugin, without waiting."""
        for instance in self.instances():
            if instance.process is not None:
                instance.process.kill_now()

    def condemn(self, substate: Substate, reason: str) -> None:
        """End the process that runs now, and let the restart policy decide; for watchers."""
        if self._current is not None and self._current.process is not None:
            _log.error("plugin %s is going to be replaced: %s", self.plugin.name, reason)
            self._current.condemn(Verdict(PluginStatus.ERROR, substate, reason, Ended.FAILED))
            self._wake.set()

    # News from the socket.

    def instances(self) -> list[Instance]:
        """Return its instances, those included that are on their way out."""
        living = [one for one in (self._successor, self._current) if one is not None]
        return [*living, *self._leaving]

    def admit(self, handshake: Handshake, peer: Peer, instance: Instance | None) -> Admission:
        """Decide about a handshake under this plugin's name (``docs/wire.md``, "Who may connect").

        Args:
            handshake: What the peer says of itself.
            peer: The process that connected.
            instance: Whose process that is, if it is one of this plugin's.

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
            session: The new one.
            instance: Whose process it is; ``None`` for a plugin that another program started.
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
        _log.info(
            "plugin handshake: %s v%s (priority %d, capabilities [%s])",
            *(self.plugin.name, *_shown(session.handshake)),
        )

    def detached(self, session: Session, error: Exception | None) -> None:
        """Called at the end of a session."""
        instance = next((one for one in self.instances() if one.session is session), None)
        if instance is None:
            return  # of an earlier process
        instance.session = None
        self.plugin.lost(session.lost_events())
        reason = why_disconnected(error)
        level = logging.WARNING if isinstance(error, RemoteProtocolError) else logging.INFO
        _log.log(level, "plugin %s: %s", self.plugin.name, reason)
        if instance is self._current:
            self._lost_session(instance, error, reason)
        self._wake.set()

    def refused(self, instance: Instance, error: HandshakeError) -> None:
        """Called when a process of this plugin was refused: it need not try again."""
        if instance.session is not None:
            return
        instance.condemn(refused(instance, error))
        self._wake.set()

    # The actor.

    async def _live(self) -> None:
        while not (self._closing and not list(self.instances())):
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - a fault of ours must not take others down
                _log.exception("plugin %s: a fault of the host", self.plugin.name)
                self._give_up(f"a fault of the host: {error!r}; its log holds the traceback")
                await asyncio.sleep(_FAULT_PAUSE)
        self._order = _Order.NONE
        self._changes.notify_all()

    async def _step(self) -> None:
        """Do the one thing that is due now, or wait for news."""
        current, successor, order = self._current, self._successor, self._order
        if successor is not None and self._why_end(successor) is not None:
            await self._drop_successor(successor)
        elif current is not None and (verdict := self._why_end(current)) is not None:
            await self._end(current, verdict)
        elif order is _Order.STOP:
            await self._rest_stopped()
        elif order is _Order.RESTART and current is not None and self._may_overlap(current):
            await self._with_slot(self._begin_successor)
        elif order is _Order.RESTART and current is not None:
            await self._end(current, stopped())
        elif current is None and (order is not _Order.NONE or self._restarts.is_due()):
            await self._with_slot(self._begin)
        else:
            await self._watch()

    def _why_end(self, instance: Instance) -> Verdict | None:
        """Say where an instance that must end comes to rest; ``None`` if it may go on."""
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
        """Wait for news, or for the next time that is up."""
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
        """Start a new generation where none runs."""
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
        """Start a new generation beside the one that runs."""
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
        """Let events go to this session from now on."""
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
        """The plugin that serves has lost its connection: it may come back, unless it hung."""
        self._retire_session()
        if self.plugin.status is not PluginStatus.RUNNING:
            return
        if instance.process is None:
            self.plugin.explain(self.plugin.substate, reason)
        elif isinstance(error, PluginStuckError):
            self.condemn(Substate.WATCHDOG, reason)
        else:
            instance.expect_handshake(self._settings.handshake_timeout)
            self._move(PluginStatus.STARTING, Substate.DISCONNECTED, reason)

    def _retire_session(self) -> None:
        """Send no more events to the session that serves."""
        self._watch_keeper.rest()
        self.plugin.retire_session()

    # Replacing.

    def _may_overlap(self, current: Instance) -> bool:
        """Tell whether a new process may be started beside the one that runs."""
        return (
            self.plugin.status is PluginStatus.RUNNING
            and current.process is not None
            and self._successor is None
            and not self.plugin.is_exclusive
        )

    def _take_over(self, successor: Instance) -> None:
        """The successor has shaken hands: it serves, and the old one goes when it is done."""
        old, self._current, self._successor = self._current, successor, None
        assert old is not None, "a successor comes after somebody"
        self._retire_session()
        task = asyncio.create_task(self._leave(old), name=f"leaving of {self.plugin.name}")
        self._leaving[old] = task
        _log.info(
            "plugin %s: generation %d takes over from %d",
            *(self.plugin.name, successor.generation, old.generation),
        )

    async def _leave(self, old: Instance) -> None:
        try:
            await old.end(self._settings.shutdown, "replaced", lambda _: None)
        finally:
            del self._leaving[old]
            self._changes.notify_all()
            self._wake.set()

    async def _drop_successor(self, successor: Instance) -> None:
        """A successor that failed, or that a stop has overtaken: the old one serves on."""
        verdict = self._why_end(successor)
        assert verdict is not None
        await successor.end(self._settings.shutdown, verdict.reason, lambda _: None)
        self._successor = None
        self._slot.release()
        if self._current is not None:
            self._keep_current(verdict.reason or "it was stopped")

    def _keep_current(self, reason: str) -> None:
        self._failure = reason
        self.plugin.explain(
            Substate.CONNECTED, f"a new process failed: {reason}; the old one serves on"
        )
        _log.error("plugin %s: %s", self.plugin.name, self.plugin.reason)
        self._changes.notify_all()

    # Ending.

    async def _end(self, instance: Instance, verdict: Verdict) -> None:
        """End the whole process tree, and come to rest."""
        self._retire_session()
        ran_for = instance.ran_for
        process = instance.process
        if process is None:
            await self._end_external(instance)
        else:
            if verdict.ended is not None and not process.is_alive:
                _log.log(
                    logging.INFO if verdict.ended is Ended.CLEANLY else logging.ERROR,
                    "plugin %s %s",
                    self.plugin.name,
                    process.exited.result(),
                )
            await instance.end(
                self._settings.shutdown, verdict.reason, partial(self._phase, verdict)
            )
            self._record_end(instance, verdict, ran_for)
        self._current = None
        self._slot.release()
        if self._order is _Order.STOP and verdict.ended is not None:
            verdict = stopped()
        self._settle(verdict, ran_for)
        self._adopt_successor()

    async def _end_external(self, instance: Instance) -> None:
        if instance.session is None:
            return
        instance.session.abort(PluginUnavailableError(self.plugin.name, "stopped by the operator"))
        while instance.session is not None:
            await self._watch()

    def _record_end(self, instance: Instance, verdict: Verdict, ran_for: float) -> None:
        """Keep what is worth knowing of a process that has ended."""
        plugin, process = self.plugin, instance.process
        assert process is not None, "nobody is left to be buried"
        lost = plugin.ended(process.exited.result(), tuple(process.log.last_stderr))
        if plugin.status is PluginStatus.STOPPING:
            _log.info("plugin %s has ended: %s", plugin.name, plugin.exit)
        if verdict.ended is None:
            return
        report = crash_report(instance, verdict, ran_for, lost)
        plugin.crashes.add(report, lost if verdict.ended is Ended.FAILED else ())

    def _phase(self, verdict: Verdict, substate: Substate) -> None:
        """Show where the ending stands, before each step of it."""
        if self.plugin.status is not PluginStatus.STOPPING:
            self._move(PluginStatus.STOPPING, substate, verdict.reason)
        self.plugin.explain(substate)
        if substate is Substate.KILLING:
            _log.warning(
                "plugin %s has not ended within %g s; killing it",
                *(self.plugin.name, self._settings.shutdown.stop_timeout),
            )

    def _settle(self, verdict: Verdict, ran_for: float) -> None:
        """Come to rest, and decide when the plugin is started again."""
        substate = verdict.substate
        if verdict.ended is not None and self._order is _Order.NONE and not self._closing:
            decision = self._restarts.ended(verdict.ended, ran_for, time.monotonic())
            self._restarts.plan(decision, time.monotonic())
            substate = self._plan(decision, verdict)
        self._move(verdict.status, substate, verdict.reason)

    def _plan(self, decision: Decision, verdict: Verdict) -> Substate:
        """Say what follows, and return the substate for it."""
        if decision.is_crash_loop:
            _log.error(
                "plugin %s is in a crash loop (%s); %s",
                *(self.plugin.name, verdict.reason, decision.in_words()),
            )
            self._on_given_up(self.plugin)
        if verdict.substate in SELF_EXPLANATORY:
            return verdict.substate
        if decision.is_crash_loop:
            return Substate.CRASH_LOOP
        return verdict.substate if decision.delay is None else Substate.BACKOFF

    def _adopt_successor(self) -> None:
        """A successor on its way is what there is now."""
        if self._successor is not None and self._order is not _Order.STOP:
            self._current, self._successor = self._successor, None
            self._restarts.cancel()
            self.plugin.started(self._current.process)
            self._move(PluginStatus.STARTING, Substate.SPAWNED)

    async def _rest_stopped(self) -> None:
        """The stop is done once nobody is left, also of those that were leaving anyway."""
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
        """Come to rest after a fault of ours; whatever still runs is killed."""
        self._order = _Order.STOP if self._closing else _Order.NONE
        self.kill_now()
        for instance in self.instances():
            instance.condemn(Verdict(PluginStatus.ERROR, Substate.NONE, reason))
        if self._current is None and self.plugin.status in _IN_BETWEEN:
            self._move(PluginStatus.ERROR, Substate.NONE, reason)
        self._changes.notify_all()

    # What the steps are made of.

    def _want(self, desired: Desired) -> None:
        self.plugin.want(desired)

    def _give(self, order: _Order) -> None:
        self._order = order
        self._wake.set()

    def _clear_history(self) -> None:
        """An operator's word clears the plugin's past."""
        self._restarts.forget()
        self._restarts.cancel()

    async def _with_slot(self, begin: Callable[[], None]) -> None:
        """Begin, once there is a slot for a plugin that starts; else wait for news."""
        if not self._launcher.is_prepared(self.plugin):
            await self._launcher.prepare(self.plugin)
            return  # an order may have come meanwhile; the next step looks at it
        if self._slot.try_acquire():
            begin()
            return
        if self._current is None:
            self.plugin.explain(Substate.WAITING)
        await self._wake.wait()
        self._wake.clear()
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
                self.plugin.name, "another program starts it; it may attach again now"
            )
        if self._closing:
            raise PluginStartError(self.plugin.name, "the host is stopping")

    def _check_running(self) -> None:
        plugin = self.plugin
        if plugin.status is not PluginStatus.RUNNING:
            raise PluginStartError(plugin.name, plugin.reason or "stopped before it was running")


def _shown(handshake: Handshake) -> tuple[str, int, str]:
    return handshake.version, handshake.priority, ", ".join(handshake.capabilities)
