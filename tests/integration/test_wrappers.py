"""Plugins that are not the process that was started, and programs that are not ready to start."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.cgroup_kit import both_ways
from tests.support.lab import ECHO, Lab, is_alive, relatives, until

from vconnect.errors import PluginStartError

pytestmark = [
    pytest.mark.both_loops,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and setsid(1)"),
]

# As `script`, `unbuffer` and `sudo` do: the command gets a session of its own.
WRAPPED = """
if sys.argv[-1] == "real":
    serve()
else:
    sys.exit(subprocess.run(["setsid", "--wait", *sys.argv, "real"]).returncode)
"""
DAEMON = """
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
time.sleep(0.3)
serve()
time.sleep(60)
"""


@both_ways
async def test_a_plugin_in_a_session_below_its_wrapper_is_ours(lab: Lab, cgroup: str) -> None:
    lab.plugin("wrapped", WRAPPED)
    async with lab.manager(cgroup=cgroup, env={"LAB": str(lab.directory)}) as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin("wrapped")
        assert await runtime.request("wrapped", "e", 1) == {"echo": 1}
        await runtime.stop_plugin("wrapped")
        await until(lambda: not relatives(lab), "the end of all")


def kill_relatives(lab: Lab) -> list[int]:
    """Kill those that are there; return them. A daemon that is still starting comes later."""
    found = relatives(lab)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


@both_ways
async def test_a_daemon_is_told_to_stay_in_the_foreground(
    lab: Lab, cgroup: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab.plugin("daemon", DAEMON)
    async with lab.manager(cgroup=cgroup, env={"LAB": str(lab.directory)}) as runtime:
        await runtime.discover_plugins()
        with pytest.raises(PluginStartError) as caught:
            await runtime.start_plugin("daemon")
        told = "it went into the background, but must run in the foreground" in str(caught.value)
        # In its cgroup it is seen and ended at once; so it is before it has left the session.
        assert told or cgroup == "off"
        if not told:  # it is met when it connects
            words = "went into the background; run it in the foreground"
            await until(lambda: words in caplog.text, "its refusal")
            await runtime.stop_plugin("daemon")  # or the next one is started meanwhile
        # Again and again: one that was being forked is seen only later.
        await until(lambda: not (relatives(lab) if told else kill_relatives(lab)), "the end of all")


async def test_a_stopped_plugin_is_woken_to_end(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager(stop_timeout=10.0) as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin("echo")
        pid = runtime.summary("echo").pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        await runtime.stop_plugin("echo")
        assert time.monotonic() - began < 5
        assert runtime.summary("echo").exit_signal != "SIGKILL"
        assert not is_alive(pid)


async def test_a_program_that_is_still_written_starts_when_it_is_done(lab: Lab) -> None:
    """As by a linker or ``cp``, at the moment of a restart."""
    directory = lab.plugin("binary", "")
    program = directory / "binary"
    program.unlink()
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    program.chmod(0o755)
    async with lab.manager(restart="always", handshake_timeout=30.0) as runtime:
        await runtime.discover_plugins()
        with program.open("r+b"):
            with pytest.raises(PluginStartError, match="it is still being written"):
                await runtime.start_plugin("binary")
            await asyncio.sleep(0.1)
            assert runtime.summary("binary").status == "Error"
        began = time.monotonic()
        # It is `sleep`, which complains of its arguments: but it has been executed.
        await until(lambda: "exited" in runtime.summary("binary").reason, "its start")
        assert time.monotonic() - began < 2
        assert Path(program).exists()
