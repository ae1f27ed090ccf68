"""An application that forks workers, which outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.support.lab import ECHO, Lab, is_alive, relatives
from tests.support.serving import Serve, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

APPLICATION = """
import asyncio, os, sys, time
from multiprocessing import get_context
{loop}
from vconnect import PluginRuntimeManager
async def main():
    settings = dict(plugin_dir=sys.argv[1], socket_path=sys.argv[2], cgroup="off")
    async with PluginRuntimeManager(**settings) as runtime:
        await runtime.start_all()
        worker = get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        print(worker.pid, runtime.summary("echo").pid, flush=True)
        answer = await runtime.request("echo", "e", 1)
        print(answer, flush=True)
        await asyncio.sleep(60)
run(main())
"""
LOOPS = ["from asyncio import run", "from uvloop import run"]


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_worker_that_outlives_it_keeps_nothing(lab: Lab, loop: str) -> None:
    lab.plugin("echo", ECHO)
    program = APPLICATION.format(loop=loop)
    application = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(lab.plugins), str(lab.socket)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert application.stdout is not None
    worker, plugin = map(int, application.stdout.readline().split())
    try:
        # The fork has taken nothing from the application.
        assert application.stdout.readline() == "{'echo': 1}\n"
        application.kill()
        application.wait()
        # The plugin notices the end of its connection, which the worker does not hold.
        wait_until(lambda: not is_alive(plugin), "the plugin's end")
        assert is_alive(worker)
        with Serve(lab) as host:
            host.wait_until("echo", "Running")
            host.process.terminate()
            assert host.ends() == 0
    finally:
        os.kill(worker, signal.SIGKILL)
        application.stdout.close()
    wait_until(lambda: not relatives(lab), "the end of all")
