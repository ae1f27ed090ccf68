"""Every setting with its default, as frozen structs that are validated once."""

# The idea: one flat table for everything that can be configured, with a default for each key, so
# that a host runs without any configuration. Structs are frozen: what was validated once is never
# checked again, and no part of the host can change it for another.

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from vconnect.names import LogLevel, canonical_name

from .events import (
    EventPolicy,
    EventSettings,
    PluginEventOptions,
    Seconds,
    resolve_policy,
)
from .limits import Amount, ResourceLimits, Sandbox, TreeLimits
from .restarts import AfterCrashLoop, RestartMode, RestartPolicy

Consent = Literal["ask", "allow"]
OnRevoked = Literal["serve", "hold"]
OnDisconnect = Literal["wait", "replace"]

MIB = 1024 * 1024

T = TypeVar("T")
P = TypeVar("P", bound=msgspec.Struct)
# Becomes a part of a variable's name.
SecretName = Annotated[str, msgspec.Meta(pattern="^[A-Z][A-Z0-9_]*$")]
SECRET_NAME_RULE = "characters A-Z 0-9 _, beginning with a letter, such as API_TOKEN"  # noqa: S105
Count = Annotated[int, msgspec.Meta(ge=1)]
# Each slot takes memory for as long as the connection lasts.
Window = Annotated[int, msgspec.Meta(ge=1, le=65536)]
# At least what a handshake needs; at most what still fits the 32-bit length of a frame.
FrameLimit = Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)]
# Enough that no two hosts of a machine have the same.
_HOST_CHARS = 16


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[plugins.sources."BEGINNING"]``: settings for packages from there.

    Attributes:
        require_signature: Overrides `Settings.require_signature`.
        keys: The numbers of the only keys whose signatures count; empty for all that are trusted.
        index: Whether there is an index, in which the host finds plugins by their names: the file
            itself if it ends in ``.json``, else ``index.json`` in that directory.
    """

    require_signature: bool | None = None
    keys: tuple[str, ...] = ()
    index: bool = False

    @property
    def is_about_signatures(self) -> bool:
        """Whether it says which signatures count."""
        return self.require_signature is not None or bool(self.keys)


class PluginOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[plugins.options.NAME]``: settings for one plugin.

    Attributes:
        timeout: Seconds that it may take for any event; the shorter of this and the event's timeout
            applies.
        window: Overrides `Settings.window` for its connection.
        max_answer_bytes: Overrides `Settings.max_answer_bytes`.
        max_queued_bytes: Overrides `Settings.max_queued_bytes`.
        breaker_failures: Overrides `Settings.breaker_failures`.
        breaker_cooldown: Overrides `Settings.breaker_cooldown`.
        python: The interpreter for its environment, by its path or its name on the PATH; by
            default the host's own, or `Settings.python` if that does not fit.
        withdraw: Permissions that it does not get although its manifest asks for them.
        restart: Overrides `Settings.restart`.
        after_crash_loop: Overrides `Settings.after_crash_loop`.
        on_disconnect: What happens when a classic plugin closes its connection and its process
            lives: ``wait`` for it to connect again, or ``replace`` it with a new process.
        required: Whether its crash loop stops the host, with a non-zero exit code.
        exclusive: Whether two processes of it must not run at once, so that a restart stops it
            first.
        memory_limit_bytes: Overrides `Settings.memory_limit_bytes`.
        limits: The kernel's limits for each of its processes.
        tree_limits: The kernel's limits for all of its processes together.
        secrets: Names and files; the plugin gets the contents of each as a private file.
        sandbox: Overrides `Settings.sandbox`.
        sandbox_network: Overrides `Settings.sandbox_network`.
        sandbox_seccomp: Overrides `Settings.sandbox_seccomp`.
        sandbox_read: Paths in addition to `Settings.sandbox_read`.
        watch_ignore: Files of a plugin from source that do not restart it when they change, as
            lines of ``.gitignore``.
        watch_also: Files of it that do, although their names are not those of sources.
        events: What it may do with an event, by event, family or wildcard.
    """

    timeout: Seconds | None = None
    window: Window | None = None
    max_answer_bytes: FrameLimit | None = None
    max_queued_bytes: Count | None = None
    breaker_failures: Annotated[int, msgspec.Meta(ge=0)] | None = None
    breaker_cooldown: Seconds | None = None
    python: str | None = None
    withdraw: tuple[str, ...] = ()
    restart: RestartMode | None = None
    after_crash_loop: AfterCrashLoop | None = None
    on_disconnect: OnDisconnect = "wait"
    required: bool = False
    exclusive: bool = False
    memory_limit_bytes: Amount | None = None
    limits: ResourceLimits = ResourceLimits()
    tree_limits: TreeLimits = TreeLimits()
    secrets: dict[SecretName, str] = {}
    sandbox: Sandbox | None = None
    sandbox_network: bool | None = None
    sandbox_seccomp: bool | None = None
    sandbox_read: tuple[str, ...] = ()
    watch_ignore: tuple[str, ...] = ()
    watch_also: tuple[str, ...] = ()
    events: dict[str, PluginEventOptions] = {}


class PluginPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The settings for one plugin, after its options were merged into the host's settings."""

    timeout: float | None
    window: int
    max_answer_bytes: int
    max_queued_bytes: int
    breaker_failures: int
    breaker_cooldown: float
    withdraw: tuple[str, ...]
    restart: RestartPolicy
    on_disconnect: OnDisconnect
    required: bool
    exclusive: bool
    memory_limit_bytes: int
    limits: ResourceLimits
    tree_limits: TreeLimits
    secrets: dict[str, str]
    sandbox: Sandbox
    sandbox_network: bool
    sandbox_seccomp: bool
    sandbox_read: tuple[str, ...]
    watch_ignore: tuple[str, ...]
    watch_also: tuple[str, ...]
    events: dict[str, PluginEventOptions]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[plugins]``, with its defaults.

    Durations are in seconds. The first seven keys are those of the original server.

    Attributes:
        dev_plugins: Plugins to run from source, each as ``"name:path"``.
        install: Packages to install before anything starts: paths or URLs.
        plugin_dir: The directory of installed plugins.
        socket_path: The plugin socket; ``~`` is expanded.
        debug: Whether to pass ``--debug`` to plugins and to log at debug level.
        log_level: The level to pass to plugins as ``--log-level``.
        config: Configuration by plugin, sent at the handshake; overrides the manifest's defaults.
        options: Settings for single plugins, by plugin.
        events: Policies by event, family or wildcard; in the file a separate table, ``[events]``.
        admin_path: The administration socket; by default ``admin.sock`` beside `socket_path`.
        http: ``HOST:PORT`` on which the administration interface and its page are served besides.
        http_token_file: The file with the token for that, mode 0600; on loopback one is made.
        http_view_token_file: Likewise, with a token that may only look.
        http_no_token: Whether no token is needed; only on loopback.
        http_hosts: Further names that the Host header may have, such as a proxy's.
        behind_proxy: Whether a proxy with TLS is in front, so that nobody need be warned.
        host_name: What the host is called; by default the machine's name.
        otel: Whether to make spans of OpenTelemetry for events; the extra ``otel``.
        metrics_public: Whether metrics need no token.
        metrics_buckets: ``normal``, or ``coarse`` for half as many buckets.
        uvloop: Whether to run on uvloop; by default if it is installed.
        guardian: Whether ``vconnect serve`` has a parent that ends every plugin if the host is
            killed; ``auto`` means yes, unless systemd does that.
        state_dir: The directory in which the host records running processes and the operator's
            stops, and keeps the plugins' data; by default ``.vconnect/hosts/H`` in `plugin_dir`,
            where H is made from `socket_path`.
        allow_external: Whether processes of the same user that this host did not start may attach.
        max_external: Maximum number of such plugins that are connected at the same time.
        allow_insecure_http: Whether to accept ``http://`` from hosts other than the loopback.
        insecure_paths: Whether to start although other users can change files that the host trusts.
        inherit_env: Variables that plugins inherit in addition to the built-in allowlist.
        env: Variables set for every plugin.
        handshake_timeout: Time from process start (or connection) to a complete handshake.
        dev_handshake_timeout: Time from process start to a complete handshake for a plugin from
            source, which may have to be compiled first.
        start_timeout: Time from the handshake until a plugin that is not ready at once says that it
            is.
        drain_timeout: Time for events in flight when a plugin is stopped, and for a native plugin's
            reply to each of drain and stop.
        interrupt_timeout: Time between SIGINT and SIGTERM, at most half of `stop_timeout`.
        stop_timeout: Grace period from the first signal to SIGKILL.
        restart: When to restart a plugin that exits on its own.
        restart_delay: Upper bound of the first back-off; it doubles with each failure.
        restart_max_delay: Highest upper bound of the back-off.
        restart_reset_after: Uptime after which a plugin's failure history is cleared.
        crash_limit: Number of exits within `crash_window` that counts as a crash loop.
        crash_window: Period in which `crash_limit` exits count as a crash loop.
        after_crash_loop: ``hold`` retries every `crash_hold` seconds, ``give_up`` does not retry.
        crash_hold: Time between retries in a crash loop, and after a permanent failure.
        start_concurrency: Maximum number of plugins that start at the same time; as many again may
            start from source.
        watch: Whether to restart dev plugins when their source changes.
        event_timeout: Time that one plugin has for one event.
        chain_timeout: Time that all plugins of a chain have together.
        window: Maximum number of events in flight per connection.
        max_abandoned: Number of abandoned events without an answer after which a connection is
            closed; by default `window`.
        stuck_after: Time after which a plugin that no longer answers (classic) or no longer reads
            (native) loses its connection.
        max_queued: Maximum number of events per plugin that wait for a slot in the window.
        max_notified: Maximum number of notifications among a plugin's waiting events.
        max_queued_bytes: Maximum size of a plugin's events that wait or are in flight, and of its
            calls to the host, together.
        max_total_queued_bytes: The same for all plugins together. What a plugin needs at least, one
            event of any size or 1 MiB, is not refused to it.
        breaker_failures: Consecutive failures after which a plugin's circuit opens and its calls
            fail at once; 0 for never.
        breaker_cooldown: Time that the circuit stays open before one call probes the plugin.
        max_calls: Maximum number of queued calls from a native plugin to the host.
        slow_ms: A plugin that takes half of a chain's time and this many milliseconds is shown as
            slow.
        heartbeat: Interval between pings to a native plugin.
        heartbeat_misses: Consecutive unanswered pings after which a native plugin is replaced.
        memory_limit_bytes: Resident memory of a plugin's process tree above which the plugin is
            replaced; 0 for no limit.
        cgroup: Whether each plugin gets its own cgroup: ``auto`` if possible, ``on`` (refuse to
            start without) or ``off``.
        cgroup_dir: An empty cgroup to use instead of the host's own.
        sandbox: ``off``, ``nnp`` (no new privileges), ``landlock`` or ``bwrap`` (bubblewrap).
        sandbox_network: Whether plugins in such a sandbox have network access.
        sandbox_seccomp: Whether system calls that plugins do not need are denied; needs a sandbox.
        sandbox_read: Paths that plugins in such a sandbox may read, besides the system.
        max_frame_bytes: Maximum payload of a frame that the host sends, in bytes.
        max_answer_bytes: Maximum payload of a frame that a plugin sends, in bytes.
        max_answer_values: Maximum number of JSON values in it, keys included.
        max_answer_keys: Maximum number of keys of one object in it.
        consent: Whether a later version of a package in `install` gets the permissions that it asks
            for and did not have before: ``ask`` keeps the old version until an operator grants
            them, ``allow`` grants them.
        keep_versions: Number of versions kept of each installed plugin, including the current one;
            besides these, those that run.
        verify_at_start: Whether the files of the plugins are compared with those of their packages
            before the first start; those that differ are not started.
        lock_file: The file that says which packages were meant; by default ``vconnect.lock`` beside
            the configuration file, and none without one or if empty.
        trust_file: The file with the keys whose signatures count; by default ``vconnect.trust``
            beside the configuration file, and none without one or if empty.
        require_signature: Whether a package must have a signature that counts.
        on_revoked: What becomes of an installed version whose signer's key was revoked: ``serve``
            says so and goes on, ``hold`` does not start it again.
        python: The interpreter for the environments of plugins that the host's own Python does not
            fit, by its path or its name on the PATH; by default none.
        python_index: The address of a package index for the dependencies of plugins; empty to use
            only the wheels in their packages.
        python_sdk_wheels: A directory of wheels with vconnect, msgspec and orjson for other
            versions of Python.
        interfaces: The versions of the application's events that this host offers to plugins, such
            as ``chat/2``. A plugin that is written for others is refused.
        require_interface: Whether to refuse plugins whose manifest names no interface.
        sources: Settings by the beginning of a source, such as ``"https://plugins.example.com/"``.
        max_package_bytes: Maximum size of a package in bytes, both packed and unpacked.
        log_lines: Lines of output kept in memory per plugin, and at most 4 MiB of them.
        log_lines_per_second: Lines of output accepted per plugin and second; the rest is counted.
        log_bytes_per_second: Bytes of output accepted per plugin and second.
        log_dir: Directory for log files of plugins; none by default.
        log_file_bytes: Size at which a log file is rotated.
        log_files: Number of log files per plugin, including the newest.
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
    http: str | None = None
    http_token_file: str | None = None
    http_view_token_file: str | None = None
    http_no_token: bool = False
    http_hosts: tuple[str, ...] = ()
    behind_proxy: bool = False
    host_name: str = ""
    metrics_public: bool = False
    otel: bool = False
    metrics_buckets: Literal["normal", "coarse"] = "normal"
    uvloop: bool | None = None
    guardian: Literal["auto", "on", "off"] = "auto"
    state_dir: str | None = None
    allow_external: bool = False
    max_external: Count = 256
    allow_insecure_http: bool = False
    insecure_paths: bool = False
    inherit_env: tuple[str, ...] = ()
    env: dict[str, str] = {}
    # A plugin that starts loads its libraries, on a machine that may be starting many others.
    handshake_timeout: Seconds = 10.0
    dev_handshake_timeout: Seconds = 300.0
    # Opening a database or loading a model takes longer than connecting.
    start_timeout: Seconds = 60.0
    # The shutdown sequence: together at most 12 seconds, within systemd's default of 90.
    drain_timeout: Seconds = 2.0
    interrupt_timeout: Seconds = 1.0
    stop_timeout: Seconds = 5.0
    # Five failures in a row reach the crash limit after a few seconds of back-off.
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
    # One slow plugin costs its own five seconds, and must not end the chain with them.
    event_timeout: Seconds = 5.0
    chain_timeout: Seconds = 30.0
    # Enough to keep a plugin busy while answers are on their way; more only adds latency.
    window: Window = 64
    max_abandoned: Count | None = None
    stuck_after: Seconds = 30.0
    # A burst waits; beyond it, failing at once is better than timing out later.
    max_queued: Count = 4096
    max_notified: Count = 1024
    # As much as the largest frame: more waits only for a plugin that does not read.
    max_queued_bytes: Count = 16 * MIB
    max_total_queued_bytes: Count = 256 * MIB
    breaker_failures: Annotated[int, msgspec.Meta(ge=0)] = 10
    breaker_cooldown: Seconds = 5.0
    max_calls: Count = 256
    slow_ms: Seconds = 100.0
    # A plugin that hangs is replaced after half a minute.
    heartbeat: Seconds = 10.0
    heartbeat_misses: Count = 3
    memory_limit_bytes: Amount = 0
    cgroup: Literal["auto", "on", "off"] = "auto"
    cgroup_dir: str | None = None
    sandbox: Sandbox = "off"
    sandbox_network: bool = False
    sandbox_seccomp: bool = False
    sandbox_read: tuple[str, ...] = ()
    max_frame_bytes: FrameLimit = 16 * MIB
    # What a plugin sends is parsed in the loop, for which every other plugin waits.
    max_answer_bytes: FrameLimit = 4 * MIB
    max_answer_values: Count = 32_768
    max_answer_keys: Count = 8192
    consent: Consent = "ask"
    keep_versions: Count = 2
    verify_at_start: bool = False
    lock_file: str | None = None
    trust_file: str | None = None
    require_signature: bool = False
    on_revoked: OnRevoked = "serve"
    python: str | None = None
    python_index: str = ""
    python_sdk_wheels: str | None = None
    interfaces: tuple[str, ...] = ()
    require_interface: bool = False
    sources: dict[str, SourceOptions] = {}
    max_package_bytes: Annotated[int, msgspec.Meta(ge=1)] = 512 * 1024 * 1024
    log_lines: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    log_lines_per_second: Count = 1000
    log_bytes_per_second: Count = 1024 * 1024
    log_dir: str | None = None
    log_file_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 10 * 1024 * 1024
    log_files: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5

    @property
    def admin_socket(self) -> str:
        """The path of the administration socket, as configured or beside `socket_path`."""
        if self.admin_path is not None:
            return self.admin_path
        return str(Path(self.socket_path).with_name("admin.sock"))

    @property
    def state_directory(self) -> Path:
        """The directory of this host's state and data, as configured or in `plugin_dir`."""
        # By default beside the plugins, but each host has its own: hosts share code, never data.
        if self.state_dir is not None:
            return Path(self.state_dir)
        digest = hashlib.sha256(os.fsencode(self.socket_path)).hexdigest()
        return Path(self.plugin_dir, ".vconnect", "hosts", digest[:_HOST_CHARS])

    @property
    def needed_controllers(self) -> list[str]:
        """The cgroup controllers that the configured ``tree_limits`` need."""
        options = self.options.values()
        return sorted({name for one in options for name in one.tree_limits.controllers().values()})

    def part(self, kind: type[P]) -> P:
        """Return the part of the settings that ``kind`` describes; see `parts`."""
        values = {
            field.name: (
                self.part(field.type) if _is_part(field.type) else getattr(self, field.name)
            )
            for field in msgspec.structs.fields(kind)
        }
        return kind(**values)

    def plugin_config(self, plugin: str) -> dict[str, Any]:
        """Return the operator's configuration of ``plugin`` (canonical name)."""
        return _table_of(plugin, self.config, {})

    def plugin_policy(self, plugin: str) -> PluginPolicy:
        """Return the settings for ``plugin`` (canonical name)."""
        own = _table_of(plugin, self.options, PluginOptions())
        merged = msgspec.structs.asdict(self)
        for key in PluginOptions.__struct_fields__:
            # An option without a counterpart in the host's settings always comes from the plugin's.
            value = getattr(own, key)
            if value is not None or key not in merged:
                merged[key] = value
        # A plugin's paths are added: the host's are needed by every plugin.
        merged["sandbox_read"] = self.sandbox_read + own.sandbox_read
        merged["events"] = own.events  # the host's own table of that name is of all plugins
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

    def config_of(self, plugin: str) -> dict[str, Any]:
        """Return the table ``[plugins.config.NAME]`` of ``plugin``; empty if there is none."""
        return _table_of(plugin, self.config, {})

    def python_of(self, plugin: str) -> str:
        """Return the interpreter that is chosen for ``plugin`` alone; empty if none is."""
        return _table_of(plugin, self.options, PluginOptions()).python or ""

    def event_policy(self, event: str) -> EventPolicy:
        """Compute the policy of ``event``: its tables of `events`, merged into the defaults."""
        defaults = EventPolicy(timeout=self.event_timeout, chain_timeout=self.chain_timeout)
        return resolve_policy(event, self.events, defaults)


class ConfigurationFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A configuration file of a host.

    Attributes:
        plugins: The host, and what holds for each plugin.
        events: Policies by event, family or wildcard.
    """

    plugins: Settings = Settings()
    events: dict[str, EventSettings] = {}


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _table_of(plugin: str, tables: Mapping[str, T], default: T) -> T:
    """Find a plugin's table by its canonical name; tables may use any of a plugin's names."""
    for name, table in tables.items():
        if canonical_name(name) == plugin:
            return table
    return default
