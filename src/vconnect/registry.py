"""The plugins that this host knows, their names, and who gets which event in which order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from .errors import UnknownPluginError
from .manifest import Manifest
from .names import canonical_name, capability_matches
from .process import ExitStatus, PluginProcess
from .session import Session
from .status import PluginStatus, Substate, advance

Desired = Literal["running", "stopped"]

_MAX_ROUTES = 4096


class PluginSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sees of a plugin.

    Attributes:
        desired: What the operator asked for.
        reason: Why it is where it is, in words to act on; empty when all is well.
        pid: Its process, while there is one.
        last_heartbeat: When it was last seen alive; Unix time in seconds.
        uptime_s: Seconds since it became ``Running``.
        generation: How often it was started.
        path: Its directory; empty for one that another program started.
        dialect: What its session speaks; empty without one.
        exit_code: Of its last end, or ``None``.
        exit_signal: The signal that ended it last, or ``None``.
        last_stderr: The last lines of its standard error.
        in_flight: Events sent and not yet answered.
        events: Events sent to it since the host began.
        errors: … that it answered with an error, or never.
        timeouts: … that it did not answer in time.
    """

    name: str
    version: str
    status: PluginStatus
    substate: Substate
    desired: Desired
    reason: str
    pid: int | None
    priority: int
    capabilities: tuple[str, ...]
    last_heartbeat: float | None
    uptime_s: float | None
    generation: int
    description: str
    path: str
    dev: bool
    external: bool
    dialect: str
    exit_code: int | None
    exit_signal: str | None
    last_stderr: tuple[str, ...]
    in_flight: int
    events: int
    errors: int
    timeouts: int


class PluginRuntime:
    """One plugin at run time: its state, its process and its session.

    Its supervisor moves it, the dispatcher counts on it, everybody else reads its `summary`.

    Args:
        name: Canonical.
        path: Its directory, or ``None`` for a plugin that another program starts.
        manifest: Its manifest, where it has one.
        dev: Whether `path` is a source directory.
    """

    def __init__(
        self, name: str, path: Path | None, manifest: Manifest | None = None, *, dev: bool = False
    ) -> None:
        self.name = name
        self.path = path
        self.manifest = manifest
        self.dev = dev
        self.status = PluginStatus.INSTALLED
        self.substate = Substate.NONE
        self.reason = ""
        self.desired: Desired = "stopped"
        self.generation = 0
        self.process: PluginProcess | None = None
        self.session: Session | None = None
        self.exit: ExitStatus | None = None
        self.last_stderr: tuple[str, ...] = ()
        self.last_heartbeat: float | None = None
        self.running_since: float | None = None
        self.events = 0
        self.errors = 0
        self.timeouts = 0

    @property
    def is_external(self) -> bool:
        """Whether another program starts it."""
        return self.path is None

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
        log = self.process.log if self.process is not None else None
        return PluginSummary(
            name=self.name,
            version=said.version or (manifest.version if manifest else ""),
            status=self.status,
            substate=self.substate,
            desired=self.desired,
            reason=self.reason,
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
            exit_code=exit_status.code if exit_status else None,
            exit_signal=exit_status.signal if exit_status else None,
            last_stderr=tuple(log.last_stderr) if log else self.last_stderr,
            in_flight=self.session.in_flight if self.session else 0,
            events=self.events,
            errors=self.errors,
            timeouts=self.timeouts,
        )

    def _said(self) -> _Said:
        """What it says of itself: in its handshake while connected, else in its manifest."""
        if self.session is not None:
            shaken = self.session.handshake
            return _Said(shaken.version, shaken.priority, shaken.capabilities)
        if self.manifest is not None:
            return _Said(self.manifest.version, self.manifest.priority, self.manifest.capabilities)
        return _Said("", 0, ())

    def _pid(self) -> int | None:
        if self.process is not None:
            return self.process.pid if self.process.is_alive else None
        return self.session.peer.pid if self.session is not None else None


class _Said(msgspec.Struct, frozen=True):
    version: str
    priority: int
    capabilities: tuple[str, ...]


class RouteTable:
    """Who gets which event, in order; never changed, only replaced.

    A route is worked out when its event comes first; from then on it is one look-up.

    Args:
        connected: The plugins with a session.
    """

    def __init__(self, connected: Iterable[PluginRuntime] = ()) -> None:
        handshakes = [
            (runtime, runtime.session.handshake) for runtime in connected if runtime.session
        ]
        handshakes.sort(key=lambda pair: (-pair[1].priority, pair[0].name))
        self._plugins = [(runtime, shaken.capabilities) for runtime, shaken in handshakes]
        self._routes: dict[str, tuple[PluginRuntime, ...]] = {}

    def route(self, event: str) -> tuple[PluginRuntime, ...]:
        """Return the connected plugins that want ``event``, first in the chain first."""
        route = self._routes.get(event)
        if route is None:
            route = self._work_out(event)
            if len(self._routes) < _MAX_ROUTES:  # names come from callers: there is an end to it
                self._routes[event] = route
        return route

    def _work_out(self, event: str) -> tuple[PluginRuntime, ...]:
        return tuple(
            runtime
            for runtime, capabilities in self._plugins
            if any(capability_matches(capability, event) for capability in capabilities)
        )


class Registry:
    """The plugins by name and alias, and the routes between them and events."""

    def __init__(self) -> None:
        self.routes = RouteTable()
        self._runtimes: dict[str, PluginRuntime] = {}
        self._aliases: dict[str, PluginRuntime] = {}

    def __iter__(self) -> Iterator[PluginRuntime]:
        return iter(list(self._runtimes.values()))

    def __len__(self) -> int:
        return len(self._runtimes)

    def add(self, runtime: PluginRuntime) -> None:
        """Add a plugin, or put it in the place of the one that has its name."""
        self._runtimes[runtime.name] = runtime
        self._index_aliases()

    def find(self, name: str) -> PluginRuntime | None:
        """Return the plugin that ``name`` means, by any alias, with or without prefix."""
        plugin = canonical_name(name)
        # A canonical name may begin like a prefix: wk.plugin.v.plugin.x is v.plugin.x.
        return self._runtimes.get(plugin) or self._aliases.get(plugin) or self._runtimes.get(name)

    def get(self, name: str) -> PluginRuntime:
        """Return the plugin that ``name`` means.

        Raises:
            UnknownPluginError: There is none.
        """
        runtime = self.find(name)
        if runtime is None:
            known = ", ".join(sorted(self._runtimes)) or "none"
            raise UnknownPluginError(canonical_name(name), f"no such plugin (known: {known})")
        return runtime

    def reroute(self) -> None:
        """Build the routes anew, after a session came or went; chains in flight keep theirs."""
        self.routes = RouteTable(self._runtimes.values())

    def _index_aliases(self) -> None:
        """Map each alias to its plugin; one that two plugins claim means neither."""
        claims: dict[str, list[PluginRuntime]] = {}
        for runtime in self._runtimes.values():
            for alias in runtime.aliases():
                claims.setdefault(alias, []).append(runtime)
        self._aliases = {alias: found[0] for alias, found in claims.items() if len(found) == 1}
