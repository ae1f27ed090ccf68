"""A host for one plugin while it is being written, with the terminal left to the plugin."""

# A host starts its plugins without a terminal and in sessions of their own, where no debugger
# works. So the plugin is a child of this command, in its terminal, and attaches to the host by
# itself, as a plugin does that another program has started.

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from vconnect.admin.servers.server import AdminServer
from vconnect.dispatch.results import Outcome, PluginResult
from vconnect.host.manager import PluginRuntimeManager
from vconnect.names import PLUGIN_NAME_VARIABLE
from vconnect.packages.command import dev_command, host_arguments
from vconnect.sources.scan import Source
from vconnect.sources.watch import SourceWatch

from .output import clean

# Longer than anybody looks at a breakpoint. Seconds.
_NO_DEADLINE = 7 * 86400.0
_LOOK_INTERVAL = 0.2
_GRACE_S = 3.0
_SHOWN_CHARS = 400


class _Shown(PluginRuntimeManager):
    """A manager that prints each event with its answer."""

    def __init__(self, is_running: Callable[[], bool], **settings: Any) -> None:
        super().__init__(**settings)
        self._is_running = is_running

    async def emit(
        self, event: str, payload: Any, *, timeout: float | None = None, trace: str | None = None
    ) -> Outcome:
        outcome = await super().emit(event, payload, timeout=timeout, trace=trace)
        for result in outcome.results:
            _print_answer(event, result)
        if not outcome.results:
            why = "does not want it" if self._is_running() else "is not running"
            click.echo(clean(f"{_now()} {event}: the plugin {why}"))
        return outcome

    async def request_result(
        self,
        plugin: str,
        event: str,
        payload: Any,
        *,
        timeout: float | None = None,
        trace: str | None = None,
    ) -> PluginResult:
        result = await super().request_result(plugin, event, payload, timeout=timeout, trace=trace)
        _print_answer(event, result)
        return result


def _print_answer(event: str, result: PluginResult) -> None:
    answer = json.dumps(result.data, ensure_ascii=False) if result.ok else f"error: {result.error}"
    if len(answer) > _SHOWN_CHARS:
        answer = answer[:_SHOWN_CHARS] + "…"
    click.echo(clean(f"{_now()} {event} → {result.duration_ms:.1f} ms {answer}"))


def _how(code: int) -> str:
    """Say how a process has ended, from its exit code as `subprocess` has it."""
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _now() -> str:
    return time.strftime("%H:%M:%S")


class _Ending:
    """Ends the command in order when a signal asks for it that is not Ctrl-C.

    Attributes:
        number: The first signal; 0 if there was none.
        work: What it cancels; ``None`` before the event loop runs.
    """

    def __init__(self) -> None:
        self.number = 0
        self.work: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Hear SIGTERM, and SIGHUP unless it is ignored, as by ``nohup``."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hear)

    def _hear(self, number: int, _: object) -> None:
        # A window that is closed may send it twice, which must not end the end.
        if self.number:
            return
        self.number = number
        if self.work is None:
            raise KeyboardInterrupt
        self.work.cancel()
        self.work.get_loop().call_soon_threadsafe(lambda: None)  # wakes it up


def develop(name: str, path: Path, *, debug: bool = False) -> int:
    """Run a plugin until Ctrl-C, SIGTERM or SIGHUP; return the exit code."""
    command = dev_command(name, path)
    ending = _Ending()
    ending.listen()
    with (
        suppress(KeyboardInterrupt, asyncio.CancelledError),
        tempfile.TemporaryDirectory(prefix="vconnect-dev-") as made,
    ):
        place = Path(made).resolve()
        arguments = host_arguments(str(place / "runtime.sock"), debug, None)
        child = _Child(name, path, [*command, *arguments])
        asyncio.run(_develop(name, child, place, ending))
    return 128 + (ending.number or signal.SIGINT)


async def _develop(name: str, child: _Child, place: Path, ending: _Ending) -> None:
    ending.work = asyncio.current_task()
    manager = _Shown(
        lambda: child.is_alive,
        plugin_dir=str(place / "plugins"),
        socket_path=str(place / "runtime.sock"),
        allow_external=True,
        event_timeout=_NO_DEADLINE,
        chain_timeout=_NO_DEADLINE,
        heartbeat=_NO_DEADLINE,
        breaker_failures=0,
    )
    async with manager:
        admin = AdminServer(manager, place / "admin.sock", http="127.0.0.1:0")
        await admin.start()
        try:
            await child.start()
            running = await _until_attached(manager, name, child)
            _print_beginning(running, child, place / "admin.sock", admin.login_url)
            await child.keep()
        finally:
            await child.end()
            await admin.stop()


async def _until_attached(
    manager: PluginRuntimeManager, name: str, child: _Child
) -> tuple[str, str, tuple[str, ...]]:
    """Wait for the plugin; return its name, version and capabilities."""
    while child.is_alive:
        for summary in manager.runtime_summaries():
            if summary.serving:
                return summary.name, summary.version, summary.capabilities
        await asyncio.sleep(0.05)
    return name, "", ()


def _print_beginning(
    running: tuple[str, str, tuple[str, ...]], child: _Child, admin: Path, url: str | None
) -> None:
    name, version, capabilities = running
    if not child.is_alive:
        return
    event = next((one for one in capabilities if "*" not in one and "." in one), "message.incoming")
    click.echo(clean(f"{name} {version}".rstrip() + f" runs (pid {child.pid}). Send an event:"))
    click.echo(clean(f'  vconnect emit {event} \'{{"content": "hello"}}\' --admin {admin}'))
    click.echo(f"Dashboard: {url}  (logs in once, within a minute)")


class _Child:
    """The plugin's process, which is started again when its files change."""

    def __init__(self, name: str, path: Path, command: list[str]) -> None:
        self._name = name
        self._path = path
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._is_told = False

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its PID; 0 before the first start."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start it, with this terminal."""
        # Colors and line ends as on a terminal, which it has.
        environment = {**os.environ, PLUGIN_NAME_VARIABLE: self._name, "PYTHONUNBUFFERED": "1"}
        self._is_told = False
        self._process = subprocess.Popen(  # noqa: ASYNC220 - a moment, and it must have the terminal
            self._command, cwd=self._path, env=environment
        )

    async def keep(self) -> None:
        """Start it again whenever a file is saved, for ever."""
        watch = SourceWatch()
        began = time.time()
        try:
            while True:
                changes, _ = await asyncio.to_thread(
                    watch.look, {Source(self._name, self._path): began}
                )
                if changes:
                    files = ", ".join(changes[self._name].files[:3])
                    click.echo(clean(f"{_now()} saved: {files}; starting again"))
                    await self.end()
                    began = time.time()
                    await self.start()
                self._tell_end()
                await asyncio.sleep(_LOOK_INTERVAL)
        finally:
            watch.close()

    def _tell_end(self) -> None:
        if self.is_alive or self._process is None or self._is_told:
            return
        self._is_told = True
        click.echo(
            f"{_now()} the plugin has ended {_how(self._process.returncode)}; save a file to start "
            "it again, or press Ctrl-C",
            err=True,
        )

    async def end(self) -> None:
        """End it: SIGTERM, and SIGKILL if it does not obey."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        until = time.monotonic() + _GRACE_S
        try:
            while process.poll() is None and time.monotonic() < until:
                await asyncio.sleep(0.02)
        finally:  # also if a second Ctrl-C interrupts this
            if process.poll() is None:
                process.kill()
                process.wait()
        # A debugger may have left the terminal without echo.
        if sys.stdin is not None and sys.stdin.isatty():
            subprocess.run(["stty", "sane"], stdin=sys.stdin, check=False)  # noqa: ASYNC221
