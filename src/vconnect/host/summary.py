"""The host itself, as an operator sees it."""

from __future__ import annotations

import asyncio
import os

from vconnect.plain import Plain
from vconnect.processes.cgroup_tree import CgroupTree
from vconnect.settings.model import Settings
from vconnect.version import host_version
from vconnect.watching.loop_watch import LoopWatch


class HostSummary(Plain, frozen=True, kw_only=True):
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
        queued_bytes: The bytes of all events that wait or are in flight, and of plugins' calls.
        stalls: How often the event loop was held for more than a tenth of a second.
        longest_stall_s: The longest time that it was held.
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
    queued_bytes: int
    stalls: int
    longest_stall_s: float


def summarize_host(
    settings: Settings,
    cgroups: CgroupTree,
    *,
    guardian_pid: int | None,
    uptime_s: float,
    plugins: int,
    queued_bytes: int,
    loop_watch: LoopWatch,
) -> HostSummary:
    """Describe the host that runs in this process and on this loop."""
    return HostSummary(
        pid=os.getpid(),
        guardian_pid=guardian_pid,
        version=host_version(),
        loop=type(asyncio.get_running_loop()).__module__.partition(".")[0],
        uptime_s=uptime_s,
        socket_path=settings.socket_path,
        admin_path=settings.admin_socket,
        plugin_dir=settings.plugin_dir,
        cgroup=str(cgroups.path) if cgroups.path is not None else None,
        cgroup_problem=cgroups.problem,
        plugins=plugins,
        queued_bytes=queued_bytes,
        stalls=loop_watch.stalls,
        longest_stall_s=loop_watch.longest_s,
    )
