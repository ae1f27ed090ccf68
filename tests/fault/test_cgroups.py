"""With cgroups nothing escapes: not by ``setsid``, not by a crash, not by the host's own death."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest
from tests.support.cgroup_kit import both_ways, members, needs_cgroups
from tests.support.lab import ECHO, ESCAPE, HOG, Lab, is_alive, pid_in, until, until_status
from tests.support.serving import Serve

from vconnect.errors import ConfigError, PluginStartError
from vconnect.processes.cgroup import Cgroup
from vconnect.processes.cgroup_tree import CgroupTree, delegated
from vconnect.settings.limits import TreeLimits
from vconnect.settings.model import Settings
from vconnect.settings.parts import CgroupSettings

pytestmark = [
    pytest.mark.both_loops,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups"),
]

ESCAPED = ESCAPE + "escape()\nserve()"


def available() -> list[str]:
    """List the controllers that a host here could hand on."""
    try:
        return (delegated() / "cgroup.controllers").read_text().split()
    except OSError:
        return []


def needs_controller(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        name not in available(), reason=f"no {name} controller of version 2 to be had here"
    )


def lacks_controller(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(name in available(), reason=f"here is a {name} controller")


# --- its tree ----------------------------------------------------------------------------------


@needs_cgroups
async def test_each_start_has_a_cgroup_of_its_own(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        base = Path(runtime.host_summary().cgroup)
        await runtime.start_all()
        assert members(base / "echo.1") == [runtime.summary("echo").pid]
        await runtime.restart_plugin("echo")
        assert members(base / "echo.2") == [runtime.summary("echo").pid]
        assert not (base / "echo.1").exists()
        await runtime.stop_plugin("echo")
        assert not (base / "echo.2").exists()
        assert base.exists()
    assert not base.exists()


@needs_cgroups
async def test_who_has_left_the_session_ends_with_the_plugin(lab: Lab) -> None:
    plugin = lab.plugin("one", ESCAPED)
    async with lab.manager() as runtime:
        await runtime.start_all()
        escaped = await pid_in(plugin / "escaped")
        assert os.getsid(escaped) != runtime.summary("one").pid
        await runtime.stop_plugin("one")
        assert not is_alive(escaped)


@needs_cgroups
async def test_who_ignores_signals_there_is_killed_after_the_grace_period(lab: Lab) -> None:
    plugin = lab.plugin("one", ESCAPE + "escape(stubborn=True)\nserve()")
    async with lab.manager(stop_timeout=0.5) as runtime:
        await runtime.start_all()
        escaped = await pid_in(plugin / "escaped")
        began = time.monotonic()
        await runtime.stop_plugin("one")
        assert time.monotonic() - began >= 0.5
        assert not is_alive(escaped)


@pytest.mark.slow
@needs_cgroups
async def test_who_has_left_the_session_counts(lab: Lab) -> None:
    lab.plugin("hog", HOG.replace("import time;", "import os, time; os.setsid();"))
    options = {"hog": {"memory_limit_bytes": 64 << 20}}
    async with lab.manager(options=options, restart="always", restart_delay=0.01) as runtime:
        await runtime.start_all()
        await until(lambda: runtime.summary("hog").generation == 2, "another start")
        (crash,) = runtime.summary("hog").crashes
        assert crash.reason.startswith("memory_limit: 2 process(es) with ")


@needs_cgroups
async def test_nobody_of_a_crashed_plugin_meets_its_next_start(lab: Lab) -> None:
    code = """
    first = not os.path.exists("escaped")
    if first:
        escape()
    def answer(event):
        os._exit(3) if first else None
    serve(answer)
    """
    plugin = lab.plugin("one", ESCAPE + dedent(code))
    async with lab.manager(restart="always", restart_delay=0.01) as runtime:
        await runtime.start_all()
        escaped = await pid_in(plugin / "escaped")
        runtime.notify("any.event", {})
        await until(lambda: runtime.summary("one").generation == 2, "a second start")
        assert not is_alive(escaped)
        await until_status(runtime, "one", "Running")


@needs_cgroups
async def test_a_plugin_that_makes_cgroups_of_its_own_ends_with_them(lab: Lab) -> None:
    code = ESCAPE + (
        "below = os.path.join(BASE, 'below')\n"
        "os.mkdir(below)\n"
        "escape()\n"
        "open(os.path.join(below, 'cgroup.procs'), 'w').write(open('escaped').read())\n"
        "serve()\n"
    )
    async with lab.manager() as runtime:
        base = Path(runtime.host_summary().cgroup)
        plugin = lab.plugin("nested", f"BASE = {str(base / 'nested.1')!r}\n{code}")
        await runtime.start_all()
        escaped = await pid_in(plugin / "escaped")
        assert members(base / "nested.1" / "below") == [escaped]
        await runtime.stop_plugin("nested")
        assert not is_alive(escaped)
        assert not (base / "nested.1").exists()


@needs_cgroups
async def test_a_failed_start_leaves_no_cgroup(lab: Lab) -> None:
    directory = lab.plugin("broken", ECHO)
    (directory / "broken").write_text("#!/no/such/interpreter\n")
    async with lab.manager() as runtime:
        base = Path(runtime.host_summary().cgroup)
        await runtime.start_all()
        summary = runtime.summary("broken")
        assert (summary.status, summary.substate) == ("Error", "spawn_failed")
        assert f"cannot start {directory}/broken: no such file or directory" in summary.reason
        await until(lambda: not any(entry.is_dir() for entry in base.iterdir()), "the removal")


@needs_cgroups
async def test_kill_all_reaches_who_has_left_the_session(lab: Lab) -> None:
    plugin = lab.plugin("one", ESCAPE + "escape(stubborn=True)\nserve()")
    async with lab.manager() as runtime:
        await runtime.start_all()
        escaped = await pid_in(plugin / "escaped")
        runtime.kill_all()
        await until(lambda: not is_alive(escaped), "its end")


@needs_cgroups
async def test_a_plugin_that_does_away_with_its_cgroup_is_stopped_all_the_same(lab: Lab) -> None:
    code = "open('TREE/cgroup.procs', 'w').write('0')\nos.rmdir('TREE/gone.1')\nserve()"
    async with lab.manager() as runtime:
        base = Path(runtime.host_summary().cgroup)
        lab.plugin("gone", code.replace("TREE", str(base)))
        await runtime.start_all()
        pid = runtime.summary("gone").pid
        assert members(base) == [pid]
        await asyncio.wait_for(runtime.stop_plugin("gone"), 10)
        assert not is_alive(pid)


@needs_cgroups
async def test_a_plugin_that_makes_its_cgroup_one_for_threads_is_stopped_too(lab: Lab) -> None:
    code = ESCAPE + (
        "escape(stubborn=True)\n"
        "for pid in (open('escaped').read(), '0'):\n"
        "    open('TREE/cgroup.procs', 'w').write(pid)\n"
        "open('TREE/threads.1/cgroup.type', 'w').write('threaded')\n"
        "for pid in (open('escaped').read(), '0'):\n"
        "    open('TREE/threads.1/cgroup.procs', 'w').write(pid)\n"
        "serve()"
    )
    async with lab.manager(stop_timeout=0.5) as runtime:
        base = Path(runtime.host_summary().cgroup)
        plugin = lab.plugin("threads", code.replace("TREE", str(base)))
        await runtime.start_all()
        assert runtime.summary("threads").status == "Running"
        escaped = await pid_in(plugin / "escaped")
        await asyncio.wait_for(runtime.stop_plugin("threads"), 10)
        assert not is_alive(escaped)


@both_ways
async def test_an_application_may_take_its_children_itself(lab: Lab, cgroup: str) -> None:
    lab.plugin("one", "serve()\ntime.sleep(600)")
    async with lab.manager(cgroup=cgroup, restart="always", restart_delay=0.01) as runtime:
        await runtime.start_all()
        pid = runtime.summary("one").pid
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[0] == pid
        await until(lambda: runtime.summary("one").generation == 2, "another start")
        await until_status(runtime, "one", "Running")
        (crash,) = runtime.summary("one").crashes
        assert crash.reason.startswith("exited: its exit status was taken by another part of this")


# --- several hosts -------------------------------------------------------------------------------


def tree_for(directory: Path) -> CgroupTree:
    return CgroupTree(Settings().part(CgroupSettings), str(directory / "host.sock"))


@needs_cgroups
def test_a_living_hosts_cgroups_are_nobody_elses(tmp_path: Path) -> None:
    """Also if its lock file is lost, and another host takes its socket over."""
    first, second = tree_for(tmp_path), tree_for(tmp_path)
    first.open()
    made = first.make("one", 1, TreeLimits())
    second.open()
    assert second.path is None
    assert second.problem == f"{first.path} is in use by another running host"
    assert made is not None
    assert made.path.exists()
    made.end()
    first.close()
    second.open()
    assert second.problem == ""
    second.close()


@needs_cgroups
def test_what_dead_hosts_left_empty_is_removed_by_any(tmp_path: Path) -> None:
    for name in ("dead", "alive", "next"):
        (tmp_path / name).mkdir()
    dead, alive, following = (tree_for(tmp_path / name) for name in ("dead", "alive", "next"))
    for tree in (dead, alive):
        tree.open()
        tree.make("one", 1, TreeLimits())
    os.close(dead._lock)  # as its death would
    following.open()
    assert dead.path is not None
    assert alive.path is not None
    assert (dead.path.exists(), alive.path.exists()) == (False, True)
    following.close()
    Cgroup(alive.path / "one.1").end()
    alive.close()


# --- where there are none ------------------------------------------------------------------------


async def test_without_them_a_plugin_starts_in_the_hosts_own(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager(cgroup="off") as runtime:
        told = runtime.host_summary()
        assert (told.cgroup, told.cgroup_problem) == (None, 'cgroup = "off"')
        await runtime.start_all()
        of_plugin = Path(f"/proc/{runtime.summary('echo').pid}/cgroup").read_text()
        assert of_plugin == Path("/proc/self/cgroup").read_text()


async def test_who_insists_on_them_is_told_why_there_are_none(lab: Lab) -> None:
    with pytest.raises(ConfigError) as caught:
        async with lab.manager(cgroup="on", cgroup_dir=lab.directory):
            pytest.fail("it has begun")
    assert str(caught.value) == (
        f'cgroup = "on": cgroup_dir: {lab.directory} is not a cgroup v2 directory'
    )
    assert not lab.socket.exists()


async def test_by_default_a_host_does_without(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager(cgroup="auto", cgroup_dir=lab.directory) as runtime:
        told = runtime.host_summary()
        assert told.cgroup is None
        assert told.cgroup_problem.endswith("is not a cgroup v2 directory")
        await runtime.start_all()
        assert runtime.summary("echo").status == "Running"


async def test_a_limit_that_cannot_be_had_refuses_to_start(lab: Lab) -> None:
    lab.plugin("held", ECHO)
    lab.plugin("free", ECHO)
    options = {"held": {"tree_limits": {"processes": 10}}}
    async with lab.manager(cgroup="off", options=options) as runtime:
        await runtime.start_all()
        with pytest.raises(PluginStartError) as caught:
            await runtime.start_plugin("held")
        assert caught.value.message == (
            "plugins.options.held.tree_limits.processes: the pids controller is not available: "
            'cgroup = "off"'
        )
        summary = runtime.summary("held")
        assert (summary.status, summary.substate) == ("Error", "spawn_failed")
        assert runtime.summary("free").status == "Running"


@needs_cgroups
@lacks_controller("memory")
async def test_a_controller_that_is_missing_is_named(lab: Lab) -> None:
    lab.plugin("held", ECHO)
    options = {"held": {"tree_limits": {"memory_bytes": 1 << 30}}}
    async with lab.manager(options=options) as runtime:
        await runtime.start_all()
        summary = runtime.summary("held")
        assert summary.substate == "spawn_failed"
        assert summary.reason.startswith(
            "plugins.options.held.tree_limits.memory_bytes: the memory controller is not "
            "available: /"
        )


# --- limits ------------------------------------------------------------------------------------


@needs_cgroups
@needs_controller("memory")
async def test_the_kernel_ends_a_tree_that_is_too_large(lab: Lab) -> None:
    lab.plugin("hog", HOG)
    lab.plugin("other", ECHO)
    options = {"hog": {"tree_limits": {"memory_bytes": 64 << 20}}}
    async with lab.manager(options=options, restart="always", restart_delay=0.01) as runtime:
        await runtime.start_all()
        other = runtime.summary("other").pid
        await until(lambda: runtime.summary("hog").generation == 2, "a second start")
        await until_status(runtime, "hog", "Running")
        (crash,) = runtime.summary("hog").crashes
        assert crash.reason == (
            "memory_limit: killed by SIGKILL, by the kernel: its process tree reached "
            f"tree_limits.memory_bytes, which is {64 << 20}"
        )
        assert runtime.summary("other").pid == other


@needs_cgroups
@needs_controller("pids")
async def test_a_tree_grows_no_further_than_its_limit(lab: Lab) -> None:
    bomb = """
    def answer(event):
        held = []
        try:
            while len(held) < 100:
                held.append(subprocess.Popen(["sleep", "600"]))
        except OSError as error:
            return {"status": "ok", "data": [len(held), error.strerror]}
    serve(answer)
    """
    lab.plugin("bomb", bomb)
    async with lab.manager(options={"bomb": {"tree_limits": {"processes": 12}}}) as runtime:
        await runtime.start_all()
        count, words = await runtime.request("bomb", "e", {})
        assert count < 12
        assert words == "Resource temporarily unavailable"
        await runtime.stop_plugin("bomb")


@needs_cgroups
@needs_controller("cpu")
async def test_a_busy_tree_gets_no_more_than_its_share(lab: Lab) -> None:
    busy = "[subprocess.Popen(['sh', '-c', 'while :; do :; done']) for _ in range(2)]\nserve()"
    lab.plugin("busy", busy)
    limits = {"busy": {"tree_limits": {"cpu_percent": 20}}}
    # Its share is small where the machine is emulated, and its start is not what is tried here.
    patience = {"handshake_timeout": 60.0, "start_timeout": 60.0}
    async with lab.manager(options=limits, **patience) as runtime:
        await runtime.start_all()
        stat = Path(runtime.host_summary().cgroup, "busy.1", "cpu.stat")
        await until(lambda: "nr_throttled 0" not in stat.read_text(), "a turn that was refused")


# --- the host dies -------------------------------------------------------------------------------


@needs_cgroups
@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
def test_the_next_start_ends_what_two_dead_ones_have_left(lab: Lab, loop: str) -> None:
    """Host and guardian are both killed: whoever escaped is known by nothing but its cgroup."""
    plugin = lab.plugin("one", ESCAPE + "escape(stubborn=True)\nserve()\ntime.sleep(600)")
    with Serve(lab, loop) as first:
        first.wait_for_log("plugin handshake: one")
        told = json.loads(first.ask("status", "--json").stdout)
        escaped = int((plugin / "escaped").read_text())
        os.kill(told["guardian_pid"], signal.SIGSTOP)
        os.kill(told["pid"], signal.SIGKILL)
        os.kill(told["guardian_pid"], signal.SIGKILL)
        first.ends()
    assert is_alive(escaped)
    first.log.unlink()
    (plugin / "one").write_text((plugin / "one").read_text().replace("escape(stub", "print(stub"))
    with Serve(lab, loop) as second:
        second.wait_for_log("unix socket server listening")
        assert not is_alive(escaped)
        second.process.terminate()
        assert second.ends() == 0
    assert not Path(told["cgroup"]).exists()
