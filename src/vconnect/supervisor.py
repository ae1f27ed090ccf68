"""One plugin's life: an actor that takes orders, and brings the plugin to where they say.

Orders (start, stop, restart) and news (a session came or went, the process ended, the time is up)
arrive at any moment and only leave a note; the actor's one task acts on the notes, one step after
the other. So no lock is needed, the last order wins, orders of one kind are carried out once, and
there is never more than one process of a plugin.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import msgspec

from .config import Settings
from .errors import (
    HandshakeError,
    ManifestError,
    PluginStartError,
    PluginUnavailableError,
    RemoteProtocolError,
)
from .manifest import MANIFEST_NAME, read_manifest
from .package.launch import dev_command, host_arguments, production_command
from .plugin import Desired, PluginRuntime
from .process import ExitStatus, LaunchSpec, PluginProcess, plugin_environment
from .protocol import Handshake, NativeTerms, acknowledgment
from .registry import Registry
from .server import Admission
from .session import LaneLimits, Peer, Session
from .state import HostState
from .status import PluginStatus, Substate
from .version import host_version

HOST_PID_VARIABLE = "VCONNECT_HOST_PID"
NAME_VARIABLE = "VCONNECT_PLUGIN_NAME"

_log = logging.getLogger(__name__)

# A fault that repeats itself must not keep the loop busy. Seconds.
_FAULT_PAUSE = 1.0
_IN_BETWEEN = (PluginStatus.STARTING, PluginStatus.STOPPING)
_SUBSTATE_OF_REFUSAL = {
    "handshake_timeout": Substate.HANDSHAKE_TIMEOUT,
    "disabled": Substate.DISABLED,
}


class _Order(Enum):
    """What the actor was told to do and has not done yet."""

    NONE = auto()
    START = auto()
    STOP = auto()
    RESTART = auto()


class _Rest(msgspec.Struct, frozen=True):
    """Where the plugin comes to rest once its last process has ended."""

    status: PluginStatus
    substate: Substate
    reason: str = ""


class Supervisor:
    """Starts, watches and ends one plugin.

    Create it in a running event loop; `close` ends it. The public methods may be called at any
    time and in any number. Cancelling one of them only stops the waiting: the order stands.

    Args:
        runtime: The plugin's state, which only this object changes.
        registry: Where routes are built anew when a session comes or goes.
        settings: Timeouts, environment, debug mode.
        socket_path: The plugins' socket, absolute.
        state: Where each process is noted, in case this host is killed.
    """

    def __init__(
        self,
        runtime: PluginRuntime,
        registry: Registry,
        settings: Settings,
        socket_path: str,
        state: HostState,
    ) -> None:
        self.runtime = runtime
        self._registry = registry
        self._settings = settings
        self._socket_path = socket_path
        self._state = state
        self._order = _Order.NONE
        self._verdict: _Rest | None = None  # why the process that runs now must end
        self._handshake_timeout = 0.0
        self._handshake_until = 0.0  # monotonic
        self._connection: Session | None = None  # also while it gets no events any more
        self._closing = False
        self._wake = asyncio.Event()
        self._change = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(), name=f"supervisor of {runtime.name}")

    # Orders.

    async def start(self) -> None:
        """Start the plugin and wait for its handshake; nothing to do if it is running.

        Raises:
            PluginStartError: It did not start, did not shake hands, or was stopped meanwhile.
        """
        self._want("running")
        self._check_startable()
        if not self._is_up or self.runtime.status is PluginStatus.STOPPING:
            self._give(_Order.START)
        elif self._order is _Order.STOP:
            self._give(_Order.NONE)
        await self._until_running()

    async def stop(self) -> None:
        """Stop the plugin, and return when nothing of its process tree is left."""
        self._want("stopped")
        self._give(_Order.STOP)
        await self._until(self._is_past_stopping)

    async def restart(self) -> None:
        """Stop the plugin if it runs, start it, and wait for its handshake.

        Raises:
            PluginStartError: As `start`.
        """
        if self.runtime.is_external:
            raise PluginStartError(self.runtime.name, "another program starts it; restart it there")
        self._want("running")
        self._check_startable()
        self._give(_Order.RESTART)
        await self._until_running()

    async def close(self) -> None:
        """Stop the plugin and end the actor; what the operator asked for stays as it is."""
        self._closing = True
        self._give(_Order.STOP)
        await self._task

    def kill_now(self) -> None:
        """Send SIGKILL to every process of the plugin, without waiting."""
        if self.runtime.process is not None:
            self.runtime.process.kill_now()

    # News from the socket.

    def owns(self, pid: int) -> bool:
        """Tell whether a process belongs to what this supervisor started."""
        return self.runtime.process is not None and self.runtime.process.owns(pid)

    def admit(self, handshake: Handshake, peer: Peer) -> Admission:
        """Decide about a handshake under this plugin's name (``docs/wire.md``, "Who may connect").

        Raises:
            HandshakeError: ``stranger``, ``name_taken``, ``disabled`` or ``stopping``.
        """
        name = self.runtime.name
        if self.runtime.process is not None:
            self._check_kinship(self.runtime.process, peer)
        else:
            self._check_external(peer)
        if self._connection is not None:
            raise HandshakeError("name_taken", f"{name} is connected already")
        if self.runtime.status is PluginStatus.STOPPING or self._closing:
            raise HandshakeError("stopping", f"{name} is being stopped")
        if handshake.disable:
            raise HandshakeError("disabled", handshake.disable)
        terms = None
        if handshake.protocol_version is not None:
            terms = self._terms(handshake.protocol_version)
        return Admission(acknowledgment(self._config(), terms), self._limits())

    def attached(self, session: Session) -> None:
        """Hear that the plugin has shaken hands."""
        external = self.runtime.process is None
        self._connection = session
        self.runtime.session = session
        self.runtime.handshake = shaken = session.handshake
        self.runtime.breaker.succeeded()
        self._move(PluginStatus.RUNNING, Substate.EXTERNAL if external else Substate.CONNECTED)
        self.runtime.last_heartbeat = time.time()
        self._registry.reroute()
        self._wake.set()
        _log.info(
            "plugin handshake: %s v%s (priority %d, capabilities [%s])",
            self.runtime.name,
            shaken.version,
            shaken.priority,
            ", ".join(shaken.capabilities),
        )

    def detached(self, session: Session, error: Exception | None) -> None:
        """Hear that a session has ended."""
        if session is not self._connection:
            return  # of an earlier process
        self._connection = None
        self._retire_session()
        reason = _why_disconnected(error)
        level = logging.WARNING if isinstance(error, RemoteProtocolError) else logging.INFO
        _log.log(level, "plugin %s: %s", self.runtime.name, reason)
        if self.runtime.status is PluginStatus.RUNNING:
            if self.runtime.process is None:
                self._move(PluginStatus.STOPPED, Substate.DISCONNECTED, reason)
            else:
                self._expect_handshake(self._settings.handshake_timeout)
                self._move(PluginStatus.STARTING, Substate.DISCONNECTED, reason)
        self._wake.set()

    def refused(self, error: HandshakeError) -> None:
        """Hear that a process of this plugin was refused: waiting for another try is no use."""
        if self.runtime.status is not PluginStatus.STARTING:
            return
        substate = _SUBSTATE_OF_REFUSAL.get(error.code, Substate.HANDSHAKE_REFUSED)
        if substate is Substate.DISABLED:
            self._verdict = _Rest(PluginStatus.STOPPED, substate, str(error))
        else:
            self._verdict = _Rest(PluginStatus.ERROR, substate, self._with_last_words(str(error)))
        self._wake.set()

    # The actor.

    async def _live(self) -> None:
        while not (self._closing and not self._is_up):
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - a fault of ours must not take the others down
                _log.exception("plugin %s: a fault of the host", self.runtime.name)
                self._give_up(f"a fault of the host: {error!r}; its log holds the traceback")
                await asyncio.sleep(_FAULT_PAUSE)
        self._order = _Order.NONE
        self._notify()

    async def _step(self) -> None:
        """Do the one thing that is due now, or wait for news."""
        process, order = self.runtime.process, self._order
        if process is not None and not process.is_alive:
            await self._after_exit(process)
        elif process is not None and self._must_end():
            await self._end(process, self._verdict or self._stopped())
        elif self._connection is not None and order in (_Order.STOP, _Order.RESTART):
            await self._end_external(self._connection)
        elif order is _Order.STOP:
            self._rest_stopped()
        elif order is not _Order.NONE:
            self._spawn()
        else:
            await self._watch()

    def _must_end(self) -> bool:
        return self._verdict is not None or self._order in (_Order.STOP, _Order.RESTART)

    async def _watch(self) -> None:
        """Wait for news; without a session not longer than a handshake may take."""
        timeout = None
        if self.runtime.process is not None and self._connection is None:
            timeout = self._handshake_until - time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            if self._connection is None:  # it may have come at the very last moment
                self._verdict = self._handshake_overdue()
        self._wake.clear()

    def _spawn(self) -> None:
        """Start a new generation."""
        runtime = self.runtime
        self._order = _Order.NONE
        self._verdict = None
        runtime.generation += 1
        runtime.exit, runtime.last_stderr = None, ()
        self._move(PluginStatus.STARTING, Substate.SPAWNED)
        try:
            self._read_manifest()
            runtime.process = PluginProcess.spawn(self._launch_spec())
        except ManifestError as error:
            self._fail_start(Substate.BAD_MANIFEST, str(error))
            return
        except PluginStartError as error:
            self._fail_start(Substate.SPAWN_FAILED, error.message)
            return
        self._state.started(runtime.name, runtime.process.pid, runtime.generation)
        runtime.process.exited.add_done_callback(lambda _: self._wake.set())
        timeout = self._settings.handshake_timeout
        self._expect_handshake(self._settings.dev_handshake_timeout if runtime.dev else timeout)
        self._notify()

    async def _after_exit(self, process: PluginProcess) -> None:
        """The leader has ended: end what it left behind, and come to rest."""
        exit_status = process.exited.result()
        asked = self._must_end()
        _log.log(
            logging.INFO if asked or exit_status.is_clean else logging.ERROR,
            "plugin %s %s",
            self.runtime.name,
            exit_status,
        )
        rest = self._verdict or (self._stopped() if asked else self._ended_by_itself(exit_status))
        await self._end(process, rest)

    async def _end(self, process: PluginProcess, rest: _Rest) -> None:
        """End the whole process tree, and come to rest."""
        self._retire_session()
        await process.end(self._settings.stop_timeout, lambda number: self._phase(number, rest))
        self.runtime.exit = process.exited.result()
        self.runtime.last_stderr = tuple(process.log.last_stderr)
        self.runtime.process = None
        self._state.ended(self.runtime.name)
        self._verdict = None
        if self._connection is not None:  # held open by somebody who left the process group
            self._connection.abort()
            self._connection = None
        if self.runtime.status is PluginStatus.STOPPING:
            _log.info("plugin %s has ended: %s", self.runtime.name, self.runtime.exit)
        self._move(rest.status, rest.substate, rest.reason)

    async def _end_external(self, session: Session) -> None:
        self._retire_session()
        session.abort(PluginUnavailableError(self.runtime.name, "stopped by the operator"))
        while self._connection is not None:
            await self._watch()

    def _rest_stopped(self) -> None:
        if self.runtime.status is PluginStatus.ERROR:
            self._move(PluginStatus.STOPPED, Substate.NONE)
        self._order = _Order.NONE
        self._notify()

    def _phase(self, number: signal.Signals, rest: _Rest) -> None:
        """Show where the ending stands, before each signal."""
        if self.runtime.status is not PluginStatus.STOPPING:
            self._move(PluginStatus.STOPPING, Substate.TERMINATING, rest.reason)
        if number is signal.SIGKILL:
            self.runtime.substate = Substate.KILLING
            _log.warning(
                "plugin %s has not ended %g s after SIGTERM; killing it",
                self.runtime.name,
                self._settings.stop_timeout,
            )

    def _give_up(self, reason: str) -> None:
        """Come to rest after a fault of ours; whatever still runs is killed."""
        self._order = _Order.STOP if self._closing else _Order.NONE
        self._verdict = _Rest(PluginStatus.ERROR, Substate.NONE, reason)
        self.kill_now()
        if self.runtime.process is None and self.runtime.status in _IN_BETWEEN:
            self._move(PluginStatus.ERROR, Substate.NONE, reason)
        self._notify()

    # What the steps are made of.

    @property
    def _is_up(self) -> bool:
        return self.runtime.process is not None or self._connection is not None

    def _want(self, desired: Desired) -> None:
        self.runtime.desired = desired
        self._registry.reroute()

    def _give(self, order: _Order) -> None:
        self._order = order
        self._wake.set()

    def _move(self, status: PluginStatus, substate: Substate, reason: str = "") -> None:
        self.runtime.move(status, substate, reason)
        self._notify()

    def _notify(self) -> None:
        """Wake those who wait for an order's end."""
        change, self._change = self._change, asyncio.get_running_loop().create_future()
        change.set_result(None)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.shield(self._change)

    async def _until_running(self) -> None:
        await self._until(self._has_settled)
        runtime = self.runtime
        if runtime.status is not PluginStatus.RUNNING:
            raise PluginStartError(runtime.name, runtime.reason or "stopped before it was running")

    def _has_settled(self) -> bool:
        return self._order is _Order.NONE and self.runtime.status not in _IN_BETWEEN

    def _is_past_stopping(self) -> bool:
        return self._order is not _Order.STOP and self.runtime.status is not PluginStatus.STOPPING

    def _check_startable(self) -> None:
        if self.runtime.is_external and self._connection is None:
            raise PluginStartError(
                self.runtime.name, "another program starts it; it may attach again now"
            )
        if self._closing:
            raise PluginStartError(self.runtime.name, "the host is stopping")

    def _retire_session(self) -> None:
        """Send it no more events."""
        if self.runtime.session is not None:
            self.runtime.session = None
            self._registry.reroute()

    def _expect_handshake(self, timeout: float) -> None:
        self._handshake_timeout = timeout
        self._handshake_until = time.monotonic() + timeout

    def _handshake_overdue(self) -> _Rest:
        reason = self._with_last_words(f"no handshake within {self._handshake_timeout:g} s")
        return _Rest(PluginStatus.ERROR, Substate.HANDSHAKE_TIMEOUT, reason)

    def _fail_start(self, substate: Substate, reason: str) -> None:
        self._move(PluginStatus.ERROR, substate, reason)
        _log.error("plugin %s cannot be started: %s", self.runtime.name, reason)

    def _stopped(self) -> _Rest:
        return _Rest(PluginStatus.STOPPED, Substate.EXITED)

    def _ended_by_itself(self, exit_status: ExitStatus) -> _Rest:
        if exit_status.is_clean:
            return _Rest(PluginStatus.STOPPED, Substate.EXITED, str(exit_status))
        if exit_status.signal:  # what it wrote last has nothing to do with it
            return _Rest(PluginStatus.ERROR, Substate.KILLED, str(exit_status))
        reason = self._with_last_words(str(exit_status))
        return _Rest(PluginStatus.ERROR, Substate.EXITED, reason)

    def _with_last_words(self, reason: str) -> str:
        """Add the last line that the plugin wrote to stderr: most often it says why."""
        process = self.runtime.process
        lines = [line for line in process.log.last_stderr if line.strip()] if process else []
        return f"{reason}; last stderr: {lines[-1].strip()}" if lines else reason

    def _check_kinship(self, process: PluginProcess, peer: Peer) -> None:
        if not process.owns(peer.pid):
            raise HandshakeError(
                "stranger",
                f"PID {peer.pid} is not of the process group that this host started as "
                f"{self.runtime.name} (PID {process.pid})",
            )

    def _check_external(self, peer: Peer) -> None:
        name = self.runtime.name
        check_external(name, peer, self._settings)
        if self.runtime.is_external and self.runtime.desired == "stopped":
            raise HandshakeError(
                "stopping", f"the operator has stopped it; let it in with: vconnect start {name}"
            )

    def _terms(self, version: int) -> NativeTerms:
        return NativeTerms(
            protocol_version=version,
            host={"name": "vconnect", "version": host_version()},
            max_frame_bytes=self._settings.max_frame_bytes,
            heartbeat_ms=int(self._settings.heartbeat * 1000),
            window=self.runtime.limits.window,
        )

    def _limits(self) -> LaneLimits:
        settings, window = self._settings, self.runtime.limits.window
        return LaneLimits(
            window=window,
            max_queued=settings.max_queued,
            max_notified=settings.max_notified,
            max_abandoned=settings.max_abandoned or window,
            stuck_after=settings.stuck_after,
            max_frame_bytes=settings.max_frame_bytes,
        )

    def _config(self) -> dict[str, Any]:
        manifest = self.runtime.manifest
        defaults = manifest.config if manifest is not None else {}
        values = self.runtime.config
        if values is None:
            values = self._settings.plugin_config(self.runtime.name)
        return merge_config(defaults, values)

    def _read_manifest(self) -> None:
        """Read it anew: the package may have been replaced, or the author has edited it."""
        assert self.runtime.path is not None, "an external plugin is never spawned"
        file = self.runtime.path / MANIFEST_NAME
        self.runtime.manifest = read_manifest(file) if os.path.lexists(file) else None
        self._registry.reindex()
        self._registry.check_order(self.runtime)

    def _launch_spec(self) -> LaunchSpec:
        runtime, settings = self.runtime, self._settings
        assert runtime.path is not None, "an external plugin is never spawned"
        if runtime.dev:
            command = dev_command(runtime.name, runtime.path)
            _log.info("starting dev plugin %s with %s", runtime.name, _shown(command))
        else:
            command = production_command(runtime.name, runtime.path, runtime.manifest)
        arguments = host_arguments(self._socket_path, settings.debug, settings.log_level)
        own = {HOST_PID_VARIABLE: str(os.getpid()), NAME_VARIABLE: runtime.name}
        return LaunchSpec(
            plugin=runtime.name,
            argv=(*command, *arguments),
            directory=runtime.path.absolute(),
            environment=plugin_environment(
                os.environ, settings.env | own, inherit=settings.inherit_env, dev=runtime.dev
            ),
        )


def merge_config(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Lay ``values`` over ``defaults``: tables key by key, everything else as a whole.

    >>> merge_config({"a": {"x": 1, "y": 2}, "b": [1, 2]}, {"a": {"x": 3}, "b": [4]})
    {'a': {'x': 3, 'y': 2}, 'b': [4]}
    """
    merged = dict(defaults)
    for key, value in values.items():
        default = merged.get(key)
        if isinstance(default, dict) and isinstance(value, dict):
            value = merge_config(default, value)
        merged[key] = value
    return merged


def check_external(name: str, peer: Peer, settings: Settings) -> None:
    """Refuse a plugin that this host has not started, unless the settings let it in.

    Raises:
        HandshakeError: ``stranger``: they do not, or it is another user's.
    """
    if not settings.allow_external:
        raise HandshakeError(
            "stranger", f"this host has not started {name}; allow_external would let it in"
        )
    if peer.uid != os.geteuid():
        raise HandshakeError(
            "stranger", f"user {peer.uid} is not this host's, which is {os.geteuid()}"
        )


def _why_disconnected(error: Exception | None) -> str:
    return "it closed its connection" if error is None else f"its connection ended: {error}"


def _shown(command: list[str]) -> str:
    """Name the tool, as ``cargo run``; all of its arguments would only hide it."""
    return " ".join(command[:2])
