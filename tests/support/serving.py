"""``vconnect serve`` as a process, around the plugins of a lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from tests.support.lab import MEASURING, PATIENCE_FACTOR, Lab
from tests.support.nobody import AS_NOBODY, NOBODY

VCONNECT = (sys.executable, "-m", "vconnect")
DEADLINE_S = 30.0 * PATIENCE_FACTOR


class Serve:
    """A host in the foreground, in a session of its own.

    Args:
        before: Words before the command, such as ``nohup``.
        environ: Variables that the host has besides ours.

    Attributes:
        process: What was started: the host's guardian, or the host itself without one.
    """

    def __init__(
        self,
        lab: Lab,
        *options: str,
        stderr: int | None = None,
        before: tuple[str, ...] = (),
        environ: dict[str, str] | None = None,
    ) -> None:
        self.log = lab.directory / "log"
        self._lab = lab
        places = ("--plugin-dir", str(lab.plugins), "--socket", str(lab.socket))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*before, *VCONNECT, "serve", *places, *options],
                cwd=lab.directory,
                env={**os.environ, **_measured(), **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log if stderr is None else stderr,
                start_new_session=True,
            )

    def __enter__(self) -> Serve:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(DEADLINE_S)

    def host_pid(self) -> int:
        """The host's own PID, as its lock file has it."""
        lock = self._lab.socket.with_name(self._lab.socket.name + ".lock")
        end = time.monotonic() + DEADLINE_S
        while not (lock.exists() and lock.read_text().endswith("\n")):
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)
        return int(lock.read_text())

    def kill_host(self) -> None:
        os.kill(self.host_pid(), signal.SIGKILL)
        assert self.ends() in (128 + signal.SIGKILL, -signal.SIGKILL)

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        admin = self._lab.socket.with_name("admin.sock")
        # In /tmp, root does not trust a host of another user's.
        words = AS_NOBODY if self._lab.directory.stat().st_uid == NOBODY else ()
        return subprocess.run(
            [*words, *VCONNECT, "--admin", str(admin), *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def status(self, plugin: str) -> dict:
        return json.loads(self.ask("status", plugin, "--json").stdout)

    def wait_until(self, plugin: str, status: str) -> dict:
        end = time.monotonic() + DEADLINE_S
        while (told := self.status(plugin)).get("status") != status:
            assert time.monotonic() < end, (told, self.log.read_text())
            time.sleep(0.05)
        return told

    def wait_for_log(self, text: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while text not in self.log.read_text():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def ends(self) -> int:
        return self.process.wait(DEADLINE_S)


def wait_until(
    condition: Callable[[], object], what: str = "the condition", patience: float = DEADLINE_S
) -> float:
    """Wait until ``condition()`` holds, and return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience, f"waited {patience} s in vain for {what}"
        time.sleep(0.005)
    return time.monotonic() - began


def _measured() -> dict[str, str]:
    """Let the plugins of the host be measured, if this process is."""
    return {"VCONNECT_INHERIT_ENV": ",".join(MEASURING)} if MEASURING else {}
