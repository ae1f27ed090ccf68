"""The processes of one start: who belongs to it, who gets a signal, who is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vconnect.processes import procfs, tree
from vconnect.processes.cgroup import Cgroup
from vconnect.processes.procfs import ProcessStat, read_stat
from vconnect.processes.tree import Origin, ProcessTree, origin_of

pytestmark = pytest.mark.skipif(not procfs.has_proc(), reason="needs /proc")


@contextmanager
def session(*argv: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command that leads a session, and kill all of that at the end."""
    leader = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE, text=True)
    try:
        yield leader
    finally:
        ProcessTree(leader.pid).kill()
        leader.communicate()


def said(leader: subprocess.Popen[str]) -> int:
    """Return the PID that a command prints."""
    assert leader.stdout is not None
    return int(leader.stdout.readline())


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


# One that begins a session of its own below another process, as `script` and `sudo` do.
BELOW = "setsid --wait sh -c 'echo $$; exec sleep 60'"


def test_a_process_of_another_session_belongs_to_its_ancestor():
    with session("sh", "-c", f"{BELOW}; true") as leader:
        pid = said(leader)
        own = ProcessTree(leader.pid)
        try:
            assert not own.owns(pid)
            assert own.begat(origin_of(pid))
            assert not ProcessTree(pid).begat(origin_of(leader.pid))
            assert not own.begat(origin_of(os.getpid()))
        finally:
            os.kill(pid, signal.SIGKILL)


def test_a_parent_that_is_younger_is_none(monkeypatch: pytest.MonkeyPatch):
    """Its PID was reused."""
    stats = {
        7: ProcessStat(7, "S", 6, 7, 7, 0.0, 1, 50, 0),
        6: ProcessStat(6, "S", 5, 6, 6, 0.0, 1, 40, 0),
        5: ProcessStat(5, "S", 4, 5, 5, 0.0, 1, 45, 0),
    }
    monkeypatch.setattr(tree, "read_stat", stats.get)
    assert origin_of(7).ancestors == (6,)


@pytest.mark.parametrize(
    ("path", "belongs"),
    [
        ("/host/a.1", True),
        ("/host/a.1/below", True),
        ("/host/a.12", False),
        ("/host", False),
        ("/other/host/a.1", False),
        ("/", False),
        ("", False),
    ],
)
def test_a_process_of_its_cgroup_belongs_to_it(path: str, belongs: bool):
    own = ProcessTree(1 << 30, Cgroup(Path("/sys/fs/cgroup/host/a.1")))
    assert own.begat(Origin((), path)) is belongs


def test_a_stopped_process_is_woken_to_hear_what_it_is_asked():
    code = "trap 'exit 7' TERM; echo $$; kill -STOP $$; while :; do sleep 0.01; done"
    with session("sh", "-c", code) as leader:
        said(leader)
        eventually(lambda: (stat := read_stat(leader.pid)) is not None and stat.state == "T")
        ProcessTree(leader.pid).ask(signal.SIGTERM)
        assert leader.wait(timeout=10) == 7


def test_what_proc_hides_gets_its_signal_and_is_not_taken_for_gone(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tree, "has_proc", lambda: False)
    with session("sh", "-c", "sleep 60 & echo $!; exec sleep 60") as leader:
        child = said(leader)
        own = ProcessTree(leader.pid)
        os.kill(leader.pid, signal.SIGKILL)
        assert not own.is_empty(is_reaped=False)
        leader.wait()
        assert not own.is_empty(is_reaped=True)
        own.send(signal.SIGKILL)
        eventually(lambda: own.is_empty(is_reaped=True))
        assert read_stat(child) is None or not own.has_followers()


def test_a_member_that_may_not_be_inspected_counts(monkeypatch: pytest.MonkeyPatch):
    """As with hidepid=1."""

    def refuse(_: int) -> ProcessStat:
        raise PermissionError

    with session("sh", "-c", "sleep 60 & echo $!; exec sleep 60") as leader:
        child = said(leader)
        monkeypatch.setattr(procfs, "_read_stat", refuse)
        own = ProcessTree(leader.pid)
        assert {(stat.pid, stat.state) for stat in own.members()} == {
            (leader.pid, "?"),
            (child, "?"),
        }
        assert not own.is_empty(is_reaped=False)
        assert own.has_followers()


def test_who_is_left_has_a_name_and_a_reason(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: int, __: int) -> None:
        raise PermissionError

    with session("sh", "-c", "echo $$; exec sleep 60") as leader:
        said(leader)
        eventually(lambda: procfs.command_name(leader.pid) == "sleep")
        own = ProcessTree(leader.pid)
        user = tree._user(os.geteuid())
        assert own.who_is_left() == (
            f"PID {leader.pid} ({user}, sleep) cannot be ended: it does not die of SIGKILL"
        )
        assert not own.is_beyond_reach()
        with monkeypatch.context() as refusing:
            refusing.setattr(os, "kill", refuse)
            assert own.who_is_left().endswith("cannot be ended: operation not permitted")
            assert own.is_beyond_reach()


def test_one_in_the_kernel_and_the_number_of_the_others(monkeypatch: pytest.MonkeyPatch):
    stats = [ProcessStat(1 << 30 | at, "D", 1, 2, 2, 0.0, 1, 1, 0) for at in range(5)]
    monkeypatch.setattr(tree, "members", lambda _: iter(stats))
    words = ProcessTree(1 << 30).who_is_left()
    assert words.startswith(f"PID {1 << 30} cannot be ended: it waits in the kernel")
    assert words.endswith("; and 2 more")


def test_a_user_without_a_name_is_a_number():
    assert tree._user(54321) == "user 54321"
    assert tree._user(None) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process to another user")
@pytest.mark.slow
def test_the_process_of_another_user_ends_the_patience_and_not_the_host(tmp_path: Path):
    """As with ``sudo``: an unprivileged host, and a member of the session that belongs to root."""
    program = tmp_path / "host.py"
    program.write_text(
        """
import asyncio, os, sys
from pathlib import Path
from vconnect.processes.process import LaunchSpec, PluginProcess

async def main():
    spec = LaunchSpec(plugin="x", argv=(sys.argv[1],), directory=Path("/"), environment={})
    process = PluginProcess.spawn(spec)
    while not os.path.exists(sys.argv[2]):
        await asyncio.sleep(0.01)
    left = await process.end(0.2, lambda number: None)
    print(left)
    print(await process.exited, process.released.done())

os.setgid(65534); os.setuid(65534)
asyncio.run(main())
"""
    )
    # A setuid copy of sleep is root's, as sudo and its command are.
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    helper = tmp_path / "rootsleep"
    source = tmp_path / "helper.c"
    source.write_text("#include <unistd.h>\nint main(void) { return setuid(0) || sleep(8); }\n")
    subprocess.run(["cc", "-o", helper, source], check=True)
    helper.chmod(0o4755)
    ready = tmp_path / "open" / "ready"
    ready.parent.mkdir(mode=0o777)
    ready.parent.chmod(0o777)
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\n{helper} &\nsleep 0.3\necho > {ready}\nexec sleep 60\n")
    plugin.chmod(0o755)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, program, plugin, ready], capture_output=True, text=True, timeout=30
    )
    os.kill(int(done.stdout.split()[1]), signal.SIGKILL)
    assert "(root, rootsleep) cannot be ended: operation not permitted" in done.stdout, done
    assert done.stdout.splitlines()[1] in ("killed by SIGTERM True", "exited: code 143 True")
    assert time.monotonic() - began < 6


# The session's processes die, and their parent leaves the session without reaping them.
DEAD = """
import os, signal, sys
if os.fork():
    sys.exit()
signal.signal(signal.SIGINT, lambda *_: sys.exit())
for _ in range({dead}):
    if not os.fork():
        os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
signal.pause()
"""


@pytest.mark.parametrize(("dead", "is_empty"), [(20, True), (600, False)])
def test_a_look_at_the_dead_has_an_end(dead: int, is_empty: bool):
    with session(sys.executable, "-c", DEAD.format(dead=dead)) as leader:
        pid = said(leader)
        own = ProcessTree(leader.pid)
        leader.wait()
        try:
            eventually(lambda: own.is_empty(is_reaped=True) is is_empty)
            assert own.has_followers() is not is_empty
            assert ("dead processes" in own.who_is_left()) is not is_empty
            assert not own.is_beyond_reach()
        finally:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: own.is_empty(is_reaped=True))


def test_thousands_of_living_are_not_read_about(monkeypatch: pytest.MonkeyPatch):
    """The group has its signal by one call, so only others are looked for."""
    read: list[int] = []
    really_read = procfs._read_stat

    def noted(pid: int) -> ProcessStat:
        read.append(pid)
        return really_read(pid)

    monkeypatch.setattr(procfs, "_read_stat", noted)
    with session("sh", "-c", "for i in $(seq 100); do sleep 60 & done; echo $$; wait") as leader:
        said(leader)
        own = ProcessTree(leader.pid)
        own.ask(signal.SIGURG)  # which nobody minds
        assert not own.is_empty(is_reaped=False)
        assert len(read) <= 2
        own.kill()
        assert len(read) <= 2
        eventually(lambda: own.is_empty(is_reaped=False))
