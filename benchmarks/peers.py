"""The processes at the other end of the socket: built once, started often, never left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from .placement import Cores, Placement

_SOURCES = Path(__file__).parent
_C_FLAGS = ("-O2", "-Wall", "-Wextra")
#: A program that has not ended this long after it was told to is killed. Seconds.
_GRACE = 2.0


class Peers:
    """Builds the programs into a temporary directory and ends all that it started; a context."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="vconnect-bench-"))
        self._sockets = 0
        self._running: list[subprocess.Popen[str]] = []
        self._cores = Cores()
        self._placement = Placement.ONE_CORE
        self._compiler = shutil.which(os.environ.get("CC", "cc"))

    def __enter__(self) -> Peers:
        try:
            if self.compiled:
                for name in ("echo", "host"):
                    self._compile(name)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def compiled(self) -> bool:
        """Whether they are C; without a compiler the plugin is Python and there is no floor."""
        return self._compiler is not None

    def close(self) -> None:
        """End every process and remove the directory."""
        self._end(self._running)
        shutil.rmtree(self._directory, ignore_errors=True)

    def can_place(self, placement: Placement) -> bool:
        """Tell whether this machine has the cores for it."""
        return self._cores.allow(placement)

    @contextmanager
    def placed(self, placement: Placement) -> Iterator[None]:
        """Choose the cores of this process and of all plugins that are started meanwhile."""
        self._placement = placement
        with self._cores.hold_host():
            yield

    def socket_path(self) -> Path:
        """Return a path for a socket that nobody uses yet."""
        self._sockets += 1
        return self._directory / f"{self._sockets}.sock"

    @contextmanager
    def echoes(self, socket: Path, capabilities: dict[str, Sequence[str]]) -> Iterator[None]:
        """Run one echo plugin for each name, with these capabilities; a host listens already."""
        command = [str(self._program("echo"))]
        if not self.compiled:
            command = [sys.executable, str(_SOURCES / "echo.py")]
        started = []
        try:
            for name, events in capabilities.items():
                options = ["--name", name, "--capabilities", orjson.dumps(events).decode()]
                plugin = self._start([*command, "--socket", str(socket), *options])
                self._cores.put_plugin(plugin.pid, self._placement)
                started.append(plugin)
            yield
        finally:
            self._end(started)

    @contextmanager
    def c_host(self, socket: Path, event: bytes) -> Iterator[subprocess.Popen[str]]:
        """Run the C host, which serves one plugin; when this yields, it listens."""
        host = self._start(
            [str(self._program("host")), "--socket", str(socket), "--event", event.decode()]
        )
        try:
            assert host.stdout is not None
            host.stdout.readline()
            yield host
        finally:
            self._end([host])

    def _program(self, name: str) -> Path:
        return self._directory / name

    def _compile(self, name: str) -> None:
        assert self._compiler is not None
        source = str(_SOURCES / f"{name}.c")
        subprocess.run(
            [self._compiler, *_C_FLAGS, "-o", str(self._program(name)), source], check=True
        )

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        # A group of its own: Ctrl-C is for us, and we end the others.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            env={"PATH": os.defpath},
        )
        self._running.append(process)
        return process

    def _end(self, processes: list[subprocess.Popen[str]]) -> None:
        for process in list(processes):
            process.terminate()
        for process in list(processes):
            try:
                process.communicate(timeout=_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            if process in self._running:
                self._running.remove(process)
