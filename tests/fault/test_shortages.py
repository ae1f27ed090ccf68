"""A host that is short of something: what needs it fails in words, what has it goes on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests.support import toolchains
from tests.support.cgroup_kit import both_ways
from tests.support.lab import ECHO, Lab
from tests.support.nobody import NOBODY, as_nobody
from tests.support.serving import Serve

from vconnect.processes.cgroup_tree import delegated

pytestmark = [
    pytest.mark.both_loops,
    pytest.mark.skipif(sys.platform != "linux", reason="counts by /proc"),
]

TESTS = Path(__file__).parent.parent


async def run_host(lab: Lab, code: str, *, before: tuple[str, ...] = (), **limits: int) -> Any:
    """Run a host in a process of its own, which alone has the limits; return what it prints."""
    loop = type(asyncio.get_running_loop())
    prelude = f"""
import asyncio, json, os, resource, signal, sys, time
sys.path[:0] = [{str(TESTS.parent)!r}]
from pathlib import Path
from tests.support.lab import Lab, until, until_status
from vconnect.errors import PluginStartError
from vconnect.watching.monitor import Monitor
lab = Lab(Path({str(lab.directory)!r}))
def descriptors():
    return len(os.listdir("/proc/self/fd"))
async def until_no_more_than(count):
    await until(lambda: descriptors() <= count, "descriptors")
"""
    for name, value in limits.items():
        prelude += f"resource.setrlimit(resource.RLIMIT_{name}, ({value}, {value}))\n"
    run = f"""
import {loop.__module__}
with asyncio.Runner(loop_factory={loop.__module__}.{loop.__name__}) as runner:
    runner.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [*before, sys.executable, "-c", prelude + dedent(code) + run],
        cwd=lab.directory,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
async def test_a_host_out_of_descriptors_fails_the_start_and_lives_on(lab: Lab) -> None:
    for number in range(30):
        lab.plugin(f"p{number:02}", ECHO)
    code = """
    looks = []
    look = Monitor.look
    async def counted(monitor, supervisors):
        await look(monitor, supervisors)
        looks.append(len(supervisors))
    Monitor.look = counted

    async def main():
        async with lab.manager(start_concurrency=1) as runtime:
            before = descriptors()
            await runtime.start_all()
            seen = runtime.runtime_summaries()
            running = [one.name for one in seen if one.status == "Running"]
            failed = [one for one in seen if one.status != "Running"]
            for name in running:
                assert await runtime.request(name, "e", 1) == {"echo": 1}
            looks.clear()
            await until(lambda: len(looks) == 2, "samples, which need descriptors as well")
            alive = [runtime.summary(name).status for name in running]
            for name in running:
                await runtime.stop_plugin(name)
            # With the first connection, uvloop opens a descriptor for itself.
            await until_no_more_than(before + 1)
            await runtime.start_plugin(failed[0].name)
            print(json.dumps({
                "running": len(running), "alive": alive,
                "failed": [[one.status, one.substate, one.reason] for one in failed],
                "again": runtime.summary(failed[0].name).status,
            }))
    """
    told = await run_host(lab, code, NOFILE=64)
    assert told["running"] >= 3
    assert told["failed"]
    assert set(told["alive"]) == {"Running"}
    assert told["again"] == "Running"
    for status, substate, reason in told["failed"]:
        assert status == "Error", (substate, reason)
        assert "too many open files" in reason.lower() or substate == "handshake_timeout"


@both_ways
async def test_a_start_without_a_descriptor_holds_up_nobody(lab: Lab, cgroup: str) -> None:
    """Whatever was made for it is removed elsewhere, even if the removal has no descriptor."""
    lab.plugin("one", ECHO)
    lab.plugin("two", ECHO)
    code = """
    async def main():
        async with lab.manager(cgroup=CGROUP, restart="always") as runtime:
            await runtime.start_plugin("one") if await runtime.discover_plugins() else None
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            worst, tries = 0.0, {}
            # From none to all that a start needs, so that it fails at each step.
            for left in range(8):
                taken = []
                while True:
                    try:
                        taken.append(os.dup(0))
                    except OSError:
                        break
                for descriptor in taken[:left]:
                    os.close(descriptor)
                start = asyncio.create_task(runtime.start_plugin("two"))
                while not start.done():
                    began = time.perf_counter()
                    await asyncio.sleep(0)
                    worst = max(worst, time.perf_counter() - began)
                tries[left] = "" if start.exception() is None else str(start.exception())
                answer = await runtime.request("one", "e", 1)
                for descriptor in taken[left:]:
                    os.close(descriptor)
                await runtime.stop_plugin("two")
            print(json.dumps({"worst": worst, "tries": tries, "answer": answer}))
    """
    told = await run_host(lab, code.replace("CGROUP", repr(cgroup)), NOFILE=100)
    assert told["answer"] == {"echo": 1}
    assert "too many open files" in told["tries"]["0"].lower()
    # A milliseconds' matter. The bound is for a machine that is busy with something else.
    assert told["worst"] < 0.1


@pytest.fixture
def nobodys_cgroup() -> Iterator[tuple[str, ...]]:
    """Return the words before a command that put it into a cgroup of the user nobody."""
    if os.geteuid() != 0:
        yield ()  # ours is ours
        return
    path = delegated() / f"lab-{os.getpid()}"
    path.mkdir()
    for file in (path, *path.iterdir()):
        os.chown(file, NOBODY, NOBODY)
    os.setxattr(path, "user.delegate", b"1")  # as systemd marks it
    yield ("/bin/sh", "-c", f'echo $$ > {path}/cgroup.procs; exec "$@"', "sh")
    path.rmdir()


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("sandbox", ["off", "nnp"])
async def test_a_host_that_cannot_fork_fails_the_start_and_lives_on(
    lab: Lab, sandbox: str, cgroup: str, request: pytest.FixtureRequest
) -> None:
    for name in ("echo", "fallen", "late"):
        lab.plugin(name, ECHO)
    before = as_nobody(lab)
    if cgroup == "on":
        before = (*request.getfixturevalue("nobodys_cgroup"), *before)
    code = f"""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    def allow(processes):
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, hard))
    async def main():
        options = dict(restart="always", restart_delay=0.01, sandbox={sandbox!r}, cgroup={cgroup!r})
        async with lab.manager(**options) as runtime:
            await runtime.discover_plugins()
            await runtime.start_plugin("echo")
            before, pid = descriptors(), runtime.summary("echo").pid
            await runtime.start_plugin("fallen")
            allow(1)  # there are more already
            reasons = []
            try:
                await runtime.start_plugin("late")
            except PluginStartError as error:
                reasons.append(str(error))
            os.kill(runtime.summary("fallen").pid, signal.SIGKILL)
            await until(lambda: runtime.summary("fallen").substate == "spawn_failed")
            reasons.append(runtime.summary("fallen").reason)
            failed = [runtime.summary(name) for name in ("late", "fallen")]
            assert await runtime.request("echo", "e", 1) == {{"echo": 1}}
            await until_no_more_than(before)
            allow(hard)
            await runtime.start_plugin("fallen")
            await until_status(runtime, "late", "Running")
            for name in ("echo", "fallen", "late"):
                assert await runtime.request(name, "e", 2) == {{"echo": 2}}
            print(json.dumps({{
                "reasons": reasons,
                "failed": [[one.status, one.substate, one.next_retry_at] for one in failed],
                "untouched": runtime.summary("echo").pid == pid,
            }}))
    """
    told = await run_host(lab, code, before=before)
    for reason, directory in zip(told["reasons"], ("late", "fallen"), strict=True):
        assert f"cannot start {lab.plugins / directory / directory}: resource temp" in reason
    for status, substate, next_retry_at in told["failed"]:
        assert (status, substate) == ("Error", "spawn_failed")
        assert next_retry_at is not None
    assert told["untouched"]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_a_sandbox_that_cannot_be_tried_for_now_is_tried_again_soon(lab: Lab) -> None:
    lab.plugin("caged", ECHO)
    code = """
    async def main():
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        async with lab.manager(restart="always", sandbox="bwrap") as runtime:
            await runtime.discover_plugins()
            resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
            try:
                await runtime.start_plugin("caged")
            except PluginStartError:
                pass
            summary, now = runtime.summary("caged"), time.time()
            resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
            print(json.dumps([summary.substate, summary.reason, summary.next_retry_at - now]))
    """
    substate, reason, wait = await run_host(lab, code, before=as_nobody(lab))
    assert substate == "spawn_failed"
    assert reason.endswith(": cannot test it: Resource temporarily unavailable")
    assert wait < 10


FORBID = """
import resource, sys
resource.prlimit(int(sys.argv[1]), resource.RLIMIT_NPROC, (1, 1))
"""


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
def test_a_host_that_cannot_fork_ends_in_order(lab: Lab, loop: str) -> None:
    lab.plugin("echo", ECHO)
    user = as_nobody(lab)
    with Serve(lab, loop, before=user) as host:
        host.wait_for_log("1 of 1 plugin(s) running")
        command = [*user, sys.executable, "-c", FORBID, str(host.host_pid())]
        subprocess.run(command, cwd=lab.directory, check=True)
        host.process.terminate()
        assert host.ends() == 0
    assert "Traceback" not in host.log.read_text()


@toolchains.needs("cc")
@pytest.mark.slow
def test_three_hundred_plugins_run_under_the_usual_soft_limit(lab: Lab) -> None:
    """A soft limit of 1024 descriptors, and a hard one of 4096: what shells and systemd set."""
    program = lab.directory / "echo"
    subprocess.run(["cc", "-O1", "-o", program, TESTS.parent / "benchmarks" / "echo.c"], check=True)
    for number in range(300):
        directory = lab.plugins / f"p{number:03}"
        directory.mkdir(parents=True)
        os.link(program, directory / directory.name)
        (directory / "plugin.json").write_text(json.dumps({"name": directory.name}))
    before = ("/bin/sh", "-c", 'ulimit -Sn 1024; ulimit -Hn 4096; exec "$@"', "sh")
    with Serve(lab, "--uvloop", before=before) as host:
        host.wait_for_log("300 of 300 plugin(s) running")
        done = host.ask("emit", "e", "1", "--json")
        results = json.loads(done.stdout)["results"]
        assert [one["ok"] for one in results] == [True] * 300
        host.process.terminate()
        assert host.ends() == 0
