"""Plugins, processes and sessions on paper: the real objects, with nobody behind them."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from tests.support.wire_kit import Owner, connected
from tests.support.wire_kit import Peer as WirePeer

from vconnect.dispatch.dispatcher import Dispatcher
from vconnect.dispatch.host_calls import HostCalls
from vconnect.environments.keeper import Keeper
from vconnect.errors import InstallError
from vconnect.logs.plugin_logs import PluginLogs
from vconnect.packages.manifest import Manifest
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.crashes import CrashReport
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.state_file import HostState
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.cgroup import Cgroup
from vconnect.processes.cgroup_tree import CgroupTree
from vconnect.processes.process import ExitStatus, LaunchSpec, PluginProcess, SpawnedChild
from vconnect.settings.live import LiveSettings
from vconnect.settings.model import Settings
from vconnect.settings.parts import (
    CgroupSettings,
    HeartbeatSettings,
    LaunchSettings,
    LogSettings,
    ShutdownSettings,
    StoreSettings,
    SupervisionSettings,
)
from vconnect.sockets.credentials import Peer
from vconnect.store.installer import PluginInstaller, environments_of
from vconnect.store.layout import InstalledVersion
from vconnect.store.listing import Located
from vconnect.store.releases import Releases
from vconnect.store.store import PluginStore
from vconnect.supervision.admission import Admissions
from vconnect.supervision.instance import Instance
from vconnect.supervision.launcher import Launcher
from vconnect.supervision.start_slots import StartSlots
from vconnect.supervision.supervisor import Supervisor
from vconnect.supervision.verdict import Verdict
from vconnect.watching.monitor import Monitor
from vconnect.watching.watchdog import WatchKeeper
from vconnect.wire._lane import Lane
from vconnect.wire._latency import Rows
from vconnect.wire._stream import ReadBuffer
from vconnect.wire.messages import Dialect, Handshake
from vconnect.wire.session import LaneLimits, LostEvent, Session

#: No kernel numbers its processes so high.
FIRST_PID = 5_000_000
ME = Peer(FIRST_PID - 1, os.geteuid())
LIMITS = LaneLimits(
    window=8,
    max_queued=16,
    max_notified=8,
    max_abandoned=8,
    stuck_after=30.0,
    max_frame_bytes=1 << 20,
)

_pids = itertools.count(FIRST_PID)


# --- plugins ---------------------------------------------------------------------------------


def plugin(name: str = "x", path: Path | None = Path("/p/x"), **options: Any) -> PluginRuntime:
    """Make a plugin; ``options`` for `PluginRuntime`, for its manifest and for the settings."""
    own = {key: options.pop(key) for key in ("dev", "log", "crash_dir") if key in options}
    said = {key: options.pop(key) for key in list(options) if key in Manifest.__struct_fields__}
    manifest = Manifest(name=name, **said) if said else None
    policy = Settings(**options).plugin_policy(name)
    return PluginRuntime(name, path, manifest, policy=policy, **own)


def moved(runtime: PluginRuntime, *statuses: PluginStatus) -> PluginRuntime:
    for status in statuses:
        runtime.move(status, Substate.NONE)
    return runtime


# --- processes -------------------------------------------------------------------------------


class PaperProcess(PluginProcess):
    """A process that ends when the test says so, or when it is asked to.

    Attributes:
        signals: What it was sent.
        relatives: Further PIDs that belong to it.
        left: Which processes cannot be killed, and why; empty if all can.
    """

    def __init__(self, cgroup: Cgroup | None = None) -> None:
        spec = LaunchSpec(
            plugin="x", argv=("/p/x/x",), directory=Path("/p/x"), environment={}, cgroup=cgroup
        )
        super().__init__(spec, SpawnedChild(next(_pids)))
        self.signals: list[signal.Signals] = []
        self.relatives: set[int] = set()
        self.left = ""

    def die(self, code: int | None = 0, number: str | None = None) -> None:
        self.exited.set_result(ExitStatus(code, number))

    def says(self, *lines: str) -> None:
        """Write to its standard error."""
        reading, writing = os.pipe()
        os.write(writing, "".join(f"{line}\n" for line in lines).encode())
        os.close(writing)
        self.log.add(reading, "stderr")
        self.log.drain()

    def owns(self, pid: int) -> bool:
        return pid == self.pid or pid in self.relatives

    def kill_now(self) -> None:
        self.signals.append(signal.SIGKILL)
        if self.is_alive:
            self.die(None, "SIGKILL")

    async def end(
        self, grace: float, on_phase: Callable[[signal.Signals], None], *, interrupt: float = 0.0
    ) -> str:
        if self.is_alive:
            on_phase(signal.SIGTERM)
            self.signals.append(signal.SIGTERM)
            self.die(None, "SIGTERM")
        return await super().end(grace, on_phase, interrupt=interrupt) or self.left


def instance(generation: int = 1, *, session: Session | None = None) -> Any:
    """An `Instance` with a `PaperProcess`; ``guest`` makes one without."""
    made = Instance(generation, PaperProcess())
    made.session = session
    return made


def guest(session: Session | None = None) -> Instance:
    """An instance that another program started."""
    made = Instance(0)
    made.session = session
    return made


# --- sessions --------------------------------------------------------------------------------


class Heard(Owner):
    """Whoever owns a session: hears of its calls and of its end."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []
        self.ready: list[Session] = []
        self.on_end: Callable[[Session, Exception | None], None] = lambda *_: None

    def detached(self, session: Session, error: Exception | None) -> None:
        self.disconnected(error)
        self.on_end(session, error)

    def called(self, session: Session, payload: bytes) -> bool:
        message = session.read_call(payload)
        assert message is not None
        self.calls.append(message)
        return True

    def held_loop(self, session: Session, seconds: float) -> None:
        raise AssertionError("nothing takes long here")

    def became_ready(self, session: Session) -> None:
        self.ready.append(session)


def shaken(name: str = "x", *, native: bool = False, **said: Any) -> Handshake:
    dialect = Dialect.NATIVE if native else Dialect.CLASSIC
    return Handshake(plugin=name, dialect=dialect, protocol_version=1 if native else None, **said)


def unopened(name: str = "x", *, native: bool = False, pid: int = ME.pid, **said: Any) -> Session:
    """A session without a connection: nothing can be sent, everything can be asked."""
    owner = Heard()
    lane = Lane(owner, ReadBuffer(), LIMITS.max_frame_bytes)
    peer = Peer(pid, ME.uid)
    return Session(shaken(name, native=native, **said), peer, lane, LIMITS, owner)


@asynccontextmanager
async def opened(
    name: str = "x", *, native: bool = False, rows: Rows | None = None, **said: Any
) -> AsyncIterator[tuple[Session, WirePeer, Heard]]:
    """A session over a pair of sockets, with the plugin's end in the test's hand."""
    owner = Heard()
    lane = Lane(owner, ReadBuffer(), LIMITS.max_frame_bytes)
    async with connected(lane, owner) as peer:
        handshake = shaken(name, native=native, **said)
        session = Session(handshake, ME, lane, LIMITS, owner, rows=rows)
        session.open(b"\0\0\0\2{}")
        assert await peer.read() == {}
        yield session, peer, owner


# --- ends -----------------------------------------------------------------------------------


def report(number: int = 1, **fields: Any) -> CrashReport:
    """A crash report; ``number`` is its generation."""
    known: dict[str, Any] = {
        "at": 1_700_000_000.5,
        "generation": number,
        "ran_for_s": 0.25,
        "reason": "killed by SIGSEGV",
        "exit_code": None,
        "exit_signal": "SIGSEGV",
        "last_stderr": ("one", "tw\u2028o"),
        "in_flight": ("e",),
        "max_rss_bytes": None,
        "cpu_s": 1.5,
    }
    return CrashReport(**(known | fields))


def lost(*payloads: object, event: str = "e") -> list[LostEvent]:
    """Events that were in flight when a session ended."""
    return [LostEvent(event, payload, f"{event}{payload}".encode()) for payload in payloads]


# --- who watches over them -------------------------------------------------------------------


class PaperLauncher:
    """Starts plugins on paper.

    Attributes:
        started: The instances, oldest first.
        adopted: The instances whose versions the plugin was shown as, in this order.
        troubles: What the next starts come to instead, in this order.
        preparation: Set when a start has been prepared; ``None`` where there is nothing to prepare.
    """

    def __init__(self, handshake_timeout: float = 60.0) -> None:
        self.started: list[Instance] = []
        self.adopted: list[Instance] = []
        self.troubles: list[Verdict] = []
        self.preparation: asyncio.Event | None = None
        self._handshake_timeout = handshake_timeout

    def is_prepared(self, runtime: PluginRuntime) -> bool:
        return self.preparation is None or self.preparation.is_set()

    async def prepare(self, runtime: PluginRuntime) -> None:
        assert self.preparation is not None
        await self.preparation.wait()

    def begin(
        self,
        runtime: PluginRuntime,
        wake: asyncio.Event,
        located: Located | None = None,
        trial: InstalledVersion | None = None,
    ) -> Instance | Verdict:
        if self.troubles:
            return self.troubles.pop(0)
        made = Instance(runtime.generation, PaperProcess(), trial=trial)
        made.process.exited.add_done_callback(lambda _: wake.set())
        made.expect(self._handshake_timeout)
        self.started.append(made)
        return made

    def look(self, runtime: PluginRuntime) -> Located | None:
        """Find nothing: the tests say what is installed."""

    def adopt(self, runtime: PluginRuntime, instance: Instance) -> None:
        self.adopted.append(instance)

    @property
    def last(self) -> PaperProcess:
        """The process that was started last."""
        process = self.started[-1].process
        assert isinstance(process, PaperProcess)
        return process


def version(number: str = "2", name: str = "x") -> InstalledVersion:
    """A version of a plugin in a store that nobody has."""
    return InstalledVersion(name, number, f"{number:0>16}", Path(f"/p/{name}/versions/{number}"))


class PaperReleases:
    """Records what becomes of versions.

    Attributes:
        told: What was told, oldest first: ``current 2``, ``failed 2``, ``collect``.
        problem: Why no version can be made current; empty if it can.
        gate: Set while the disk answers.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self.problem = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def make_current(self, _: str, version: InstalledVersion) -> None:
        await self.gate.wait()
        if self.problem:
            raise InstallError(self.problem)
        self.told.append(f"current {version.version}")

    async def failed(self, _: str, version: InstalledVersion, reason: str) -> None:
        self.told.append(f"failed {version.version}: {reason}")
        if self.problem:
            raise InstallError(self.problem)

    async def collect(self, _: str) -> None:
        self.told.append("collect")


def admissions(runtime: PluginRuntime, **options: Any) -> Admissions:
    return Admissions(runtime, Settings(**options).part(SupervisionSettings))


def monitor(**options: Any) -> Monitor:
    return Monitor(Settings(**options).part(HeartbeatSettings))


def watch_keeper(on_hang: Callable[[str], None], **options: Any) -> WatchKeeper:
    return WatchKeeper(Settings(**options).part(HeartbeatSettings), lambda: None, on_hang)


def supervisor(
    runtime: PluginRuntime,
    launcher: Any = None,
    *,
    slots: StartSlots | None = None,
    on_given_up: Callable[[PluginRuntime], None] = lambda _: None,
    releases: PaperReleases | None = None,
    **options: Any,
) -> Supervisor:
    """A supervisor of a plugin on paper; `Supervisor.close` ends it."""
    return Supervisor(
        runtime,
        Settings(**options).part(SupervisionSettings),
        cast("Launcher", launcher or PaperLauncher()),
        slots or StartSlots(8),
        on_given_up,
        cast("Releases", releases or PaperReleases()),
    )


async def ended(made: Instance, on_phase: Callable[[Substate], None], **options: Any) -> None:
    """End an instance, and wait for it."""
    await made.end(Settings(**options).part(ShutdownSettings), "why", on_phase)


def launcher(
    registry: Registry, directory: Path, socket_path: str = "/run/host.sock", **options: Any
) -> Launcher:
    """The launcher of a host whose plugins are in ``directory``; it has no cgroups."""
    given = {"plugin_dir": str(directory), "socket_path": socket_path, "cgroup": "off"} | options
    settings = Settings(**given)
    state = HostState(directory / "state", Path(socket_path))
    cgroups = CgroupTree(settings.part(CgroupSettings), socket_path)
    releases = Releases(PluginStore(directory), settings.part(StoreSettings))
    keeper = Keeper(lambda: environments_of(settings), settings.python_of, settings.state_directory)
    return Launcher(settings.part(LaunchSettings), registry, state, cgroups, releases, keeper)


# --- what a host is made of ------------------------------------------------------------------


def catalog(registry: Registry, directory: Path, **options: Any) -> Catalog:
    """The catalog of a host whose plugins are installed in ``directory``."""
    settings = Settings(plugin_dir=str(directory), **options)
    return Catalog(
        registry,
        PluginInstaller(directory),
        LiveSettings(settings),
        PluginLogs(settings.part(LogSettings)),
        HostState(settings.state_directory, Path("/run/host.sock")),
    )


def host_calls(registry: Registry, **options: Any) -> HostCalls:
    settings = Settings(**options)
    dispatcher = Dispatcher(registry, settings.max_frame_bytes)
    return HostCalls(dispatcher, settings.max_calls)
