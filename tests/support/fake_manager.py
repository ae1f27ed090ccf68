"""A manager in memory, and an administration server around it, for the edges' unit tests."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson

from vconnect.admin.servers.server import AdminServer
from vconnect.dispatch.results import Outcome, PluginResult
from vconnect.errors import UnknownPluginError, VConnectError
from vconnect.host.summary import HostSummary
from vconnect.logs.records import LogRecord, Stream
from vconnect.logs.ring import LogPage, LogRing
from vconnect.names import LogLevel, canonical_name
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing.feed import Feed
from vconnect.seeing.happenings import Happenings
from vconnect.seeing.overview import Overview
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.trace import Traces
from vconnect.seeing.why import Surroundings, Why, explain
from vconnect.settings.model import Settings
from vconnect.store.blobs import Blobs

_PLUGIN = PluginSummary(
    name="example",
    version="0.1.0",
    status=PluginStatus.RUNNING,
    substate=Substate.CONNECTED,
    desired="running",
    reason="",
    pid=4242,
    priority=1,
    capabilities=("message.incoming",),
    last_heartbeat=1_700_000_000.0,
    uptime_s=3725.0,
    generation=1,
    description="",
    path="/plugins/example",
    dev=False,
    external=False,
    dialect="classic",
    interface="",
    permissions=(),
    withheld=(),
    cpu_percent=None,
    rss_bytes=None,
    processes=None,
    threads=None,
    open_files=None,
    exit_code=None,
    exit_signal=None,
    last_stderr=(),
    in_flight=0,
    queued_bytes=0,
    events=7,
    errors=0,
    passed_over_total=0,
    timeouts=0,
    late=0,
    unasked=0,
    dropped=0,
    refused_changes=0,
    stalls=0,
    log_suppressed=0,
    breaker="closed",
    next_retry_at=None,
    crashes=(),
    quarantine=(),
    serving=True,
    state="running",
    shape="running",
)
_HOST = HostSummary(
    pid=99,
    guardian_pid=98,
    version="0.1.0",
    loop="asyncio",
    uptime_s=12.0,
    socket_path="/run/runtime.sock",
    admin_path="/run/admin.sock",
    plugin_dir="/plugins",
    cgroup=None,
    cgroup_problem="",
    plugins=1,
    queued_bytes=0,
    stalls=0,
    longest_stall_s=0.0,
)


def plugin_summary(name: str = "example", **fields: Any) -> PluginSummary:
    """A plugin that runs and is well, but for these fields."""
    return msgspec.structs.replace(_PLUGIN, name=name, **fields)


def answered(plugin: str, data: Any = None) -> PluginResult:
    """A good answer."""
    return PluginResult(plugin=plugin, ok=True, data=data, duration_ms=1.5)


def failed(plugin: str, error: str) -> PluginResult:
    """An answer that is an error, or none."""
    return PluginResult(plugin=plugin, ok=False, error=error, duration_ms=1.5)


class FakePackages:
    """Writes down what it is asked, and answers with what a test has put there.

    Attributes:
        asked: The method, the positional and the other arguments of each call.
        answer: What each method returns.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answer: Any = []

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        async def ask(*arguments: Any, **options: Any) -> Any:
            self.asked.append((method, arguments, options))
            return self.answer

        return ask


class FakeConfiguration(FakePackages):
    """Likewise for configurations; no plugin has a schema."""

    def schema(self, name: str) -> None:
        """Return nothing."""

    def get(self, name: str) -> Any:
        """Write the name down, and answer."""
        self.asked.append(("get", (name,), {}))
        return self.answer


class FakeManager:
    """Keeps plugins in a dict, writes every action down, and fails as it is told to.

    What watches and counts is real, around a registry that a test may fill.

    Attributes:
        ordered_by: Who gave each order.
        is_tracing: Whether somebody watches events.
    """

    def __init__(self, *plugins: PluginSummary, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.plugins = {plugin.name: plugin for plugin in plugins}
        self.lock = threading.RLock()  # a test may say something while the server's thread reads
        self.rings = {name: LogRing(1000) for name in self.plugins}
        self.states: dict[str, LogRing] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None
        self.results: list[PluginResult] | None = None
        self.stopped_by: str | None = None
        self.gate: asyncio.Event | None = None
        self.packages = FakePackages()
        self.configuration = FakeConfiguration()
        self.reloaded: Any = {}
        self.ordered_by: list[str] = []
        self.lacking: list[str] = []
        self.is_tracing = False
        self.blobs = Blobs(Path(self.settings.plugin_dir) / "blobs")
        self.registry = Registry()
        for name in self.plugins:
            self.registry.add(PluginRuntime(name, None))
        self.overview = Overview(self.registry, lambda: 0.1)
        self.traces = Traces(lambda: 0.1, lambda is_on: setattr(self, "is_tracing", is_on))
        self.happenings = Happenings()
        self.feed = Feed(self.registry, self.overview, self.traces)
        self.happenings.on_happening = self.feed.happened

    def is_confined(self, pid: int) -> bool:
        return False

    def runtime_summaries(self) -> list[PluginSummary]:
        return list(self.plugins.values())

    def summary(self, name: str) -> PluginSummary:
        plugin = canonical_name(name)
        if plugin not in self.plugins:
            hint = self.registry.hint(name)
            raise UnknownPluginError(plugin, "no such plugin" + (f"; {hint}" if hint else ""))
        return self.plugins[plugin]

    def why(self, name: str) -> Why:
        return explain(self.summary(name), Surroundings(self.plugins.get, {}))

    def plugin_logs(
        self,
        name: str,
        *,
        lines: int,
        level: LogLevel,
        after: int | None,
        states: bool,
        host: bool = False,
    ) -> LogPage:
        with self.lock:
            plugin = self.summary(name).name
            ring = self.states.setdefault(plugin, LogRing(10)) if states else self.rings[plugin]
            return ring.newest(lines, level) if after is None else ring.after(after, lines, level)

    def host_summary(self) -> HostSummary:
        return _HOST

    def loop_name(self) -> str:
        return "asyncio"

    def missing(self) -> list[str]:
        return self.lacking

    async def start_plugin(self, name: str, *, by: str = "") -> None:
        await self._act("start", name, by, PluginStatus.RUNNING)

    async def stop_plugin(self, name: str, *, by: str = "") -> bool:
        await self._act("stop", name, by, PluginStatus.STOPPED)
        self._change(name, desired="stopped")
        return True

    async def enable_plugin(self, name: str, *, by: str = "") -> None:
        await self._act("enable", name, by, PluginStatus.RUNNING)

    async def disable_plugin(self, name: str, *, by: str = "") -> None:
        await self._act("disable", name, by, PluginStatus.STOPPED)

    async def release_plugin(self, name: str, *, by: str = "") -> int:
        await self._act("release", name, by, self.summary(name).status)
        return 1

    async def restart_plugin(self, name: str, *, by: str = "") -> None:
        await self._act("restart", name, by, PluginStatus.RUNNING)
        self._change(name, generation=self.summary(name).generation + 1)

    async def kill_plugin(self, name: str, *, by: str = "") -> None:
        await self._act("kill", name, by, PluginStatus.ERROR)

    async def close_circuit(self, name: str, *, by: str = "") -> None:
        await self._act("close-circuit", name, by, self.summary(name).status)

    async def emit(self, event: str, payload: Any, *, timeout: float | None = None) -> Outcome:
        return self._send("chain", event, payload, timeout)

    async def broadcast(self, event: str, payload: Any, *, timeout: float | None = None) -> Outcome:
        return self._send("broadcast", event, payload, timeout)

    async def request_result(
        self, plugin: str, event: str, payload: Any, *, timeout: float | None = None
    ) -> PluginResult:
        name = self.summary(plugin).name
        self._send("request", event, payload, timeout)
        return answered(name, payload)

    def says(
        self,
        name: str,
        text: str,
        level: LogLevel = "info",
        stream: Stream = "stdout",
        **fields: Any,
    ) -> None:
        """Add to a plugin's log."""
        with self.lock:
            ring = self.states.setdefault(name, LogRing(10))
            ring = ring if stream == "state" else self.rings[name]
            encoded = orjson.dumps(fields)
            ring.append(LogRecord(ring.last + 1, 1e9, stream, level, text, encoded))

    async def _act(self, action: str, name: str, by: str, status: PluginStatus) -> None:
        summary = self.summary(name)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.calls.append((action, summary.name))
        self.ordered_by.append(by)
        self._change(name, status=status)

    def _change(self, name: str, **fields: Any) -> None:
        summary = self.summary(name)
        self.plugins[summary.name] = msgspec.structs.replace(summary, **fields)

    async def reload(self, *, dry_run: bool = False, by: str = "") -> Any:
        self.calls.append(("reload", dry_run, by))
        if self.failure is not None:
            raise self.failure
        return self.reloaded

    def _send(self, how: str, event: str, payload: Any, timeout: float | None) -> Outcome:
        if self.failure is not None:
            raise self.failure
        self.calls.append((how, event, payload, timeout))
        results = self.results
        if results is None:
            results = [answered(name, payload) for name in self.plugins]
        return Outcome(results, self.stopped_by, payload)


@contextmanager
def short_directory() -> Iterator[Path]:
    """A private directory whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@asynccontextmanager
async def served(manager: FakeManager) -> AsyncIterator[Path]:
    """Serve ``manager`` on a socket of its own, in the running loop."""
    with short_directory() as directory:
        server = AdminServer(manager, directory / "admin.sock")
        await server.start()
        try:
            yield directory / "admin.sock"
        finally:
            await server.stop()


@contextmanager
def served_beside(manager: FakeManager) -> Iterator[Path]:
    """Serve ``manager`` in a thread, for commands that run a loop of their own."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    done = asyncio.Event()
    where: list[Path] = []

    async def serve() -> None:
        async with served(manager) as path:
            where.append(path)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10), "the server did not start"
        yield where[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def failing(error: VConnectError | Exception) -> FakeManager:
    """A manager with one plugin, in which every action fails with ``error``."""
    manager = FakeManager(plugin_summary())
    manager.failure = error
    return manager
