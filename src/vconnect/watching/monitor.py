"""Samples every plugin's process tree once a second, and acts on the result."""

# The idea: pings show that a native plugin's event loop works, but a classic plugin has none, and
# neither kind reports its memory. So all process trees are measured in one pass, which also notices
# processes that a signal has stopped. After a pass that took too long for the event loop, the next
# one runs in a thread.

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import msgspec

from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.process import PluginProcess
from vconnect.processes.usage import Sampler, Usage
from vconnect.settings.parts import HeartbeatSettings
from vconnect.threads import in_thread

_INTERVAL_S = 1.0
# A longer pass moves to a thread, because it would delay the event loop noticeably. Seconds.
_LONG_S = 0.003
# How many samples in a row must be over the memory limit: a single peak is not a leak.
_OVER_LIMIT = 2
# A sample that comes this much later than the last one means that the host was suspended, and
# perhaps everything else with it. Samples are a second apart.
_HELD_UP_S = 3.0


class Supervised(Protocol):
    """What the monitor needs of a plugin's supervisor."""

    plugin: PluginRuntime

    def condemn(self, substate: Substate, reason: str) -> None:
        """End the plugin's process, and let the restart policy decide."""


class _Past(msgspec.Struct):
    """What is remembered of one process between two samples."""

    process: PluginProcess
    stopped_at: float | None = None
    over_limit: int = 0


class Monitor:
    """Samples plugins, and condemns those that hang or use too much memory.

    Args:
        settings: When a stopped process counts as hanging.
    """

    def __init__(self, settings: HeartbeatSettings) -> None:
        self._settings = settings
        self._sampler = Sampler()
        self._past: dict[str, _Past] = {}
        self._looked_at = time.monotonic()
        self._takes_long = False

    async def run(
        self,
        supervisors: Callable[[], Collection[Supervised]],
        plugins: Callable[[], Iterable[PluginRuntime]],
    ) -> None:
        """Look at all plugins every second, and report their suppressed lines, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self.look(supervisors())
            for plugin in plugins():
                plugin.log.tell_suppressed()

    async def look(self, supervisors: Collection[Supervised]) -> None:
        """Sample all plugins in one pass, and evaluate each of them."""
        running = [
            (supervisor, process)
            for supervisor in supervisors
            if (process := supervisor.plugin.process) is not None
        ]
        try:
            usages = await self._measure([process for _, process in running])
        except OSError:  # out of descriptors: keep the last values until there is one again
            return
        self._note_time()
        # Rebuilt with each sample, so that processes that are gone are forgotten.
        past, self._past = self._past, {}
        for supervisor, process in running:
            # In a thread, the pass takes a while, and the plugin may have been replaced meanwhile.
            if supervisor.plugin.process is process:
                self._note(supervisor, process, usages.get(process.pid), past)
        for supervisor in supervisors:
            if supervisor.plugin.process is None:
                _note_without_process(supervisor.plugin)

    async def _measure(self, processes: Collection[PluginProcess]) -> dict[int, Usage]:
        """Measure here while that is quick: in a thread, each file that is read costs a switch."""
        sessions = [process.pid for process in processes]
        cgroups = {one.pid: one.cgroup for one in processes if one.cgroup is not None}
        if self._takes_long:
            usages = await in_thread(None, self._sampler.measure, sessions, cgroups)
        else:
            usages = self._sampler.measure(sessions, cgroups)
        self._takes_long = self._sampler.took_s > _LONG_S
        return usages

    def _note_time(self) -> None:
        """After a suspension, restart the clocks of stopped processes: they are not to blame."""
        now = time.monotonic()
        if now - self._looked_at > _HELD_UP_S:
            for one in self._past.values():
                one.stopped_at = None
        self._looked_at = now

    def _note(
        self,
        supervisor: Supervised,
        process: PluginProcess,
        usage: Usage | None,
        past: dict[str, _Past],
    ) -> None:
        plugin = supervisor.plugin
        plugin.sampled(usage)
        one = past.get(plugin.name)
        if one is None or one.process is not process:
            # A new process starts with a clean record.
            one = _Past(process)
        self._past[plugin.name] = one
        # A short stop is nothing unusual, for example a Ctrl-Z. Only its duration counts.
        is_stopped = usage is not None and _is_stopped(plugin, process, usage)
        if process.is_alive and not is_stopped and (usage is None or usage.is_led):
            plugin.saw_alive()
        # A plugin that is being stopped anyway has nothing more to lose.
        if usage is None or plugin.status is PluginStatus.STOPPING:
            return
        self._judge_stop(supervisor, one, is_stopped)
        self._judge_size(supervisor, one, usage)

    def _judge_stop(self, supervisor: Supervised, one: _Past, is_stopped: bool) -> None:
        """Replace a plugin that a signal has stopped; pings detect that for a native one."""
        session = supervisor.plugin.session
        if not is_stopped or (session is not None and session.is_native):
            one.stopped_at = None
            return
        if one.stopped_at is None:
            one.stopped_at = self._looked_at
        stopped_for = self._looked_at - one.stopped_at
        if stopped_for >= self._settings.patience:
            supervisor.condemn(
                Substate.WATCHDOG, f"stopped by a signal (SIGSTOP) for {stopped_for:.1f} s"
            )

    def _judge_size(self, supervisor: Supervised, one: _Past, usage: Usage) -> None:
        """Replace a plugin whose process tree exceeds its memory limit."""
        limit = supervisor.plugin.policy.memory_limit_bytes
        one.over_limit = one.over_limit + 1 if limit and usage.rss_bytes > limit else 0
        if one.over_limit >= _OVER_LIMIT:
            supervisor.condemn(
                Substate.MEMORY_LIMIT,
                f"memory_limit: {usage.processes} process(es) with {usage.rss_bytes} bytes of "
                f"resident memory; memory_limit_bytes is {limit}",
            )


def _is_stopped(plugin: PluginRuntime, process: PluginProcess, usage: Usage) -> bool:
    """Return whether the leader, or the connected process, is stopped by a signal."""
    # A leader such as `npm` or a sandbox's is not the process that serves.
    if process.pid in usage.stopped:
        return True
    return plugin.session is not None and plugin.session.peer.pid in usage.stopped


def _note_without_process(plugin: PluginRuntime) -> None:
    """Treat a plugin without a process of ours as alive while it is connected."""
    plugin.sampled(None)
    if plugin.session is not None:
        plugin.saw_alive()
