"""The host itself, as an operator sees it."""

from __future__ import annotations

import msgspec


class HostSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sees of the host itself.

    Attributes:
        guardian_pid: The process that ends every plugin if this one is killed, where there is one.
        loop: ``uvloop`` or ``asyncio``.
        uptime_s: Seconds since it began to listen.
        cgroup: The directory below which each plugin's start has its cgroup, where there is one.
        cgroup_problem: Why there is none; empty if there is.
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
