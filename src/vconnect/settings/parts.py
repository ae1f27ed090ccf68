"""The parts of the settings: each has the keys that one class of the host needs."""

# A field has the name of its key, so that `Settings.part` can fill a part in one loop. A field that
# is itself a part groups keys; the file stays flat. `Settings` describes every key.

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from vconnect.names import LogLevel


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits for plugins' output: accepted, kept in memory and written to files."""

    log_lines: int
    log_lines_per_second: int
    log_bytes_per_second: int
    log_dir: str | None
    log_file_bytes: int
    log_files: int


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where plugins' data is, and how many versions of a plugin are kept."""

    state_directory: Path
    keep_versions: int


class CgroupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Whether plugins have cgroups, and where."""

    cgroup: Literal["auto", "on", "off"]
    cgroup_dir: str | None


class LaunchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a new process gets, and how long it may take until its handshake is complete."""

    state_directory: Path
    socket_path: str
    debug: bool
    log_level: LogLevel | None
    inherit_env: tuple[str, ...]
    env: dict[str, str]
    handshake_timeout: float
    dev_handshake_timeout: float
    cgroup: Literal["auto", "on", "off"]
    insecure_paths: bool
    trust_file: str | None
    on_revoked: Literal["serve", "hold"]
    interfaces: tuple[str, ...]
    require_interface: bool


class ConnectionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one connection."""

    max_queued: int
    max_notified: int
    max_abandoned: int | None
    stuck_after: float
    max_frame_bytes: int
    max_answer_values: int
    max_answer_keys: int


class HeartbeatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often native plugins are pinged, and how many pings may be missed."""

    heartbeat: float
    heartbeat_misses: int

    @property
    def patience(self) -> float:
        """Seconds without a sign of life after which a plugin is replaced."""
        return self.heartbeat * self.heartbeat_misses


class ShutdownSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long each step of a plugin's shutdown sequence may take."""

    drain_timeout: float
    interrupt_timeout: float
    stop_timeout: float


class SupervisionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one plugin's supervisor needs."""

    handshake_timeout: float
    start_timeout: float
    allow_external: bool
    connection: ConnectionSettings
    heartbeats: HeartbeatSettings
    shutdown: ShutdownSettings
