"""Ends and beginnings of processes that only a full or a hurried host meets."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.support.descriptors import free_descriptors
from tests.support.lab import until

from vconnect.errors import PluginStartError
from vconnect.processes import process as module
from vconnect.processes.process import ExitStatus, LaunchSpec, PluginProcess
from vconnect.processes.procfs import members
from vconnect.processes.tree import ProcessTree

pytestmark = [
    pytest.mark.both_loops,
    pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc"),
]


def spec(*argv: str) -> LaunchSpec:
    return LaunchSpec(plugin="example", argv=argv, directory=Path("/"), environment={})


@pytest.mark.parametrize("count", range(6))
async def test_without_descriptors_a_start_fails_in_words_and_keeps_none(count):
    with free_descriptors(count):
        with pytest.raises(PluginStartError, match=r"example: cannot start .*oo many open files"):
            PluginProcess.spawn(spec("/bin/true"))
        mine = [os.dup(0) for _ in range(count)]  # as many as before
        for fd in mine:
            os.close(fd)


async def test_a_cancelled_end_may_be_called_again():
    process = PluginProcess.spawn(spec("/bin/true"))
    # Dead, and the loop has not heard of it yet: end() waits for the news. It may come at once.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    ending = asyncio.create_task(process.end(1.0, lambda _: None))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])
    async with asyncio.timeout(10):
        assert await process.end(1.0, lambda _: None) == ""
        assert await process.exited == ExitStatus(0, None)


async def test_a_lock_that_is_held_lasts_as_long_as_the_descendants(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_SH)
    code = "sleep 600 & echo $! > pid.new && mv pid.new pid"
    held = LaunchSpec(
        plugin="example",
        argv=("/bin/sh", "-c", code),
        directory=tmp_path,
        environment={"PATH": "/usr/bin:/bin"},
        held=lock,
    )
    process = PluginProcess.spawn(held)
    os.close(lock)  # as when the host is killed
    async with asyncio.timeout(10):
        await process.exited
    other = os.open(tmp_path / "lock", os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        await process.end(1.0, lambda _: None)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


async def test_a_leader_that_does_not_die_is_given_up_and_reaped_when_it_does(monkeypatch):
    """As if it hung in the kernel: no signal reaches it."""
    monkeypatch.setattr(module, "_KILL_PATIENCE_S", 0.1)
    monkeypatch.setattr(module, "_KILL_ROUND_S", 0.05)
    process = PluginProcess.spawn(spec("/bin/sleep", "60"))
    phases: list[signal.Signals] = []
    with monkeypatch.context() as unreachable:
        unreachable.setattr(ProcessTree, "send", lambda *_: False)
        async with asyncio.timeout(10):
            left = await process.end(0.1, phases.append, interrupt=0.05)
    assert phases == [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    assert left.startswith(f"PID {process.pid} (")
    assert left.endswith("sleep) cannot be ended: it does not die of SIGKILL")
    assert process.released.done()
    assert str(await process.exited) == "still running: it cannot be ended"
    assert process.max_rss_bytes is None
    os.kill(process.pid, signal.SIGKILL)
    await until(lambda: process.max_rss_bytes is not None, "its end to be noticed")


async def test_a_member_that_does_not_die_is_given_up_and_the_leader_reaped(monkeypatch):
    monkeypatch.setattr(module, "_KILL_PATIENCE_S", 0.1)
    monkeypatch.setattr(module, "_KILL_ROUND_S", 0.05)
    process = PluginProcess.spawn(spec("/bin/sh", "-c", "/bin/sleep 60 & exit 3"))
    await process.exited
    (member,) = [stat.pid for stat in members((process.pid,))]
    with monkeypatch.context() as unreachable:
        unreachable.setattr(ProcessTree, "send", lambda *_: False)
        async with asyncio.timeout(10):
            left = await process.end(0.1, lambda _: None)
    assert left.startswith(f"PID {member} (")
    assert process.released.done()
    assert await process.exited == ExitStatus(3, None)
    assert process.max_rss_bytes is not None
    os.kill(member, signal.SIGKILL)
