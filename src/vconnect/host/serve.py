"""``vconnect serve``: one manager, its administration socket, its signals and its log."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vconnect.admin.servers.server import AdminServer
from vconnect.errors import VConnectError
from vconnect.logs.host_log import HostFormatter, HostHandler, JsonFormatter, LogFormat
from vconnect.loop import loop_factory
from vconnect.packages.source import Progress
from vconnect.plugins.status import PluginStatus
from vconnect.settings.model import Settings
from vconnect.settings.source import SettingsSource

from .hang_up import EarlyHangUp
from .manager import PluginRuntimeManager
from .signals import Interrupts
from .surroundings import put_right, warn_of_variables
from .systemd import Notifier, activated_socket

if TYPE_CHECKING:
    from .guardian import Lifeline

EXIT_REQUIRED_LOST = 1

_log = logging.getLogger(__name__)


def serve(
    settings: Settings,
    lifeline: Lifeline | None = None,
    progress: Progress | None = None,
    source: SettingsSource | None = None,
    early: EarlyHangUp | None = None,
    log_format: LogFormat = "text",
) -> int:
    """Run a host in the foreground until SIGTERM, SIGQUIT or Ctrl-C.

    The first signal stops every plugin in order, the second kills them, the third ends the process
    immediately. SIGHUP reads the settings again, unless the terminal is gone. What the process has
    inherited and would be in the way is put right first: blocked and ignored signals, closed
    standard descriptors, a low limit on descriptors.

    Args:
        settings: The host's settings.
        lifeline: The connection to the guardian; when that dies, the host shuts down in order.
        progress: Called during a download; see `PluginRuntimeManager`.
        source: Where the settings come from, to read them again.
        early: Has heard a SIGHUP that came before.
        log_format: How the log on stderr is written.

    Returns:
        The process's exit code: 0; 130 after a second signal; 1 if the guardian died, or if a
        required plugin is in a crash loop.

    Raises:
        VConnectError: The host cannot start: its socket, a dev plugin or a package is invalid.
    """
    put_right()
    with _host_log(logging.DEBUG if settings.debug else logging.INFO, log_format):
        warn_of_variables(settings)
        runner = asyncio.Runner(loop_factory=loop_factory(settings.uvloop))
        try:
            return runner.run(_serve(settings, lifeline, progress, source, early))
        finally:
            _close(runner)


def _close(runner: asyncio.Runner) -> None:
    """Close the loop, even if the machine has no thread left for asyncio to wait for others."""
    try:
        runner.close()
    except RuntimeError as error:
        _log.warning("not waiting for threads that are still running: %s", error)


async def _serve(
    settings: Settings,
    lifeline: Lifeline | None,
    progress: Progress | None,
    source: SettingsSource | None,
    early: EarlyHangUp | None,
) -> int:
    manager = PluginRuntimeManager(
        settings,
        progress=progress,
        source=source,
        guardian_pid=lifeline.guardian_pid if lifeline is not None else None,
        listening=activated_socket(os.environ, os.getpid()),
    )
    manager.on_settings = _set_log_level
    notifier = Notifier(os.environ)
    reloads = _Reloads(manager, notifier)
    work = asyncio.current_task()
    assert work is not None
    interrupts = Interrupts(work, manager.kill_all, lifeline, reloads.wish, early)
    with interrupts.handled():
        try:
            await _work(manager, notifier, reloads)
        except asyncio.CancelledError:
            # Cancelled by something other than a signal: not ours to swallow.
            if not interrupts.count:
                raise
        else:
            return EXIT_REQUIRED_LOST
    return interrupts.exit_code


class _Reloads:
    """Reads the settings again for each SIGHUP, and tells the service manager."""

    def __init__(self, manager: PluginRuntimeManager, notifier: Notifier) -> None:
        self._manager = manager
        self._notifier = notifier
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = asyncio.Event()

    def begin(self) -> None:
        """Carry out what was wished for until now, and from now on at once."""
        self._is_open.set()

    def wish(self) -> None:
        """Begin a reload, which waits for one that is in progress."""
        task = asyncio.create_task(self._reload(), name="vconnect reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        await self._is_open.wait()
        # In one datagram: the service manager takes no time stamp that comes later.
        now_us = time.monotonic_ns() // 1000
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={now_us}", "STATUS=reloading")
        try:
            await self._manager.reload(by="a signal")
        except VConnectError as error:
            _log.error("cannot reload: %s; the old settings stay in force", error)
        finally:
            # Whatever came of it: it waits for this.
            self._notifier.tell("READY=1", f"STATUS={_readiness(self._manager)}")


def _set_log_level(settings: Settings) -> None:
    logging.getLogger("vconnect").setLevel(logging.DEBUG if settings.debug else logging.INFO)


async def _work(manager: PluginRuntimeManager, notifier: Notifier, reloads: _Reloads) -> None:
    """Serve until cancelled, or until a required plugin is in a crash loop."""
    if manager.settings.otel:
        manager.trace_with()
    async with manager:
        admin = _admin_server(manager)
        await admin.start()
        if admin.url is not None:
            _log.info("dashboard: %s (logs in once, within a minute)", admin.login_url)
        reloads.begin()
        assert manager.required_lost is not None, "the manager is open"
        try:
            await _serve_with_signs_of_life(manager, notifier, manager.required_lost)
        finally:
            notifier.tell("STOPPING=1", "STATUS=stopping the plugins")
            await manager.close()  # before the administration socket, which shows the progress
            await admin.stop()


def _admin_server(manager: PluginRuntimeManager) -> AdminServer:
    settings = manager.settings
    return AdminServer(
        manager,
        settings.admin_socket,
        http=settings.http,
        token_file=settings.http_token_file,
        view_token_file=settings.http_view_token_file,
        no_token=settings.http_no_token,
    )


async def _serve_with_signs_of_life(
    manager: PluginRuntimeManager, notifier: Notifier, required_lost: asyncio.Future[str]
) -> None:
    """Start the plugins, notify the service manager, and serve."""
    signs = asyncio.create_task(_show_life(notifier), name="vconnect signs of life")
    starts = asyncio.create_task(manager.start_all(), name="vconnect starts")
    try:
        # A required plugin may crash while others still start, perhaps for minutes.
        first: set[asyncio.Future[Any]] = {starts, required_lost}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if starts.done():
            await starts
            notifier.tell("READY=1", f"STATUS={_readiness(manager)}")
            _log.info("%s; to list them, use: vconnect list", _readiness(manager))
            _forget_what_stays()
        plugin = await required_lost
        _log.error("plugin %s is required and in a crash loop: stopping the host", plugin)
    finally:
        gc.unfreeze()
        for task in (signs, starts):
            task.cancel()
        # Cancelled starts must have ended before the manager closes.
        await asyncio.wait([signs, starts])


def _forget_what_stays() -> None:
    """Take what is there now from the garbage collector: it stays until the end.

    Going over all modules and classes again would pause the loop for ten milliseconds or more,
    each time that plugins have made the host create enough objects.
    """
    gc.collect()
    gc.freeze()


async def _show_life(notifier: Notifier) -> None:
    """Show the service manager's watchdog that this loop is running."""
    interval = notifier.watchdog_interval
    # Without a watchdog the task ends at once.
    while interval is not None:
        notifier.tell("WATCHDOG=1")
        await asyncio.sleep(interval)


def _readiness(manager: PluginRuntimeManager) -> str:
    summaries = manager.runtime_summaries()
    running = sum(summary.status is PluginStatus.RUNNING for summary in summaries)
    return f"{running} of {len(summaries)} plugin(s) running"


@contextmanager
def _host_log(level: int, log_format: LogFormat = "text") -> Iterator[None]:
    """Write the host's log to stderr inside a ``with`` block; flush it at the end."""
    if sys.stderr is None:  # the parent process closed it
        yield
        return
    # The descriptor, not the file object: its buffer could block, and is not ours to flush.
    handler = HostHandler(sys.stderr.fileno())
    # NO_COLOR is a convention of command-line programs, see no-color.org.
    colored = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    formatter = JsonFormatter() if log_format == "json" else HostFormatter(colored=colored)
    handler.setFormatter(formatter)
    log, loop_log = logging.getLogger("vconnect"), logging.getLogger("asyncio")
    log.handlers = [handler]
    # The root logger's handlers, if any, would print every line a second time.
    log.propagate = False
    log.setLevel(level)
    loop_log.addHandler(handler)
    try:
        yield
    finally:
        log.handlers = []
        loop_log.removeHandler(handler)
        handler.close()
