"""A real ``vconnect serve`` process with two plugins, for the tests of the edges."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VCONNECT = (sys.executable, "-m", "vconnect")
PLUGINS = Path(__file__).parents[1] / "plugins"
SECRET = "hunter2-of-the-tests"
DEADLINE = 30.0

CONFIG = """
[plugins]
plugin_dir = "plugins"
socket_path = "r.sock"
dev_plugins = ["echo:echo", "crash:crash"]
inherit_env = ["PYTHONPATH"]
stop_timeout = 2.0

[plugins.env]
PLUGIN_SECRET = "{secret}"

[plugins.config.echo]
password = "{secret}"
"""


class EdgeHost:
    """A running host in a directory of its own, and the command line to ask it.

    Attributes:
        process: What was started: the host's guardian.
    """

    def __init__(self, directory: Path, loop: str) -> None:
        self.directory = directory
        self.config = directory / "vconnect.toml"
        self.admin = directory / "admin.sock"
        self.log = directory / "host.log"
        self._loop = loop

    def start(self) -> None:
        """Start the process; `wait_for` waits until it answers."""
        command = [*VCONNECT, "serve", "--config", str(self.config), self._loop]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**os.environ, "HOST_SECRET": SECRET},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> int:
        """End the process in order, or hard if it does not; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def vconnect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command against this host."""
        return subprocess.run(
            [*VCONNECT, "--admin", str(self.admin), *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with ``--json`` and return the one value that it prints."""
        done = self.vconnect(*arguments, "--json")
        assert done.returncode == code, (done.stdout, done.stderr, self.log.read_text())
        assert done.stderr == ""
        return json.loads(done.stdout)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until ``condition`` holds; fail with the host's log at the deadline."""
        end = time.monotonic() + DEADLINE
        while not condition():
            words = f"{what} did not come true; the host says:\n{self.log.read_text()}"
            assert self.process.poll() is None, words
            assert time.monotonic() < end, words
            time.sleep(0.05)

    def wait_until_settled(self) -> None:
        """Wait until one plugin runs and the other has failed."""
        self.wait_for(lambda: self.vconnect("status").returncode == 0, "an answer")
        self.wait_for(lambda: self._status("echo") == "Running", "echo runs")
        self.wait_for(lambda: self._status("crash") == "Error", "crash has failed")

    def _status(self, name: str) -> str:
        done = self.vconnect("status", name, "--json")
        return json.loads(done.stdout).get("status", "")


@contextmanager
def edge_host(loop: str) -> Iterator[EdgeHost]:
    """Run a host on ``--uvloop`` or ``--no-uvloop`` until the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp")).resolve()
    for name in ("echo", "crash"):
        (directory / name).mkdir()
        shutil.copy(PLUGINS / f"admin_{name}.py", directory / name / "plugin.py")
        manifest = {"name": name, "description": "<script>alert(1)</script>"}
        (directory / name / "plugin.json").write_text(json.dumps(manifest))
    (directory / "vconnect.toml").write_text(CONFIG.format(secret=SECRET))
    host = EdgeHost(directory, loop)
    host.start()
    try:
        host.wait_until_settled()
        yield host
    finally:
        host.stop()
        shutil.rmtree(directory)
