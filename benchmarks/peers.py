"""The processes at the other end of the socket: built once, started often, never left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import orjson

from .placement import Cores, Placement

Process = subprocess.Popen[str]

_SOURCES = Path(__file__).parent
_C_FLAGS = ("-O2", "-Wall", "-Wextra")
_PROGRAMS = ("echo", "host", "reflect")
_LINUX_PROGRAMS = ("fan", "crowd")  # they use epoll
#: A program that has not ended this long after it was told to is killed. Seconds.
_GRACE = 2.0


class Peers:
    """Builds the programs into a temporary directory and ends all that it started; a context."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="vconnect-bench-"))
        self._sockets = 0
        self._running: list[Process] = []
        self._cores = Cores()
        self._placement = Placement.ONE_CORE
        self._compiler = shutil.which(os.environ.get("CC", "cc"))
        self._programs = _PROGRAMS + (_LINUX_PROGRAMS if sys.platform == "linux" else ())

    def __enter__(self) -> Peers:
        try:
            if self.compiled:
                for name in self._programs:
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

    def lacks(self, needs: Sequence[str]) -> list[str]:
        """Return what of these cannot be had here: our programs by name, or Python modules."""
        return [name for name in needs if not self._has(name)]

    def _has(self, name: str) -> bool:
        if name in _PROGRAMS + _LINUX_PROGRAMS:
            return self.compiled and name in self._programs
        return find_spec(name) is not None

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
    def echoes(
        self, socket: Path, capabilities: Mapping[str, Sequence[str]], *, reflect: bool = False
    ) -> Iterator[None]:
        """Run one echo plugin for each name, with these capabilities; a host listens already."""
        command = [str(self.program("echo")), "--reflect", str(int(reflect))]
        if not self.compiled:
            command = [sys.executable, str(_SOURCES / "echo.py")]
        started = []
        try:
            for name, events in capabilities.items():
                options = ["--name", name, "--capabilities", orjson.dumps(events).decode()]
                started.append(self._start_plugin([*command, "--socket", str(socket), *options]))
            yield
        finally:
            self._end(started)

    @contextmanager
    def plugin(self, name: str, socket: Path, **options: object) -> Iterator[Process]:
        """Run a program of ours, or a script here (``NAME.py``), as the plugin's side."""
        command = [str(self.program(name))]
        if name.endswith(".py"):
            command = [sys.executable, str(_SOURCES / name)]
        process = self._start_plugin([*command, *_options(socket=socket, **options)])
        try:
            yield process
        finally:
            self._end([process])

    @contextmanager
    def host(self, name: str, socket: Path, **options: object) -> Iterator[Process]:
        """Run a program as the host's side; when this yields, it listens."""
        process = self._start([str(self.program(name)), *_options(socket=socket, **options)])
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            self._end([process])

    def program(self, name: str) -> Path:
        """Return where a program of ours is."""
        return self._directory / name

    def run_here(self, module: str, socket: Path, **options: object) -> str:
        """Run a module of ours to its end, beside this process, and return what it printed."""
        command = [sys.executable, "-m", f"{__package__}.{module}"]
        process = self._start([*command, *_options(socket=socket, **options)], _SOURCES.parent)
        output, _ = process.communicate()
        self._running.remove(process)
        if process.returncode:
            raise RuntimeError(f"{module} ended with {process.returncode}")
        return output

    def _compile(self, name: str) -> None:
        assert self._compiler is not None
        source = str(_SOURCES / f"{name}.c")
        output = str(self.program(name))
        subprocess.run([self._compiler, *_C_FLAGS, "-o", output, source], check=True)

    def _start_plugin(self, command: list[str]) -> Process:
        plugin = self._start(command)
        self._cores.put_plugin(plugin.pid, self._placement)
        return plugin

    def _start(self, command: list[str], directory: Path | None = None) -> Process:
        # A group of its own: Ctrl-C is for us, and we end the others.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            cwd=directory,
            env={"PATH": os.defpath},
        )
        self._running.append(process)
        return process

    def _end(self, processes: list[Process]) -> None:
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


def _options(**options: object) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]
