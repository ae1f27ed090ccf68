"""Every setting, with its default: frozen structs that are validated once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from vconnect.names import LogLevel, canonical_name

from .events import EventPolicy, EventSettings, Seconds, resolve_policy
from .limits import Amount, ResourceLimits, Sandbox, TreeLimits
from .restarts import AfterCrashLoop, RestartMode, RestartPolicy

T = TypeVar("T")
P = TypeVar("P", bound=msgspec.Struct)
SecretName = Annotated[str, msgspec.Meta(pattern="^[A-Z][A-Z0-9_]*$")]
Count = Annotated[int, msgspec.Meta(ge=1)]
Window = Annotated[int, msgspec.Meta(ge=1, le=65536)]
FrameLimit = Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)]


class PluginOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[plugins.options.NAME]``: what holds for this plugin alone.

    Attributes:
        timeout: How long it may take for any event; the shorter of this and the event's counts.
        window: Its events in flight, in place of the host's `Settings.window`.
        breaker_failures: In place of `Settings.breaker_failures`.
        breaker_cooldown: In place of `Settings.breaker_cooldown`.
        withdraw: Permissions that its manifest asks for and it does not get.
        restart: In place of `Settings.restart`.
        after_crash_loop: In place of `Settings.after_crash_loop`.
        required: Whether its crash loop stops the host, with a non-zero exit code.
        exclusive: Whether it may not run twice, so that a restart stops it first.
        memory_limit_bytes: In place of `Settings.memory_limit_bytes`.
        limits: What the kernel holds each of its processes to.
        tree_limits: What the kernel holds all of its processes together to.
        secrets: Name to file; the plugin gets each content in a file of its own.
        sandbox: In place of `Settings.sandbox`.
        sandbox_network: In place of `Settings.sandbox_network`.
        sandbox_read: Added to `Settings.sandbox_read`.
    """

    timeout: Seconds | None = None
    window: Window | None = None
    breaker_failures: Annotated[int, msgspec.Meta(ge=0)] | None = None
    breaker_cooldown: Seconds | None = None
    withdraw: tuple[str, ...] = ()
    restart: RestartMode | None = None
    after_crash_loop: AfterCrashLoop | None = None
    required: bool = False
    exclusive: bool = False
    memory_limit_bytes: Amount | None = None
    limits: ResourceLimits = ResourceLimits()
    tree_limits: TreeLimits = TreeLimits()
    secrets: dict[SecretName, str] = {}
    sandbox: Sandbox | None = None
    sandbox_network: bool | None = None
    sandbox_read: tuple[str, ...] = ()


class PluginPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one plugin, after its options were laid over the host's settings."""

    timeout: float | None
    window: int
    breaker_failures: int
    breaker_cooldown: float
    withdraw: tuple[str, ...]
    restart: RestartPolicy
    required: bool
    exclusive: bool
    memory_limit_bytes: int
    limits: ResourceLimits
    tree_limits: TreeLimits
    secrets: dict[str, str]
    sandbox: Sandbox
    sandbox_network: bool
    sandbox_read: tuple[str, ...]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[plugins]``, with its defaults.

    Durations are seconds. The keys of the original server (the first seven) stand as they were.

    Attributes:
        dev_plugins: ``"name:path"`` each; the path is a source directory.
        install: Packages to install before anything starts: paths or URLs.
        plugin_dir: Where installed plugins live.
        socket_path: The plugins' socket; ``~`` is expanded.
        debug: Pass ``--debug`` to plugins, and log at debug level.
        log_level: Pass ``--log-level`` to plugins.
        config: Per plugin, delivered at its handshake over the manifest's defaults.
        options: Per plugin, what holds for it alone.
        events: Per event, family or wildcard; in the file a table of its own, ``[events]``.
        admin_path: The administration socket; by default ``admin.sock`` beside `socket_path`.
        uvloop: Run on uvloop; by default wherever it is installed.
        guardian: Whether ``vconnect serve`` has a parent that ends every plugin when the host is
            killed; ``auto`` is yes, except where systemd does that.
        state_dir: Where the host remembers what it runs and what the operator stopped; by default
            ``.vconnect/state`` in `plugin_dir`.
        allow_external: Let processes of the same user that this host did not start attach.
        allow_insecure_http: Accept ``http://`` from other hosts than the loopback.
        inherit_env: Names of variables that plugins inherit, added to the built-in allowlist.
        env: Variables that every plugin gets.
        handshake_timeout: From connection (or from the process's start) to a good handshake.
        dev_handshake_timeout: The same for plugins from source, which are compiled first.
        drain_timeout: How long a plugin that is to end may take for what is in flight.
        interrupt_timeout: How long it may take to end after SIGINT, before SIGTERM.
        stop_timeout: The grace period from the first signal to SIGKILL.
        restart: When a plugin that ended by itself is started again.
        restart_delay: The first back-off; it doubles with each failure.
        restart_max_delay: The longest one.
        restart_reset_after: A plugin that ran for so long has no past.
        crash_limit: So many ends within `crash_window` are a crash loop.
        crash_window: See there.
        after_crash_loop: ``hold`` tries again every `crash_hold`, ``give_up`` does not.
        crash_hold: See there.
        start_concurrency: Plugins that may be starting at the same time.
        watch: Restart dev plugins when their source changes.
        event_timeout: How long one plugin may take for one event.
        chain_timeout: How long all plugins of one chain together may take.
        window: Events in flight per connection.
        max_abandoned: Unanswered places of abandoned calls per connection; by default `window`.
        stuck_after: How long the oldest event may stay unanswered before the connection ends.
        max_queued: Events per plugin that wait for a place in the window.
        max_notified: How many of these may be notifications.
        breaker_failures: After so many failures in a row a plugin's circuit opens and its calls
            fail at once; 0 for never.
        breaker_cooldown: How long the circuit stays open before one call probes the plugin.
        max_calls: Calls per native plugin to the host that wait to be served.
        heartbeat: How often native plugins are pinged.
        heartbeat_misses: So many pings without a reply in a row, and the plugin is replaced.
        memory_limit_bytes: A plugin whose process tree is larger is replaced; 0 for no limit.
        cgroup: Whether each plugin has a cgroup of its own: ``auto`` where the kernel and whoever
            started this host allow it, ``on`` for an error where they do not.
        cgroup_dir: An empty cgroup to work in, in place of the host's own.
        sandbox: ``off``; ``nnp`` for no new privileges; ``bwrap`` for a sandbox of bubblewrap.
        sandbox_network: Whether plugins in a sandbox have the network.
        sandbox_read: Paths that plugins in a sandbox may read, besides the system.
        max_frame_bytes: The largest payload of a frame, in bytes, either way.
        max_package_bytes: The largest package, in bytes, packed and again unpacked.
        log_lines: Lines of each plugin's output that are kept in memory, at most 4 MiB of them.
        log_lines_per_second: Lines per plugin that are taken; the rest is counted.
        log_bytes_per_second: Likewise, in bytes.
        log_dir: Where files of plugins' output are written; none by default.
        log_file_bytes: After how many bytes a new file is begun.
        log_files: How many files each plugin has, the newest included.
    """

    dev_plugins: tuple[str, ...] = ()
    install: tuple[str, ...] = ()
    plugin_dir: str = "./plugins"
    socket_path: str = "~/vp/sockets/runtime.sock"
    debug: bool = False
    log_level: LogLevel | None = None
    config: dict[str, dict[str, Any]] = {}
    options: dict[str, PluginOptions] = {}
    events: dict[str, EventSettings] = {}

    admin_path: str | None = None
    uvloop: bool | None = None
    guardian: Literal["auto", "on", "off"] = "auto"
    state_dir: str | None = None
    allow_external: bool = False
    allow_insecure_http: bool = False
    inherit_env: tuple[str, ...] = ()
    env: dict[str, str] = {}
    handshake_timeout: Seconds = 10.0
    dev_handshake_timeout: Seconds = 300.0
    drain_timeout: Seconds = 2.0
    interrupt_timeout: Seconds = 1.0
    stop_timeout: Seconds = 5.0
    restart: RestartMode = "always"
    restart_delay: Seconds = 0.5
    restart_max_delay: Seconds = 30.0
    restart_reset_after: Seconds = 60.0
    crash_limit: Count = 5
    crash_window: Seconds = 60.0
    after_crash_loop: AfterCrashLoop = "hold"
    crash_hold: Seconds = 300.0
    start_concurrency: Count = 8
    watch: bool = True
    event_timeout: Seconds = 5.0
    chain_timeout: Seconds = 30.0
    window: Window = 64
    max_abandoned: Count | None = None
    stuck_after: Seconds = 30.0
    max_queued: Count = 4096
    max_notified: Count = 1024
    breaker_failures: Annotated[int, msgspec.Meta(ge=0)] = 10
    breaker_cooldown: Seconds = 5.0
    max_calls: Count = 256
    heartbeat: Seconds = 10.0
    heartbeat_misses: Count = 3
    memory_limit_bytes: Amount = 0
    cgroup: Literal["auto", "on", "off"] = "auto"
    cgroup_dir: str | None = None
    sandbox: Sandbox = "off"
    sandbox_network: bool = False
    sandbox_read: tuple[str, ...] = ()
    max_frame_bytes: FrameLimit = 16 * 1024 * 1024
    max_package_bytes: Annotated[int, msgspec.Meta(ge=1)] = 512 * 1024 * 1024
    log_lines: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    log_lines_per_second: Count = 1000
    log_bytes_per_second: Count = 1024 * 1024
    log_dir: str | None = None
    log_file_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 10 * 1024 * 1024
    log_files: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5

    @property
    def admin_socket(self) -> str:
        """The administration socket's path, as configured or beside `socket_path`."""
        if self.admin_path is not None:
            return self.admin_path
        return str(Path(self.socket_path).with_name("admin.sock"))

    @property
    def state_directory(self) -> Path:
        """Where the state file is, as configured or inside `plugin_dir`."""
        if self.state_dir is not None:
            return Path(self.state_dir)
        return Path(self.plugin_dir, ".vconnect", "state")

    @property
    def needed_controllers(self) -> list[str]:
        """The cgroup controllers that some plugin's ``tree_limits`` need."""
        options = self.options.values()
        return sorted({name for one in options for name in one.tree_limits.controllers().values()})

    def part(self, kind: type[P]) -> P:
        """Return the part of the settings that ``kind`` names, one of those in `parts`."""
        values = {
            field.name: (
                self.part(field.type) if _is_part(field.type) else getattr(self, field.name)
            )
            for field in msgspec.structs.fields(kind)
        }
        return kind(**values)

    def plugin_config(self, plugin: str) -> dict[str, Any]:
        """The operator's values for ``plugin`` (canonical), whichever way its table is named."""
        return _table_of(plugin, self.config, {})

    def plugin_policy(self, plugin: str) -> PluginPolicy:
        """What holds for ``plugin`` (canonical), whichever way its table of options is named."""
        own = _table_of(plugin, self.options, PluginOptions())
        merged = msgspec.structs.asdict(self)
        for key in PluginOptions.__struct_fields__:
            value = getattr(own, key)
            if value is not None or key not in merged:
                merged[key] = value
        merged["sandbox_read"] = self.sandbox_read + own.sandbox_read
        merged["restart"] = RestartPolicy(
            mode=merged["restart"],
            delay=self.restart_delay,
            max_delay=self.restart_max_delay,
            reset_after=self.restart_reset_after,
            crash_limit=self.crash_limit,
            crash_window=self.crash_window,
            after_crash_loop=merged["after_crash_loop"],
            hold=self.crash_hold,
        )
        return PluginPolicy(**{key: merged[key] for key in PluginPolicy.__struct_fields__})

    def event_policy(self, event: str) -> EventPolicy:
        """Work out what holds for ``event``: its tables of `events` over the defaults."""
        defaults = EventPolicy(timeout=self.event_timeout, chain_timeout=self.chain_timeout)
        return resolve_policy(event, self.events, defaults)


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _table_of(plugin: str, tables: Mapping[str, T], default: T) -> T:
    """Find a plugin's table by its canonical name."""
    for name, table in tables.items():
        if canonical_name(name) == plugin:
            return table
    return default
