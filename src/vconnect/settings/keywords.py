"""The keys of `Settings` as keyword arguments, for type checkers and editors."""

# Written out, because a checker runs nothing: it has to find each key here. A test compares this
# table with `Settings`.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

from vconnect.names import LogLevel

from .events import EventSettings
from .limits import Sandbox
from .model import PluginOptions, SourceOptions
from .restarts import AfterCrashLoop, RestartMode

# No sequences in general: a text is one too, and never what was meant.
Texts: TypeAlias = list[str] | tuple[str, ...]


class SettingsOptions(TypedDict, total=False):
    """Any key of `Settings`, which describes them; ``None`` counts as not given."""

    dev_plugins: Texts | None
    install: Texts | None
    plugin_dir: str | Path | None
    socket_path: str | Path | None
    debug: bool | None
    log_level: LogLevel | None
    config: Mapping[str, Mapping[str, Any]] | None
    options: Mapping[str, PluginOptions | Mapping[str, Any]] | None
    events: Mapping[str, EventSettings | Mapping[str, Any]] | None
    admin_path: str | Path | None
    http: str | None
    http_token_file: str | Path | None
    http_view_token_file: str | Path | None
    http_no_token: bool | None
    http_hosts: tuple[str, ...] | list[str] | None
    behind_proxy: bool | None
    host_name: str | None
    metrics_public: bool | None
    otel: bool | None
    metrics_buckets: Literal["normal", "coarse"] | None
    uvloop: bool | None
    guardian: Literal["auto", "on", "off"] | None
    state_dir: str | Path | None
    allow_external: bool | None
    max_external: int | None
    allow_insecure_http: bool | None
    insecure_paths: bool | None
    inherit_env: Texts | None
    env: Mapping[str, str] | None
    handshake_timeout: float | None
    dev_handshake_timeout: float | None
    start_timeout: float | None
    drain_timeout: float | None
    interrupt_timeout: float | None
    stop_timeout: float | None
    restart: RestartMode | None
    restart_delay: float | None
    restart_max_delay: float | None
    restart_reset_after: float | None
    crash_limit: int | None
    crash_window: float | None
    after_crash_loop: AfterCrashLoop | None
    crash_hold: float | None
    start_concurrency: int | None
    watch: bool | None
    event_timeout: float | None
    chain_timeout: float | None
    window: int | None
    max_abandoned: int | None
    stuck_after: float | None
    max_queued: int | None
    max_notified: int | None
    max_queued_bytes: int | None
    max_total_queued_bytes: int | None
    breaker_failures: int | None
    breaker_cooldown: float | None
    max_calls: int | None
    slow_ms: float | None
    heartbeat: float | None
    heartbeat_misses: int | None
    memory_limit_bytes: int | None
    cgroup: Literal["auto", "on", "off"] | None
    cgroup_dir: str | Path | None
    sandbox: Sandbox | None
    sandbox_network: bool | None
    sandbox_seccomp: bool | None
    sandbox_read: Texts | None
    max_frame_bytes: int | None
    max_answer_bytes: int | None
    max_answer_values: int | None
    max_answer_keys: int | None
    consent: Literal["ask", "allow"] | None
    keep_versions: int | None
    verify_at_start: bool | None
    lock_file: str | Path | None
    trust_file: str | Path | None
    require_signature: bool | None
    on_revoked: Literal["serve", "hold"] | None
    python: str | None
    python_index: str | None
    python_sdk_wheels: str | Path | None
    interfaces: Texts | None
    require_interface: bool | None
    sources: Mapping[str, SourceOptions | Mapping[str, Any]] | None
    max_package_bytes: int | None
    log_lines: int | None
    log_lines_per_second: int | None
    log_bytes_per_second: int | None
    log_dir: str | Path | None
    log_file_bytes: int | None
    log_files: int | None
