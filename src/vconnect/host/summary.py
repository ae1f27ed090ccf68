"""The host itself, as an operator sees it."""

from __future__ import annotations

import msgspec


class HostSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sees of the host itself.

    Attributes:
        pid: The host's PID.
        guardian_pid: The PID of its guardian, or ``None``.
        version: The version of vconnect.
        loop: ``uvloop`` or ``asyncio``.
        uptime_s: Seconds since it started listening.
        socket_path: The path of the plugin socket.
        admin_path: The path of the administration socket.
        plugin_dir: The directory of installed plugins.
        cgroup: The directory of its cgroups, or ``None``.
        cgroup_problem: Why it has none; empty if it has one.
        plugins: How many plugins it knows.
    """

    pid: int
    guardian_pid: int | None
    version: str
    loop: str
    uptime_s: float
    socket_path: str
    admin_path: str
    plugin_dir: str
    cgroup: str | None
    cgroup_problem: str
    plugins: int
