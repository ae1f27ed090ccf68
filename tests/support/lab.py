"""Real plugins from a few lines of code, and a real manager around them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

from vconnect import PluginRuntimeManager, Settings

PLUGINS = Path(__file__).parent.parent / "plugins"
# A machine that is emulated takes longer for everything.
PATIENCE_FACTOR = float(os.environ.get("TEST_PATIENCE", "1"))
PATIENCE_S = 20.0 * PATIENCE_FACTOR

ECHO = "serve()"
"""A plugin that answers every event with ``{"echo": payload}``."""

STUBBORN = """
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
serve()
time.sleep(300)
"""
"""One that ends neither when it is asked to nor with its connection."""

ORDERLY = """
def note(what):
    with open("../../order", "a") as order:
        order.write(f"{what} {os.environ['VCONNECT_PLUGIN_NAME']}\\n")
def end(*_):
    time.sleep(0.1)
    note("end")
    os._exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
time.sleep(0.1)
note("begin")
serve()
time.sleep(300)
"""
"""One that ends when it is asked to, slow at both ends; `Lab.order` has what it writes down."""

ESCAPE = """
def escape(stubborn=False):
    code = '''
import os, signal, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if {stubborn}:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
with open("escaped.new", "w") as file:
    print(os.getpid(), file=file)
os.replace("escaped.new", "escaped")
time.sleep(600)
'''.replace("{stubborn}", str(stubborn))
    subprocess.run([sys.executable, "-c", code])
    while not os.path.exists("escaped"):
        time.sleep(0.01)
"""
"""Gives plugins `escape`: somebody leaves session and group, and may ignore what is polite."""

HOG = """
if not os.path.exists("been-here"):
    open("been-here", "w").close()
    code = "import time; held = bytearray(b'x') * (96 << 20); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code])
serve()
"""
"""One whose child has 96 MiB, but only in its first generation."""


class Lab:
    """A directory with a ``plugin_dir`` and a place for sockets, whose paths are short.

    Attributes:
        plugins: The ``plugin_dir``.
        socket: Where the manager of this lab listens.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plugins = directory / "plugins"
        self.socket = directory / "run" / "host.sock"

    @property
    def state(self) -> Path:
        """The state directory of the host with this lab's socket."""
        settings = Settings(plugin_dir=str(self.plugins), socket_path=str(self.socket))
        return settings.state_directory

    def plugin(self, name: str, code: str, **manifest: Any) -> Path:
        """Install a plugin that runs ``code`` with everything of ``wire.py`` at hand."""
        return self.source(name, code, **manifest)

    def source(self, name: str, code: str, *, below: str = "plugins", **manifest: Any) -> Path:
        """Write a plugin's directory; its program is called by the plugin's name."""
        directory = self.directory / below / name
        directory.mkdir(parents=True, exist_ok=True)
        self.script(directory / name, code)
        (directory / "plugin.json").write_text(json.dumps({"name": name, **manifest}))
        return directory

    def script(self, path: Path, code: str) -> None:
        """Write an executable in Python."""
        prelude = (
            f"#!{sys.executable}\n"
            "import os, signal, subprocess, sys, time\n"
            f"sys.path.insert(0, {str(PLUGINS)!r})\n"
            "from wire import *\n"
        )
        path.write_text(prelude + dedent(code) + "\n")
        path.chmod(0o755)

    def order(self) -> list[str]:
        """Return who began and who ended, one after the other: ``begin NAME``, ``end NAME``."""
        return (self.directory / "order").read_text().splitlines()

    @asynccontextmanager
    async def manager(self, **options: Any) -> AsyncIterator[PluginRuntimeManager]:
        """Run a manager, with short timeouts unless ``options`` say otherwise."""
        defaults: dict[str, Any] = {
            "plugin_dir": self.plugins,
            "socket_path": self.socket,
            "handshake_timeout": 10.0,
            "stop_timeout": 2.0,
            "restart": "never",
            "cgroup": os.environ.get("VCONNECT_CGROUP", "auto"),
        }
        if MEASURING:
            defaults["inherit_env"] = MEASURING
        async with PluginRuntimeManager(**(defaults | options)) as runtime:
            yield runtime


#: Names of the variables by which coverage reaches a child; plugins inherit few others.
MEASURING = tuple(name for name in os.environ if name.startswith("COVERAGE_"))


@contextmanager
def new_lab() -> Iterator[Lab]:
    directory = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp")).resolve()
    try:
        yield Lab(directory)
    finally:
        shutil.rmtree(directory)


async def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait until ``condition()`` holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S} s in vain for {what}"
        await asyncio.sleep(0.005)


async def until_status(runtime: PluginRuntimeManager, plugin: str, status: str) -> Any:
    """Wait for a plugin's status, and return its summary."""
    await until(lambda: runtime.summary(plugin).status == status, f"{plugin} {status}")
    return runtime.summary(plugin)


async def sampled(runtime: PluginRuntimeManager, plugin: str, times: int = 1) -> None:
    """Wait until the host has looked at a plugin so many times more, which it does each second.

    The plugin must run and be asked nothing meanwhile: each look moves its last heartbeat.
    """
    for _ in range(times):
        before = runtime.summary(plugin).last_heartbeat
        await until(
            lambda before=before: runtime.summary(plugin).last_heartbeat != before,
            f"a look at {plugin}",
        )


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    if sys.platform == "linux":
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def relatives(lab: Lab) -> list[int]:
    """List every living process that has the lab's mark, whatever its parent and session.

    The mark is ``LAB`` in its environment, the lab's directory. Linux only.
    """
    mark = f"LAB={lab.directory}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark in environ.split(b"\0") and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found


async def pid_in(file: Path) -> int:
    """Wait for a file that holds a PID."""
    await until(lambda: file.exists() and file.read_text().endswith("\n"), f"{file.name}")
    return int(file.read_text())
