"""What a plugin's process does, and what its state says: starts, ends, orders that cross."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.cgroup_kit import both_ways
from tests.support.lab import (
    ECHO,
    STUBBORN,
    Lab,
    is_alive,
    pid_in,
    relatives,
    until,
    until_status,
)

from vconnect import PluginRuntimeManager, PluginStatus
from vconnect.errors import PluginStartError, PluginUnavailableError

RACES = int(os.environ.get("SUPERVISOR_RACES", "30"))

pytestmark = pytest.mark.both_loops
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")


# --- launch ----------------------------------------------------------------------------------

REPORT = """
import json
report = {"argv": sys.argv[1:], "cwd": os.getcwd(), "environ": dict(os.environ),
          "stdin": sys.stdin.read(), "session": os.getsid(0) == os.getpid()}
serve(lambda event: {"status": "ok", "data": report})
"""


async def report_of(lab: Lab, **options: Any) -> dict[str, Any]:
    lab.plugin("report", REPORT)
    async with lab.manager(**options) as runtime:
        await runtime.start_all()
        report: dict[str, Any] = await runtime.request("report", "e", {})
        return report


async def test_a_plugin_gets_its_socket_and_nothing_else(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_HOST", "hush")
    monkeypatch.setenv("WANTED", "yes")
    report = await report_of(lab, inherit_env=["WANTED"], env={"GIVEN": "too"})
    assert report["argv"] == ["--socket", str(lab.socket)]
    assert report["cwd"] == str(lab.plugins / "report")
    assert report["stdin"] == ""
    assert report["session"]
    environ = report["environ"]
    assert "A_SECRET_OF_THE_HOST" not in environ
    assert (environ["WANTED"], environ["GIVEN"]) == ("yes", "too")
    assert environ["VCONNECT_HOST_PID"] == str(os.getpid())
    assert environ["VCONNECT_PLUGIN_NAME"] == "report"
    assert environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


async def test_debug_and_log_level_are_passed_in_this_order(lab: Lab) -> None:
    report = await report_of(lab, debug=True, log_level="warn")
    assert report["argv"] == ["--socket", str(lab.socket), "--debug", "--log-level", "warn"]


async def test_a_dev_plugin_runs_from_its_source(lab: Lab) -> None:
    source = lab.directory / "my source"
    source.mkdir()
    lab.script(source / "plugin.py", "serve(lambda event: {'status': 'ok', 'data': os.getcwd()})")
    async with lab.manager(dev_plugins=[f"wk.plugin.dev:{source}"]) as runtime:
        await runtime.start_all()
        assert await runtime.request("dev", "e", {}) == str(source)
        assert runtime.summary("dev").dev


async def test_output_reaches_the_hosts_log_line_by_line(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    code = r"""
    sys.stdout.write("to stdout\nin two lines\n")
    sys.stdout.flush()
    sys.stderr.write("to stderr \x1b[31mred\x1b[0m\nwithout an end")
    sys.stderr.flush()
    serve()
    """
    lab.plugin("chatty", code)
    with caplog.at_level(logging.INFO, "vconnect"):
        async with lab.manager() as runtime:
            await runtime.start_all()
            await until(lambda: "to stderr red" in runtime.summary("chatty").last_stderr)
    lines = [r.message for r in caplog.records if r.name == "vconnect.plugin.chatty"]
    assert sorted(lines) == ["in two lines", "to stderr red", "to stdout", "without an end"]


# --- starts that fail ------------------------------------------------------------------------


def break_missing(program: Path) -> None:
    program.unlink()


def break_mode(program: Path) -> None:
    program.chmod(0o644)


def break_directory(program: Path) -> None:
    program.unlink()
    program.mkdir()


def break_interpreter(program: Path) -> None:
    program.write_text("#!/nowhere/python\n")


def break_format(program: Path) -> None:
    program.write_bytes(b"\x7fELF" + bytes(60))


def break_machine(program: Path) -> None:
    whole = bytearray(Path("/bin/sh").read_bytes())
    whole[18:20] = b"\xfe\xfe"  # e_machine: a machine that nobody has built
    program.write_bytes(whole)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (break_missing, "does not exist|no executable file"),
        (break_mode, "chmod \\+x"),
        (break_directory, "directory|no executable file"),
        (break_interpreter, "interpreter"),
        (break_format, "not a program for this machine|[Ee]xec format"),
        pytest.param(break_machine, "is for .*, this machine is", marks=linux_only),
    ],
)
@both_ways
async def test_a_start_that_the_kernel_refuses_is_told_in_words(
    lab: Lab, damage: Any, word: str, cgroup: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = lab.plugin("broken", ECHO)
    damage(directory / "broken")
    lab.plugin("fine", ECHO)
    async with lab.manager(cgroup=cgroup) as runtime:
        await runtime.start_all()
        summary = runtime.summary("broken")
        assert (summary.status, summary.substate) == ("Error", "spawn_failed")
        assert str(directory) in summary.reason
        with pytest.raises(PluginStartError, match=word):
            await runtime.start_plugin("broken")
        assert runtime.summary("fine").status is PluginStatus.RUNNING
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_plugin_that_never_shakes_hands_is_ended_at_the_deadline(lab: Lab) -> None:
    lab.plugin("silent", "print('no idea', file=sys.stderr, flush=True)\ntime.sleep(60)")
    async with lab.manager(handshake_timeout=0.5) as runtime:
        await runtime.start_all()
        summary = runtime.summary("silent")
    assert (summary.status, summary.substate) == ("Error", "handshake_timeout")
    assert "no handshake within 0.5 s" in summary.reason
    assert "no idea" in summary.reason
    assert summary.pid is None


async def test_a_plugin_that_connects_and_stays_silent_is_ended_too(lab: Lab) -> None:
    lab.plugin("silent", "connection = Connection()\ntime.sleep(60)")
    async with lab.manager(handshake_timeout=0.5) as runtime:
        await runtime.start_all()
        summary = runtime.summary("silent")
    assert (summary.status, summary.substate) == ("Error", "handshake_timeout")


@pytest.mark.parametrize(
    ("handshake", "word"),
    [
        ({"plugin_no": "somebody-else"}, "was started as 'liar'"),
        ({"plugin_no": ""}, "non-empty string"),
        ({"plugin_no": "../x"}, "bad_name|a name is"),
        ({"priority": "high"}, "priority"),
        ({"capabilities": "message"}, "capabilities"),
        ({"protocol_versions": [99]}, "99"),
    ],
)
async def test_a_refused_handshake_is_an_error_at_once(
    lab: Lab, handshake: dict[str, Any], word: str
) -> None:
    lab.plugin("liar", f"serve(**{handshake!r})\ntime.sleep(60)")
    async with lab.manager() as runtime:
        await runtime.start_all()
        with pytest.raises(PluginStartError, match=word):
            await runtime.start_plugin("liar")
        summary = runtime.summary("liar")
    assert (summary.status, summary.substate) == ("Error", "handshake_refused")
    assert summary.pid is None


async def test_one_plugin_cannot_take_anothers_name(lab: Lab) -> None:
    lab.plugin("victim", ECHO)
    lab.plugin("thief", "serve(plugin_no='victim')\ntime.sleep(60)")
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("victim").status is PluginStatus.RUNNING
        assert "victim" in runtime.summary("thief").reason
        assert await runtime.request("victim", "e", 1) == {"echo": 1}


async def test_a_plugin_may_say_that_it_cannot_serve_here(lab: Lab) -> None:
    lab.plugin("shy", "serve(disable='needs a database')\ntime.sleep(60)")
    async with lab.manager() as runtime:
        await runtime.start_all()
        summary = runtime.summary("shy")
    assert (summary.status, summary.substate) == ("Stopped", "disabled")
    assert summary.reason == "needs a database"
    assert summary.pid is None


# --- ends ------------------------------------------------------------------------------------


async def test_the_log_of_a_plugin_that_prints_nothing_has_its_lives(lab: Lab) -> None:
    lab.plugin("mute", "Connection().greet()\nsys.exit(3)")
    async with lab.manager(restart="on-failure", restart_delay=0.01, crash_limit=2) as runtime:
        await runtime.start_all()
        await until(lambda: runtime.summary("mute").substate == "crash_loop")
        records = runtime.plugin_logs("mute", states=True).records
        assert runtime.plugin_logs("mute").records == ()
    passing = ("it is ready", "it closed its connection")
    told = [re.sub(r"pid \d+|\d\.\d s", "", record.text) for record in records]
    assert [one for one in told if one not in passing] == [
        "generation 1 has started ()",
        "exited: code 3; next try in ",
        "generation 2 has started ()",
        "crash loop: exited: code 3; next try in 30",
    ]


@pytest.mark.parametrize(
    ("end", "status", "substate", "reason", "code", "signal_name"),
    [
        ("sys.exit(0)", "Stopped", "exited", "exited: code 0", 0, None),
        ("sys.exit(3)", "Error", "exited", "exited: code 3; last stderr: oh no", 3, None),
        ("os.kill(os.getpid(), 9)", "Error", "killed", "killed by SIGKILL", None, "SIGKILL"),
        ("os.kill(os.getpid(), 11)", "Error", "killed", "killed by SIGSEGV", None, "SIGSEGV"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_every_end_is_told_as_it_was(
    lab: Lab,
    end: str,
    status: str,
    substate: str,
    reason: str,
    code: int | None,
    signal_name: str | None,
    when: str,
) -> None:
    shake = "connection.greet()" if when == "after" else ""
    code_text = f"connection = Connection()\n{shake}\nprint('oh no', file=sys.stderr)\n{end}"
    lab.plugin("mortal", code_text)
    async with lab.manager() as runtime:
        await runtime.start_all()
        summary = await until_status(runtime, "mortal", status)
        assert (summary.substate, summary.reason) == (substate, reason)
        assert (summary.exit_code, summary.exit_signal) == (code, signal_name)
        assert summary.pid is None
        assert summary.last_stderr == ("oh no",)
        assert summary.uptime_s is None


async def test_an_exit_is_seen_at_once(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        os.kill(runtime.summary("echo").pid, signal.SIGKILL)
        began = time.monotonic()
        await until_status(runtime, "echo", "Error")
        assert time.monotonic() - began < 0.5  # not at the next sample, which takes a second
        assert runtime.summary("echo").reason == "killed by SIGKILL"
        await runtime.start_plugin("echo")
        assert runtime.summary("echo").generation == 2


async def test_a_plugin_that_ignores_sigterm_is_killed_after_the_grace_period(lab: Lab) -> None:
    lab.plugin("stubborn", STUBBORN)
    async with lab.manager(stop_timeout=0.5) as runtime:
        await runtime.start_all()
        pid = runtime.summary("stubborn").pid
        began = time.monotonic()
        stop = asyncio.create_task(runtime.stop_plugin("stubborn"))
        await until_status(runtime, "stubborn", "Stopping")
        assert runtime.summary("stubborn").substate == "terminating"
        assert (await runtime.emit("e", {})).results == []
        await stop
        assert 0.5 <= time.monotonic() - began < 1.5
        summary = runtime.summary("stubborn")
        assert (summary.status, summary.exit_signal) == ("Stopped", "SIGKILL")
        assert not is_alive(pid)


FAMILY = """
child = "from signal import *; import time; [signal(n, SIG_IGN) for n in (2, 15)]; time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", child])
open("child", "w").write(f"{{process.pid}}\\n")
time.sleep(0.2)
{then}
"""


async def test_stop_returns_when_the_group_is_empty(lab: Lab) -> None:
    directory = lab.plugin("family", FAMILY.format(then="serve()"))
    async with lab.manager(stop_timeout=0.5) as runtime:
        await runtime.start_all()
        child = await pid_in(directory / "child")
        assert is_alive(child)
        await runtime.stop_plugin("family")
        assert not is_alive(child)


async def test_what_a_dead_leader_left_behind_is_ended(lab: Lab) -> None:
    directory = lab.plugin("family", FAMILY.format(then="sys.exit(5)"))
    async with lab.manager(stop_timeout=0.5) as runtime:
        await runtime.start_all()
        summary = await until_status(runtime, "family", "Error")
        assert summary.exit_code == 5
        assert not is_alive(await pid_in(directory / "child"))


@pytest.mark.parametrize("by_itself", [False, True])
async def test_a_grandchild_that_keeps_stdout_open_holds_up_nobody(
    lab: Lab, by_itself: bool
) -> None:
    code = f"""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    open("child", "w").write(f"{{process.pid}}\\n")
    serve(lambda event: os._exit(0)) if {by_itself} else serve()
    """
    directory = lab.plugin("parent", code)
    async with lab.manager() as runtime:
        await runtime.start_all()
        child = await pid_in(directory / "child")
        began = time.monotonic()
        if by_itself:
            runtime.notify("e", {})
            await until_status(runtime, "parent", "Stopped")
        else:
            await runtime.stop_plugin("parent")
        assert time.monotonic() - began < 1.5
        assert runtime.summary("parent").status is PluginStatus.STOPPED
        os.kill(child, signal.SIGKILL)  # it left the session: not the host's to end


async def test_many_are_stopped_at_the_same_time(lab: Lab) -> None:
    for number in range(3):
        lab.plugin(f"stubborn{number}", STUBBORN)
    for number in range(5):
        lab.plugin(f"echo{number}", ECHO)
    async with lab.manager(stop_timeout=0.7) as runtime:
        await runtime.start_all()
        began = time.monotonic()
        await runtime.stop_all()
        assert time.monotonic() - began < 1.7
        assert {summary.status for summary in runtime.runtime_summaries()} == {"Stopped"}
        assert {summary.desired for summary in runtime.runtime_summaries()} == {"stopped"}


# --- orders that cross -----------------------------------------------------------------------


async def test_a_stop_during_a_start_wins(lab: Lab) -> None:
    lab.plugin("slow", "time.sleep(60)")
    async with lab.manager(plugin_dir=lab.plugins) as runtime:
        await runtime.discover_plugins()
        start = asyncio.create_task(runtime.start_plugin("slow"))
        await until(lambda: runtime.summary("slow").pid)
        await runtime.stop_plugin("slow")
        with pytest.raises(PluginStartError, match="stopped"):
            await start
        assert runtime.summary("slow").status is PluginStatus.STOPPED


async def test_a_restart_during_a_stop_wins(lab: Lab) -> None:
    lab.plugin("stubborn", STUBBORN)
    async with lab.manager(stop_timeout=0.3) as runtime:
        await runtime.start_all()
        stop = asyncio.create_task(runtime.stop_plugin("stubborn"))
        await until_status(runtime, "stubborn", "Stopping")
        await runtime.restart_plugin("stubborn")
        await stop
        summary = runtime.summary("stubborn")
        assert (summary.status, summary.generation) == ("Running", 2)


@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_hundred_restarts_at_once_are_one_or_two(lab: Lab, exclusive: bool) -> None:
    """And never are there two of a plugin that must be alone."""
    code = """
    import fcntl
    lock = open("lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        open(f"beside.{os.getpid()}", "w").close()
    open(f"alive.{os.getpid()}", "w").close()
    serve()
    """
    directory = lab.plugin("echo", code, exclusive=exclusive)
    async with lab.manager() as runtime:
        await runtime.start_all()
        await asyncio.gather(*(runtime.restart_plugin("echo") for _ in range(100)))
        assert runtime.summary("echo").status is PluginStatus.RUNNING
        assert 2 <= runtime.summary("echo").generation <= 3
        started = [int(path.suffix[1:]) for path in directory.glob("alive.*")]
        assert [pid for pid in started if is_alive(pid)] == [runtime.summary("echo").pid]
    assert bool(list(directory.glob("beside.*"))) is not exclusive


@linux_only
async def test_a_stop_and_an_uninstall_during_a_restart_leave_nothing(lab: Lab) -> None:
    directory = lab.plugin("echo", ECHO)
    async with lab.manager(env={"LAB": str(lab.directory)}) as runtime:
        await runtime.start_all()
        lab.script(directory / "echo", "time.sleep(60)")
        restart = asyncio.create_task(runtime.restart_plugin("echo"))
        await until(lambda: runtime.summary("echo").substate == "replacing")
        shutil.rmtree(directory)
        (summary,) = runtime.runtime_summaries()
        assert await runtime.discover_plugins() == []
        assert await runtime.request("echo", "e", 1) == {"echo": 1}
        assert runtime.summary("echo").pid == summary.pid
        await runtime.stop_plugin("echo")
        with pytest.raises(PluginStartError):
            await restart
        assert not relatives(lab)
        assert await runtime.discover_plugins() == []
        assert runtime.runtime_summaries() == []


@linux_only
async def test_what_was_uninstalled_is_not_tried_again(lab: Lab) -> None:
    """Also not once there is another plugin of that name."""
    directory = lab.plugin("echo", "sys.exit(1)")
    options = {"restart": "always", "restart_delay": 1.0, "crash_limit": 1000}
    async with lab.manager(**options, env={"LAB": str(lab.directory)}) as runtime:
        await runtime.start_all()
        await until(lambda: runtime.summary("echo").substate == "backoff")
        due = runtime.summary("echo").next_retry_at
        shutil.rmtree(directory)
        assert await runtime.discover_plugins() == []
        lab.plugin("echo", ECHO)
        await runtime.discover_plugins()
        await runtime.start_plugin("echo")
        pid = runtime.summary("echo").pid
        while time.time() < due + 1.0:
            assert relatives(lab) == [pid]
            await asyncio.sleep(0.01)
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


async def test_orders_that_cross_leave_one_truth(lab: Lab) -> None:
    """As often as ``SUPERVISOR_RACES`` says."""
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        for number in range(RACES):
            orders = [runtime.restart_plugin, runtime.stop_plugin, runtime.start_plugin]
            if number % 2:
                orders.reverse()
            tasks = []
            for order in orders:
                tasks.append(asyncio.create_task(order("echo")))
                await asyncio.sleep(0.0005 * (number % 5))
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
            await settle(runtime, PluginStatus.RUNNING)
            assert await runtime.request("echo", "e", number) == {"echo": number}
        await runtime.stop_plugin("echo")
        assert runtime.summary("echo").status is PluginStatus.STOPPED


async def settle(runtime: PluginRuntimeManager, status: PluginStatus) -> None:
    """The last order was a start or a restart: that is where it must come to rest."""
    await until(lambda: runtime.summary("echo").status is status, f"{status}")


async def test_start_and_stop_twice_are_as_good_as_once(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        pid = runtime.summary("echo").pid
        await runtime.start_plugin("echo")
        assert runtime.summary("echo").pid == pid
        await asyncio.gather(runtime.stop_plugin("echo"), runtime.stop_plugin("echo"))
        await runtime.stop_plugin("echo")
        assert runtime.summary("echo").status is PluginStatus.STOPPED


async def test_stopping_one_in_error_is_what_the_operator_sees(lab: Lab) -> None:
    lab.plugin("crash", "sys.exit(1)")
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("crash").status is PluginStatus.ERROR
        await runtime.stop_plugin("crash")
        assert runtime.summary("crash").status is PluginStatus.STOPPED


async def test_the_heartbeat_moves_every_second(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        first = runtime.summary("echo").last_heartbeat
        assert first == pytest.approx(time.time(), abs=5)
        await until(lambda: runtime.summary("echo").last_heartbeat > first)
        await until(lambda: runtime.summary("echo").uptime_s > 1)


async def test_descriptors_return_to_the_baseline(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    lab.plugin("crash", "sys.exit(1)")
    async with lab.manager() as runtime:
        await runtime.start_all()
        await runtime.stop_all()
        baseline = len(list(Path("/dev/fd").iterdir()))
        for _ in range(5):
            await runtime.start_all()
            await runtime.stop_all()
        assert len(list(Path("/dev/fd").iterdir())) == baseline


async def test_a_connection_that_an_escapee_holds_is_closed(lab: Lab) -> None:
    code = """
    connection = Connection()
    connection.greet()
    escapee = subprocess.Popen(
        ["sleep", "60"], start_new_session=True, pass_fds=[connection.socket.fileno()]
    )
    open("child", "w").write(f"{escapee.pid}\\n")
    time.sleep(60)
    """
    directory = lab.plugin("parent", code)
    async with lab.manager() as runtime:
        await runtime.start_all()
        child = await pid_in(directory / "child")
        call = asyncio.create_task(runtime.request("parent", "e", {}))
        await until(lambda: runtime.summary("parent").in_flight)
        os.kill(runtime.summary("parent").pid, signal.SIGKILL)
        with pytest.raises(PluginUnavailableError):
            await asyncio.wait_for(call, 2)
        await until_status(runtime, "parent", "Error")
        await runtime.start_plugin("parent")
        for pid in (child, await pid_in(directory / "child")):
            os.kill(pid, signal.SIGKILL)
