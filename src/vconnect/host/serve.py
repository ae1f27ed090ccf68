"""``vconnect serve``: one manager, its administration socket, its signals and its log."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vconnect.admin.server import AdminServer
from vconnect.errors import ConfigError
from vconnect.logs.host_log import HostFormatter, HostHandler
from vconnect.plugins.status import PluginStatus
from vconnect.settings.load import Settings

from .manager import PluginRuntimeManager
from .systemd import Notifier

if TYPE_CHECKING:
    from rich.progress import Progress

    from .guardian import Lifeline

EXIT_REQUIRED_LOST = 1
EXIT_KILLED = 130
EXIT_UNGUARDED = 1

_log = logging.getLogger(__name__)


def serve(settings: Settings, lifeline: Lifeline | None = None) -> int:
    """Run a host in the foreground until SIGTERM, SIGHUP or Ctrl-C.

    The first signal stops every plugin in order, the second kills them, the third ends the
    process on the spot.

    Args:
        settings: The host's.
        lifeline: To its guardian; the host ends in order when the guardian dies.

    Returns:
        The process's exit code: 0; 130 after a second signal; 1 if the guardian died, or a plugin
        that the operator requires is in a crash loop.

    Raises:
        VConnectError: The host cannot begin: its socket, a dev plugin or a package is wrong.
    """
    with _host_log(logging.DEBUG if settings.debug else logging.INFO):
        runner = asyncio.Runner(loop_factory=loop_factory(settings.uvloop))
        try:
            return runner.run(_serve(settings, lifeline))
        finally:
            _close(runner)


def _close(runner: asyncio.Runner) -> None:
    """Close the loop, also where the machine has no thread in which asyncio waits for others."""
    try:
        runner.close()
    except RuntimeError as error:
        _log.warning("not waiting for threads that still work: %s", error)


async def _serve(settings: Settings, lifeline: Lifeline | None) -> int:
    bar = DownloadBar()
    manager = PluginRuntimeManager(
        settings,
        progress=bar if sys.stderr.isatty() else None,
        guardian_pid=lifeline.guardian_pid if lifeline is not None else None,
    )
    work = asyncio.current_task()
    assert work is not None
    with _Interrupts(work, manager, lifeline).handled() as interrupts:
        try:
            await _work(manager, Notifier(os.environ))
        except asyncio.CancelledError:
            if not interrupts.count:
                raise
        else:
            return EXIT_REQUIRED_LOST
        finally:
            bar.close()
    return interrupts.exit_code


async def _work(manager: PluginRuntimeManager, notifier: Notifier) -> None:
    """Serve until cancelled, or until a plugin is lost that the operator requires."""
    async with manager:
        admin = AdminServer(manager, manager.settings.admin_socket)
        await admin.start()
        assert manager.required_lost is not None, "the manager is open"
        try:
            await _serve_with_signs_of_life(manager, notifier, manager.required_lost)
        finally:
            notifier.tell("STOPPING=1", "STATUS=stopping the plugins")
            await manager.close()  # before the administration socket, which tells how it goes
            await admin.stop()


async def _serve_with_signs_of_life(
    manager: PluginRuntimeManager, notifier: Notifier, required_lost: asyncio.Future[str]
) -> None:
    """Start the plugins, tell the service manager, and serve."""
    signs = asyncio.create_task(_show_life(notifier), name="vconnect signs of life")
    starts = asyncio.create_task(manager.start_all(), name="vconnect starts")
    try:
        first: set[asyncio.Future[Any]] = {starts, required_lost}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if starts.done():
            await starts
            notifier.tell("READY=1", f"STATUS={_readiness(manager)}")
            _log.info("%s; to look at them: vconnect list", _readiness(manager))
        plugin = await required_lost
        _log.error("plugin %s is required and in a crash loop: the host ends", plugin)
    finally:
        for task in (signs, starts):
            task.cancel()
        await asyncio.wait([signs, starts])


async def _show_life(notifier: Notifier) -> None:
    """Tell the service manager's watchdog that this loop turns."""
    interval = notifier.watchdog_interval
    while interval is not None:
        notifier.tell("WATCHDOG=1")
        await asyncio.sleep(interval)


def _readiness(manager: PluginRuntimeManager) -> str:
    summaries = manager.runtime_summaries()
    running = sum(summary.status is PluginStatus.RUNNING for summary in summaries)
    return f"{running} of {len(summaries)} plugin(s) running"


class _Interrupts:
    """What asks for the end, and what each time does: a signal, or the guardian's death.

    Attributes:
        count: How often it was asked for.
        exit_code: What the process ends with.
    """

    def __init__(
        self,
        work: asyncio.Task[object],
        manager: PluginRuntimeManager,
        lifeline: Lifeline | None,
    ) -> None:
        self.count = 0
        self.exit_code = 0
        self._work = work
        self._manager = manager
        self._lifeline = lifeline

    @contextmanager
    def handled(self) -> Iterator[_Interrupts]:
        """Take the signals over, for the length of a ``with`` block."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._interrupt, number)
        if self._lifeline is not None:
            self._lifeline.watch(loop, self._guardian_lost)
        try:
            yield self
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
            if self._lifeline is not None:
                self._lifeline.close()

    def _interrupt(self, number: signal.Signals) -> None:
        if self._lifeline is not None and self._lifeline.is_echo(number):
            return
        self.count += 1
        if self.count == 1:
            _log.info("%s: stopping the plugins; once more kills them", number.name)
            self._work.cancel()
        elif self.count == 2:
            _log.warning("%s again: killing the plugins", number.name)
            self.exit_code = EXIT_KILLED
            self._manager.kill_all()
        else:
            os._exit(EXIT_KILLED)

    def _guardian_lost(self) -> None:
        """End in order: a host that is killed from now on would leave its plugins behind."""
        self.exit_code = self.exit_code or EXIT_UNGUARDED
        if not self.count:
            self.count = 1
            _log.error("the guardian has ended: stopping the plugins; a signal kills them")
            self._work.cancel()


def loop_factory(wanted: bool | None) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Choose the event loop.

    Args:
        wanted: ``True`` for uvloop, ``False`` for asyncio's own, ``None`` for uvloop if it is
            installed.

    Raises:
        ConfigError: uvloop is wanted and not installed.
    """
    if wanted is False:
        return None
    try:
        import uvloop
    except ImportError:
        if wanted is None:
            return None
        raise ConfigError(
            "uvloop is not installed; install it (pip install uvloop), or run with --no-uvloop"
        ) from None
    return uvloop.new_event_loop


@contextmanager
def _host_log(level: int) -> Iterator[None]:
    """Write the host's log to stderr for the length of a ``with`` block; flushed at its end."""
    if sys.stderr is None:  # closed by whoever started us
        yield
        return
    handler = HostHandler(sys.stderr.fileno())
    colored = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(HostFormatter(colored=colored))
    log, loop_log = logging.getLogger("vconnect"), logging.getLogger("asyncio")
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(level)
    loop_log.addHandler(handler)
    try:
        yield
    finally:
        log.handlers = []
        loop_log.removeHandler(handler)
        handler.close()


class DownloadBar:
    """A progress bar on the terminal, for one package after the other."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show ``done`` bytes of ``total``; the bar goes when all are there."""
        if self._progress is None:
            self._progress = _new_bar()
            self._progress.add_task("downloading", total=total)
            self._progress.start()
        task = self._progress.task_ids[0]
        self._progress.update(task, completed=done, total=total)
        if done == total:
            self.close()

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
