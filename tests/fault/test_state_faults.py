"""What the next host makes of what the last one left: its processes, its orders, a broken file."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.disks import remount, small_disk
from tests.support.lab import ECHO, Lab, is_alive, pid_in, until, until_status
from tests.support.serving import DEADLINE_S, Serve, wait_until

from vconnect.plugins.state_file import HostState, Identity, Record, RecordedProcess, StateFile
from vconnect.processes.procfs import boot_id, start_time

LOOPS = pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
DEAD_HOST = Identity(2**22 + 1, 1)  # a PID that nobody has

# Ends by nobody's end but its own, and has a child in its session.
LASTING = """
child = subprocess.Popen(["sleep", "300"])
with open("child.pid", "w") as file:
    print(child.pid, file=file)
try:
    serve()
finally:
    time.sleep(300)
"""


@pytest.fixture
def sleepers() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start processes as leaders of sessions of their own; they end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **environ: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command or ("sleep", "300"),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **environ},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def left_behind() -> Iterator[list[RecordedProcess]]:
    """What the test leaves for the next host to end, and must not outlive a test that fails."""
    instances: list[RecordedProcess] = []
    yield instances
    for instance in instances:
        if start_time(instance.pid) == instance.start:
            os.killpg(instance.pid, signal.SIGKILL)


def state_file(lab: Lab) -> StateFile:
    return StateFile(lab.state, lab.socket)


def recorded(lab: Lab) -> Record:
    record = state_file(lab).read()
    assert record is not None
    return record


def leave(lab: Lab, *pids: int, off_by: int = 0, boot: str | None = None) -> None:
    """Write what a dead host would have, with these plugins running."""
    instances = [
        RecordedProcess(
            plugin=f"p{pid}", pid=pid, start=(start_time(pid) or 0) + off_by, generation=1
        )
        for pid in pids
    ]
    state_file(lab).write(
        Record(
            version=1,
            socket=str(lab.socket),
            boot=boot_id() if boot is None else boot,
            host=DEAD_HOST,
            instances=tuple(instances),
        )
    )


async def open_state(lab: Lab) -> HostState:
    state = HostState(lab.state, lab.socket)
    await state.open()
    await state.flush()
    assert recorded(lab).instances == ()
    return state


# --- what a killed host left ------------------------------------------------------------------


@LOOPS
def test_the_next_start_ends_exactly_what_is_recorded(
    lab: Lab,
    loop: str,
    sleepers: Callable[..., subprocess.Popen[bytes]],
    left_behind: list[RecordedProcess],
) -> None:
    lab.plugin("lasting", LASTING)
    bystander = sleepers()
    with Serve(lab, loop) as first:
        first.wait_for_log("plugin handshake: lasting")
        wait_until(lambda: recorded(lab).instances)
        (left,) = recorded(lab).instances
        left_behind.append(left)
        child = int((lab.plugins / "lasting" / "child.pid").read_text())
        host = first.host_pid()
        first.process.send_signal(signal.SIGSTOP)  # or it would clean up before it is killed, too
        os.kill(host, signal.SIGKILL)
        first.process.kill()
        first.ends()
        wait_until(lambda: not is_alive(host))
    assert is_alive(left.pid)
    assert is_alive(child)
    forged = RecordedProcess(
        plugin="forged", pid=bystander.pid, start=(start_time(bystander.pid) or 0) - 1, generation=1
    )
    record = recorded(lab)
    state_file(lab).write(
        Record(
            version=1,
            socket=record.socket,
            boot=record.boot,
            host=record.host,
            instances=(*record.instances, forged),
        )
    )
    first.log.unlink()
    with Serve(lab, loop) as second:
        second.wait_for_log("plugin handshake: lasting")
        assert not is_alive(left.pid)
        assert not is_alive(child)
        log = second.log.read_text()
        assert f"plugin lasting: ending processes that a killed host (PID {host}) left: PID" in log
        assert "forged" not in log
        assert is_alive(bystander.pid)
        second.process.terminate()
        assert second.ends() == 0
    assert recorded(lab).instances == ()


@pytest.mark.both_loops
class TestSurvivors:
    async def test_a_recorded_process_is_ended(self, lab: Lab, sleepers) -> None:
        process = sleepers()
        leave(lab, process.pid)
        await open_state(lab)
        assert process.wait(DEADLINE_S) == -signal.SIGTERM

    async def test_one_that_ignores_sigterm_is_killed(
        self, lab: Lab, sleepers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vconnect.plugins.state_file._GRACE_S", 0.1)
        note = lab.directory / "ready"
        code = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print(1, file=open(sys.argv[1], 'w'), flush=True)\n"
            "time.sleep(300)\n"
        )
        process = sleepers(sys.executable, "-c", code, str(note))
        await pid_in(note)
        leave(lab, process.pid)
        await open_state(lab)
        assert process.wait(DEADLINE_S) == -signal.SIGKILL

    @pytest.mark.parametrize("off_by", [-1, 1])
    async def test_a_recycled_pid_is_not_touched(self, lab: Lab, sleepers, off_by: int) -> None:
        process = sleepers(VCONNECT_HOST_PID=str(DEAD_HOST.pid))
        leave(lab, process.pid, off_by=off_by)
        await open_state(lab)
        assert process.poll() is None

    async def test_what_another_boot_recorded_is_not_touched(self, lab: Lab, sleepers) -> None:
        process = sleepers()
        leave(lab, process.pid, boot="another")
        await open_state(lab)
        assert process.poll() is None

    @pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
    @pytest.mark.parametrize("is_ours", [True, False])
    async def test_without_its_leader_a_session_is_told_by_its_mark(
        self, lab: Lab, sleepers, is_ours: bool
    ) -> None:
        note = lab.directory / "orphan.pid"
        host = DEAD_HOST.pid if is_ours else DEAD_HOST.pid + 1
        go = lab.directory / "go"
        command = f"sleep 300 & echo $! > {note}; while [ ! -e {go} ]; do sleep 0.01; done"
        leader = sleepers("/bin/sh", "-c", command, VCONNECT_HOST_PID=str(host))
        orphan = await pid_in(note)
        leave(lab, leader.pid)
        go.touch()
        leader.wait(DEADLINE_S)
        try:
            await open_state(lab)
            assert is_alive(orphan) is not is_ours
        finally:
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)


# --- what the operator asked for --------------------------------------------------------------


@pytest.mark.slow
@LOOPS
def test_what_the_operator_stopped_stays_stopped(lab: Lab, loop: str) -> None:
    for name in ("one", "two"):
        lab.plugin(name, ECHO)
    with Serve(lab, loop) as host:
        host.wait_for_log("2 of 2 plugin(s) running")
        assert host.ask("stop", "wk.plugin.one").returncode == 0
        host.kill_host()  # no time to write anything down
    with Serve(lab, loop) as host:
        host.wait_for_log("1 of 2 plugin(s) running")
        host.wait_for_log("plugin one stays stopped")
        told = host.status("one")
        assert (told["status"], told["desired"]) == ("Installed", "stopped")
        assert (told["reason"], told["pid"]) == ("stopped by the operator", None)
        assert " stopped " in host.ask("list").stdout
        assert host.status("two")["status"] == "Running"
        assert host.ask("start", "one").returncode == 0
        assert host.status("one")["reason"] == ""
        host.process.terminate()  # this stops both, and is nobody's order to the plugins
        assert host.ends() == 0
    host.log.unlink()
    with Serve(lab, loop) as host:
        host.wait_for_log("2 of 2 plugin(s) running")


@pytest.mark.both_loops
async def test_the_hosts_own_stops_are_no_orders(lab: Lab) -> None:
    for name in ("one", "two", "three"):
        lab.plugin(name, ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        await runtime.stop_plugin("two")
        await runtime.stop_plugin("three")
        await runtime.restart_plugin("three")
        await runtime.stop_all()
    async with lab.manager() as runtime:
        await runtime.start_all()
        told = {plugin.name: plugin.status for plugin in runtime.runtime_summaries()}
        assert told == {"one": "Running", "two": "Installed", "three": "Running"}


@pytest.mark.both_loops
async def test_two_hosts_share_plugins_but_no_orders(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    other = lab.socket.with_name("other.sock")
    async with lab.manager() as runtime:
        await runtime.start_all()
        await runtime.stop_plugin("echo")
        async with lab.manager(socket_path=other) as second:
            await second.start_all()
            assert second.summary("echo").status == "Running"
    hosts = lab.state.parent
    # Neither orders nor data: each has a directory of its own, which says whose it is.
    assert len(list(hosts.glob("*/*.json"))) == len(list(hosts.glob("*/data/echo"))) == 2
    owners = {file.read_text().strip() for file in hosts.glob("*/socket")}
    assert owners == {str(lab.socket), str(other)}


# --- files that are broken, newer, or cannot be written -----------------------------------------


@LOOPS
@pytest.mark.parametrize("data", [b"", b'{"version": 1, "socket": "/ru', b"\0\xff garbage"])
def test_a_broken_file_does_not_keep_the_host_from_starting(
    lab: Lab, loop: str, data: bytes
) -> None:
    lab.plugin("echo", ECHO)
    path = state_file(lab).path
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with Serve(lab, loop) as host:
        host.wait_for_log("1 of 1 plugin(s) running")
        host.wait_for_log(f"state file {path} is corrupt")
        wait_until(path.exists)
        assert [instance.plugin for instance in recorded(lab).instances] == ["echo"]
    assert Path(f"{path}.broken").read_bytes() == data
    assert "Traceback" not in host.log.read_text()


@LOOPS
def test_a_newer_file_is_refused_in_words(lab: Lab, loop: str) -> None:
    lab.plugin("echo", ECHO)
    path = state_file(lab).path
    path.parent.mkdir(parents=True)
    path.write_text('{"version": 2}')
    with Serve(lab, loop) as host:
        assert host.ends() == 1
    last = host.log.read_text().splitlines()[-1]
    assert last.startswith(f"error: state file {path} has format version 2; ")
    assert "Traceback" not in host.log.read_text()
    assert path.read_text() == '{"version": 2}'
    assert not lab.socket.exists()


# Fails every write to a file that is larger than nothing, as a full disk does.
FULL = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
os.execv(sys.argv[2], sys.argv[2:])
"""


@LOOPS
def test_a_full_disk_is_told_once_and_plugins_go_on(lab: Lab, loop: str) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    lab.plugin("echo", ECHO)
    reading, writing = os.pipe()  # the log must not go to the full disk
    full = (sys.executable, "-c", FULL, "20")  # the lock file, with a PID, is smaller
    with os.fdopen(reading, "rb") as log:
        with Serve(lab, loop, stderr=writing, before=full) as host:
            os.close(writing)
            wait_until(lambda: host.status("echo").get("status") == "Running")
            for order in ("stop", "start", "restart"):
                assert host.ask(order, "echo").returncode == 0
            assert host.status("echo")["status"] == "Running"
            host.process.terminate()
            assert host.ends() == 0
        said = log.read().decode()
    assert said.count("cannot be written") == 1
    assert os.strerror(errno.EFBIG) in said
    assert "Traceback" not in said
    assert [path for path in lab.state.rglob("*") if path.is_file()] == []


@pytest.mark.both_loops
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
async def test_a_disk_that_turns_read_only(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name in ("stopped", "killed"):
        lab.plugin(name, ECHO)
    place = lab.directory / "memory"
    with small_disk(place):
        async with lab.manager(state_dir=place, restart="always", restart_delay=0.01) as runtime:
            await runtime.start_all()
            remount(place, "ro")
            await runtime.stop_plugin("stopped")
            os.kill(runtime.summary("killed").pid, signal.SIGKILL)
            await until(lambda: runtime.summary("killed").generation == 2)
            await until_status(runtime, "killed", "Running")
            assert await runtime.request("killed", "e", 1) == {"echo": 1}
            for file in ("state file", "file of crash reports"):
                assert len(re.findall(f"{file} .* cannot be written", caplog.text)) == 1
            remount(place, "rw")
            await runtime.restart_plugin("killed")
            await until(lambda: "can be written again" in caplog.text)
            assert StateFile(place, lab.socket).read().desired["stopped"] == "stopped"


@pytest.mark.both_loops
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_that_cannot_be_written(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.plugin("echo", ECHO)
    place = lab.directory / "memory"
    place.mkdir(mode=0o500)
    async with lab.manager(state_dir=place) as runtime:
        await runtime.start_all()
        await runtime.stop_plugin("echo")
        await runtime.start_plugin("echo")
        assert runtime.summary("echo").status == "Running"
    assert caplog.text.count("cannot be written") == 1
