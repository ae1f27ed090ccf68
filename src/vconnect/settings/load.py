"""The host's settings: from the command line, then ``VCONNECT_*``, then the file, then defaults.

`load_settings` joins the four and validates once. A mistake names where it stands (the file and
key, the variable or the option) and what was expected, before anything starts.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from vconnect.errors import ConfigError
from vconnect.names import NAME_RULE, PATTERN_RULE, canonical_name, is_pattern, is_valid_name

from .events import EventPolicy, EventSettings, Seconds
from .limits import Amount, ResourceLimits, Sandbox, TreeLimits
from .restarts import AfterCrashLoop, RestartMode, RestartPolicy

_TABLES = ("config", "options", "events", "env")

DEFAULT_CONFIG_FILE = "vconnect.toml"
ENVIRONMENT_PREFIX = "VCONNECT_"
LOG_LEVELS = ("trace", "debug", "info", "warn", "error")

T = TypeVar("T")
LogLevel = Literal["trace", "debug", "info", "warn", "error"]
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


class PluginLimits(msgspec.Struct, frozen=True, kw_only=True):
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
    resources: ResourceLimits
    tree: TreeLimits
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

    def plugin_config(self, plugin: str) -> dict[str, Any]:
        """The operator's values for ``plugin`` (canonical), whichever way its table is named."""
        return _table_of(plugin, self.config, {})

    def plugin_limits(self, plugin: str) -> PluginLimits:
        """What holds for ``plugin`` (canonical), whichever way its table of options is named."""
        own = _table_of(plugin, self.options, PluginOptions())
        return PluginLimits(
            timeout=own.timeout,
            window=own.window or self.window,
            breaker_failures=(
                self.breaker_failures if own.breaker_failures is None else own.breaker_failures
            ),
            breaker_cooldown=own.breaker_cooldown or self.breaker_cooldown,
            withdraw=own.withdraw,
            restart=RestartPolicy(
                mode=own.restart or self.restart,
                delay=self.restart_delay,
                max_delay=self.restart_max_delay,
                reset_after=self.restart_reset_after,
                crash_limit=self.crash_limit,
                crash_window=self.crash_window,
                after_crash_loop=own.after_crash_loop or self.after_crash_loop,
                hold=self.crash_hold,
            ),
            required=own.required,
            exclusive=own.exclusive,
            memory_limit_bytes=(
                self.memory_limit_bytes
                if own.memory_limit_bytes is None
                else own.memory_limit_bytes
            ),
            resources=own.limits,
            tree=own.tree_limits,
            secrets=own.secrets,
            sandbox=own.sandbox or self.sandbox,
            sandbox_network=(
                self.sandbox_network if own.sandbox_network is None else own.sandbox_network
            ),
            sandbox_read=(*self.sandbox_read, *own.sandbox_read),
        )

    @property
    def event_defaults(self) -> EventPolicy:
        """What holds for an event that no table of `events` covers."""
        return EventPolicy(timeout=self.event_timeout, chain_timeout=self.chain_timeout)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plugins: Settings = Settings()
    events: dict[str, EventSettings] = {}


def load_settings(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Join command line, environment, file and defaults, in this order of precedence.

    Args:
        file: A TOML file; ``None`` for none. Relative paths in it are relative to its directory.
        environ: Variables; only ``VCONNECT_<KEY>`` for known scalar keys are read.
        overrides: Values of the command line by key; ``None`` values count as not given.

    Raises:
        ConfigError: The file cannot be read or parsed, or a value is not what its key expects.
    """
    values = _read_file(file) if file is not None else {}
    values |= _read_environment(environ or {})
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    settings = _convert(values, "settings")
    origin = str(file) if file is not None else "settings"
    _check_names(settings, origin)
    _check_events(settings.events, origin)
    return settings


def split_dev_plugin(text: str) -> tuple[str, str]:
    """Split ``"name:path"`` at the first colon.

    Returns:
        The canonical name and the path as written.

    Raises:
        ConfigError: There is no colon, no path, or no valid name.
    """
    name, _, path = text.partition(":")
    plugin = canonical_name(name)
    if not path:
        raise ConfigError(f"dev plugin {text!r}: expected NAME:PATH, such as example:./example")
    if not is_valid_name(plugin):
        raise ConfigError(f"dev plugin {text!r}: the name is {name!r}; a name is {NAME_RULE}")
    return plugin, path


def _read_file(file: Path) -> dict[str, Any]:
    """Read and validate the file by itself, so that its errors name it."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    plugins = document.get("plugins")
    _check_tables({"events": document.get("events")}, "", str(file))
    _check_tables(plugins if isinstance(plugins, dict) else {}, "plugins.", str(file))
    try:
        parsed = msgspec.convert(document, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {_explain(error, _File)}") from None
    _check_names(parsed.plugins, str(file))
    _check_events(parsed.events, str(file))
    table: dict[str, Any] = _anchor_paths(document.get("plugins", {}), file.resolve().parent)
    if "events" in document:
        if "events" in table:
            raise ConfigError(
                f"{file}: both [events] and [plugins.events] are there; keep [events]"
            )
        table["events"] = document["events"]
    return table


def _anchor_paths(table: dict[str, Any], base: Path) -> dict[str, Any]:
    """Make the file's relative paths absolute, from the file's directory."""
    anchored = dict(table)
    for key in ("plugin_dir", "socket_path", "admin_path", "log_dir", "state_dir", "cgroup_dir"):
        if key in anchored:
            anchored[key] = _anchor(anchored[key], base)
    if "sandbox_read" in anchored:
        anchored["sandbox_read"] = [_anchor(path, base) for path in anchored["sandbox_read"]]
    if "install" in anchored:
        anchored["install"] = [_anchor_source(source, base) for source in anchored["install"]]
    if "options" in anchored:
        anchored["options"] = {
            name: _anchor_options(table, base) for name, table in anchored["options"].items()
        }
    if "dev_plugins" in anchored:
        pairs = [text.partition(":") for text in anchored["dev_plugins"]]
        anchored["dev_plugins"] = [f"{name}:{_anchor(path, base)}" for name, _, path in pairs]
    return anchored


def _anchor_options(table: dict[str, Any], base: Path) -> dict[str, Any]:
    files, read = table.get("secrets", {}), table.get("sandbox_read", [])
    return table | {
        "secrets": {name: _anchor(path, base) for name, path in files.items()},
        "sandbox_read": [_anchor(path, base) for path in read],
    }


def _anchor(path: str, base: Path) -> str:
    return path if path.startswith("~") else str(base / path)


def _anchor_source(source: str, base: Path) -> str:
    scheme, separator, rest = source.partition("://")
    if not separator:
        return _anchor(source, base)
    return f"file://{_anchor(rest, base)}" if scheme == "file" else source


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read ``VCONNECT_<KEY>`` for every key that is not a table."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        variable = ENVIRONMENT_PREFIX + field.name.upper()
        if variable not in environ or field.name in _TABLES:
            continue
        text = environ[variable]
        many = field.type == tuple[str, ...]
        value: Any = [item for item in text.split(",") if item] if many else text
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"{variable}={text!r}: {_explain(error, Settings, field=field.name)}"
            ) from None
    return values


def _convert(values: dict[str, Any], origin: str) -> Settings:
    _check_tables(values, "", origin)
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error, Settings)}") from None


def _check_tables(values: Mapping[str, Any], place: str, origin: str) -> None:
    """Convert the tables per event and per plugin one by one: an error names the one it is in."""
    kinds: dict[str, type[msgspec.Struct]] = {"events": EventSettings, "options": PluginOptions}
    for key, kind in kinds.items():
        tables = values.get(key)
        for name, table in tables.items() if isinstance(tables, dict) else ():
            try:
                msgspec.convert(table, kind)
            except msgspec.ValidationError as error:
                explained = _explain(error, kind, f"{place}{key}.{name!r}")
                raise ConfigError(f"{origin}: {explained}") from None


def _check_names(settings: Settings, origin: str) -> None:
    try:
        for text in settings.dev_plugins:
            split_dev_plugin(text)
    except ConfigError as error:
        raise ConfigError(f"{origin}: plugins.dev_plugins: {error}") from None
    for key, table in (("config", settings.config), ("options", settings.options)):
        _check_twins(key, table, origin)


def _check_twins(key: str, table: Mapping[str, Any], origin: str) -> None:
    seen: dict[str, str] = {}
    for name in table:
        first = seen.setdefault(canonical_name(name), name)
        if first != name:
            raise ConfigError(
                f"{origin}: plugins.{key} has {first!r} and {name!r}, "
                f"which are one plugin ({canonical_name(name)}); keep one of them"
            )


def _check_events(events: Mapping[str, EventSettings], origin: str) -> None:
    for pattern, table in events.items():
        if not is_pattern(pattern):
            raise ConfigError(f"{origin}: events: got {pattern!r}; expected {PATTERN_RULE}")
        if table.on_failure == "default" and table.default is msgspec.UNSET:
            raise ConfigError(
                f"{origin}: events.{pattern!r}: on_failure is 'default' and there is no default; "
                'add one, such as default = { status = "ok" }'
            )


def _table_of(plugin: str, tables: Mapping[str, T], default: T) -> T:
    """Find a plugin's table by its canonical name."""
    for name, table in tables.items():
        if canonical_name(name) == plugin:
            return table
    return default


def _explain(
    error: msgspec.ValidationError, root: type[msgspec.Struct], place: str = "", field: str = ""
) -> str:
    """Say key first, then what was expected; for an unknown key also the nearest known ones.

    Args:
        error: What `msgspec` says.
        root: What the whole value should have been.
        place: Where the whole value stands.
        field: Which one of ``root`` it is about, if ``error`` cannot know.
    """
    text, _, where = str(error).partition(" - at `")
    key = where.removeprefix("key` in `").rstrip("`").removeprefix("$").lstrip(".")
    full = ".".join(filter(None, (place, key)))
    if "unknown field" in text:
        return _explain_unknown(text.split("`")[1], full, _table_at(key, root))
    text = text[0].lower() + text[1:]
    if "enum value" in text:
        above, _, name = (key or field).rpartition(".")
        text += f"; expected one of {_words_of(name, _table_at(above, root))}"
    return f"{full}: {text}" if full else text


def _words_of(name: str, table: type[msgspec.Struct]) -> str:
    """List the words that a key takes."""
    kinds = [field.type for field in msgspec.structs.fields(table) if field.name == name]
    words = []
    while kinds:
        kind = kinds.pop()
        if get_origin(kind) is Literal:
            words += [repr(word) for word in get_args(kind)]
        else:
            kinds += get_args(kind)  # a union, an annotated one
    return ", ".join(words)


def _table_at(key: str, root: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Find what stands at a place below ``root``."""
    within: dict[str, type[msgspec.Struct]] = {"limits": ResourceLimits, "tree_limits": TreeLimits}
    if key in within and root is PluginOptions:
        return within[key]
    return Settings if key else root


def _explain_unknown(name: str, table: str, allowed: type[msgspec.Struct]) -> str:
    known = [field.name for field in msgspec.structs.fields(allowed)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    full = f"{table}.{name}" if table else name
    return f"{full}: unknown key{hint} (known: {', '.join(known)})"
