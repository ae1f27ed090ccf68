"""Nothing outlives the host: whoever is killed, in whatever order, no plugin's process is left."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.lab import ECHO, ORDERLY, Lab, is_alive, new_lab, relatives
from tests.support.sandboxes import IN_BWRAP, needs_bwrap
from tests.support.serving import DEADLINE_S, VCONNECT, Serve, wait_until

RUNS = int(os.environ.get("GUARDIAN_RUNS", "10"))
LOOPS = ("--uvloop", "--no-uvloop")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper")

# A leader; a shell with two children; one that has left session and group, and whose parent is
# gone; and one like that which ignores every polite signal.
FAMILY = """
subprocess.Popen(["/bin/sh", "-c", "sleep 300 & sleep 300"])
escape = "import os,sys; os.fork() and os._exit(0); os.setsid(); os.execvp('sleep',['sleep','300'])"
subprocess.run([sys.executable, "-c", escape])
stubborn = '''
import os, signal, time
os.fork() and os._exit(0)
os.setsid()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
time.sleep(300)
'''
subprocess.run([sys.executable, "-c", stubborn])
serve()
time.sleep(300)  # it does not end with its connection
"""
FAMILY_SIZE = 6
KEEPERS = 2  # of a sandbox: one outside, which is the leader then, and one inside


@pytest.fixture
def lab() -> Iterator[Lab]:
    with new_lab() as made:
        yield made
        for pid in relatives(made):
            os.kill(pid, signal.SIGKILL)  # a failed test must not leave what it was about


def marked(lab: Lab, **settings: object) -> str:
    """Write a configuration by which every process below the plugins can be told."""
    config = lab.directory / "vconnect.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    env = f'[plugins.env]\nLAB = "{lab.directory}"'
    config.write_text("\n".join(["[plugins]", "stop_timeout = 20", *lines, env, ""]))
    return str(config)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# --- the host dies ----------------------------------------------------------------------------


@pytest.mark.parametrize("run", range(RUNS))
def test_nobody_outlives_a_killed_host(lab: Lab, run: int) -> None:
    lab.plugin("family", FAMILY)
    with Serve(lab, LOOPS[run % 2], "--config", marked(lab)) as host:
        host.wait_for_log("plugin handshake: family")
        wait_until(lambda: len(relatives(lab)) == FAMILY_SIZE)
        os.kill(host.host_pid(), signal.SIGKILL)
        assert wait_until(lambda: not relatives(lab)) < 1.0
        assert host.ends() == 128 + signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_nobody_outlives_a_clean_end(lab: Lab, loop: str) -> None:
    lab.plugin("family", FAMILY)
    with Serve(lab, loop, "--config", marked(lab)) as host:
        host.wait_for_log("plugin handshake: family")
        wait_until(lambda: len(relatives(lab)) == FAMILY_SIZE)
        host.process.terminate()
        assert host.ends() == 0
        assert not relatives(lab)


@needs_bwrap
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("guardian", ["--guardian", "--no-guardian"])
def test_no_sandbox_outlives_a_killed_host(lab: Lab, loop: str, guardian: str) -> None:
    """Not even where there is no guardian: then the kernel ends it."""
    lab.plugin("family", FAMILY)
    with Serve(lab, loop, guardian, "--config", marked(lab, **IN_BWRAP)) as host:
        host.wait_for_log("plugin handshake: family")
        wait_until(lambda: len(relatives(lab)) == FAMILY_SIZE + KEEPERS)
        os.kill(host.host_pid(), signal.SIGKILL)
        assert wait_until(lambda: not relatives(lab)) < 1.0
        host.ends()


@needs_bwrap
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("order", ["stop", "restart"])
def test_an_order_empties_the_sandbox(lab: Lab, loop: str, order: str) -> None:
    """Also of those that a plugin without a sandbox would leave to the host's end."""
    lab.plugin("family", FAMILY)
    with Serve(lab, loop, "--config", marked(lab, **IN_BWRAP)) as host:
        host.wait_for_log("plugin handshake: family")
        wait_until(lambda: len(relatives(lab)) == FAMILY_SIZE + KEEPERS)
        first = relatives(lab)
        assert host.ask(order, "family").returncode == 0
        assert not [pid for pid in first if is_alive(pid)]
        assert bool(relatives(lab)) == (order == "restart")


@pytest.mark.slow
def test_a_start_after_that_is_clean(lab: Lab) -> None:
    lab.plugin("family", FAMILY)
    with Serve(lab, "--config", marked(lab)) as first:
        first.wait_for_log("plugin handshake: family")
        first.kill_host()
    first.log.unlink()
    with Serve(lab, "--config", marked(lab)) as second:
        second.wait_for_log("plugin handshake: family")
        log = second.log.read_text()
        assert "left" not in log
        assert "ERROR" not in log
        second.process.terminate()
        assert second.ends() == 0


def test_children_from_before_are_nobodys_business(lab: Lab) -> None:
    """As of a shell that starts something and then becomes ``vconnect serve``."""
    lab.plugin("echo", ECHO)
    note = lab.directory / "before.pid"
    shell = ("/bin/sh", "-c", f'sleep 300 & echo $! > {note}; exec "$@"', "sh")
    with Serve(lab, before=shell) as host:
        host.wait_for_log("plugin handshake: echo")
        child = int(note.read_text())
        try:
            host.kill_host()
            assert is_alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_guardian_is_small(lab: Lab) -> None:
    with Serve(lab) as host:
        wait_until(lab.socket.exists)
        guardian = Path(f"/proc/{host.process.pid}")
        assert len(list((guardian / "task").iterdir())) == 1
        assert len(list((guardian / "fd").iterdir())) <= 4  # the usual three and the pipe
        assert (guardian / "comm").read_text() == "vconnect-guard\n"
        assert "asyncio" not in (guardian / "maps").read_text()


# --- the guardian dies --------------------------------------------------------------------------

# Waits for everybody who loses their parent below it, and tells how they ended.
REAPER = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.Popen(sys.argv[1:])
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    print(f"buried {pid}: {os.waitstatus_to_exitcode(status)}", flush=True)
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_host_without_its_guardian_ends_in_order(lab: Lab, loop: str) -> None:
    for name in ("one", "two"):
        lab.plugin(name, ORDERLY)
    reaper = (sys.executable, "-c", REAPER)
    with Serve(lab, loop, "--config", marked(lab), before=reaper) as host:
        host.wait_for_log("2 of 2 plugin(s) running")
        told = json.loads(host.ask("status", "--json").stdout)
        os.kill(told["guardian_pid"], signal.SIGKILL)
        assert host.ends() == 0  # the reaper, when nobody is left
    log = host.log.read_text()
    assert "the guardian has died" in log
    assert f"buried {told['guardian_pid']}: -9\n" in log
    assert f"buried {told['pid']}: 1\n" in log
    assert "Traceback" not in log
    assert sorted(lab.order()[2:]) == ["end one", "end two"]
    assert not lab.socket.exists()
    assert not relatives(lab)


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_arrives_once(lab: Lab, loop: str, number: signal.Signals) -> None:
    lab.plugin("polite", ORDERLY)
    with Serve(lab, loop) as host:
        host.wait_for_log("plugin handshake: polite")
        host.process.send_signal(number)
        assert host.ends() == 0
    assert host.log.read_text().count("stopping plugins") == 1
    assert "again" not in host.log.read_text()
    assert lab.order() == ["begin polite", "end polite"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("host_first", [False, True])
def test_a_signal_to_both_counts_once(lab: Lab, loop: str, host_first: bool) -> None:
    """As a service manager sends it to a control group, and ``killall`` by name."""
    lab.plugin("polite", ORDERLY)
    with Serve(lab, loop) as host:
        host.wait_for_log("plugin handshake: polite")
        pids = [host.process.pid, host.host_pid()]
        for pid in reversed(pids) if host_first else pids:
            os.kill(pid, signal.SIGTERM)
        assert host.ends() == 0
    assert "again" not in host.log.read_text()
    assert lab.order() == ["begin polite", "end polite"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("guardian", ["--guardian", "--no-guardian"])
def test_gnu_timeout_ends_it_in_order(lab: Lab, loop: str, guardian: str) -> None:
    """It signals its child and at once the child's group."""
    lab.plugin("polite", ORDERLY)
    with Serve(lab, loop, guardian, before=("timeout", "60")) as host:
        host.wait_for_log("plugin handshake: polite")
        host.process.terminate()
        assert host.ends() in (0, 128 + signal.SIGTERM)  # the latter is timeout's own
    assert "again" not in host.log.read_text()
    assert lab.order() == ["begin polite", "end polite"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("guardian", ["--guardian", "--no-guardian"])
@pytest.mark.parametrize("how", ["block", "ignore"])
def test_what_was_blocked_or_ignored_before_is_not_inherited(
    lab: Lab, loop: str, guardian: str, how: str
) -> None:
    lab.plugin("polite", ORDERLY)
    lab.plugin("fails", "sys.exit(3)")
    code = {
        "block": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
        "ignore": "[signal.signal(number, signal.SIG_IGN) for number in"
        " (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGQUIT)]",
    }[how]
    code = f"import os, signal, sys; {code}; os.execv(sys.argv[1], sys.argv[1:])"
    with Serve(lab, loop, guardian, before=(sys.executable, "-c", code)) as host:
        host.wait_for_log("plugin handshake: polite")
        host.wait_for_log("fails exited: code 3")
        fields = Path(f"/proc/{host.status('polite')['pid']}/status").read_text()
        masks = dict(line.split(":\t") for line in fields.splitlines() if line.startswith("Sig"))
        # Python ignores SIGPIPE and SIGXFSZ by itself.
        pythons = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
        assert (int(masks["SigBlk"], 16), int(masks["SigIgn"], 16)) == (0, pythons)
        host.process.terminate()
        assert host.ends() == 0
    assert lab.order() == ["begin polite", "end polite"]


def test_a_signal_to_the_host_alone_will_do(lab: Lab) -> None:
    with Serve(lab) as host:
        wait_until(lab.socket.exists)
        host.wait_for_log("plugin(s) running")
        os.kill(host.host_pid(), signal.SIGTERM)
        assert host.ends() == 0


def test_a_host_killed_by_a_signal_is_told_by_the_exit_code(lab: Lab) -> None:
    with Serve(lab) as host:
        host.wait_for_log("plugin(s) running")
        host.process.send_signal(signal.SIGUSR1)  # it is ignored
        host.wait_for_log("received SIGUSR1, which this host ignores")
        os.kill(host.host_pid(), signal.SIGALRM)  # nobody handles it: it kills
        assert host.ends() == 128 + signal.SIGALRM


def test_both_are_suspended_and_continued(lab: Lab) -> None:
    with Serve(lab) as host:
        host.wait_for_log("plugin(s) running")
        pids = [host.process.pid, host.host_pid()]
        host.process.send_signal(signal.SIGTSTP)
        wait_until(lambda: [state_of(pid) for pid in pids] == ["T", "T"])
        host.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "T" not in [state_of(pid) for pid in pids])
        assert host.ask("status").returncode == 0
        host.process.terminate()
        assert host.ends() == 0


def test_a_hangup_is_ignored_under_nohup(lab: Lab) -> None:
    shell = ("/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh")
    with Serve(lab, before=shell) as host:
        host.wait_for_log("plugin(s) running")
        host.process.send_signal(signal.SIGHUP)
        host.process.send_signal(signal.SIGCONT)  # forwarded after it, had it been
        assert host.ask("status").returncode == 0
        host.process.terminate()
        assert host.ends() == 0
    assert "SIGHUP" not in host.log.read_text()


ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_ctrl_c_on_a_terminal_arrives_once(lab: Lab) -> None:
    """Also on one that stops whoever writes from the background, as the host's group does."""
    lab.plugin("polite", ORDERLY)
    ours, theirs = pty.openpty()
    modes = termios.tcgetattr(theirs)
    modes[3] |= termios.TOSTOP
    termios.tcsetattr(theirs, termios.TCSANOW, modes)
    places = ("--plugin-dir", str(lab.plugins), "--socket", str(lab.socket))
    host = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, *VCONNECT, "serve", *places],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, b"plugin(s) running")
        os.write(ours, b"\x03")
        shown += read_until(ours, b"plugin polite has ended")
        assert host.wait(DEADLINE_S) == 0
    finally:
        if host.poll() is None:
            host.kill()
            host.wait()
        os.close(ours)
    assert shown.count(b"SIGINT: stopping") == 1
    assert b"again" not in shown


def read_until(descriptor: int, text: bytes) -> bytes:
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NONBLOCK)
    shown = b""

    def heard() -> bool:
        nonlocal shown
        with suppress(BlockingIOError):
            shown += os.read(descriptor, 65536)
        return text in shown

    wait_until(heard)
    return shown


def test_a_suspended_host_that_loses_its_guardian_ends_in_order(lab: Lab) -> None:
    """The kernel wakes whoever is stopped in a group that nobody could continue any more."""
    lab.plugin("polite", ORDERLY)
    with Serve(lab) as host:
        host.wait_for_log("plugin(s) running")
        pid = host.host_pid()
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) == "T")
        host.process.kill()
        host.ends()
        wait_until(lambda: not is_alive(pid))
    assert lab.order() == ["begin polite", "end polite"]


def test_what_systemd_addresses_to_the_guardian_is_the_hosts(lab: Lab) -> None:
    systemd = ("/bin/sh", "-c", 'export LISTEN_PID=$$ WATCHDOG_PID=1; exec "$@"', "sh")
    report = "serve(lambda event: {'status': 'ok', 'data': dict(os.environ)})"
    lab.plugin("report", report)
    config = lab.directory / "vconnect.toml"
    config.write_text('[plugins]\ninherit_env = ["LISTEN_PID", "WATCHDOG_PID"]\n')
    with Serve(lab, "--config", str(config), before=systemd) as host:
        host.wait_for_log("1 of 1 plugin(s) running")
        done = host.ask("emit", "e", "{}", "--json")
        environ = json.loads(done.stdout)["results"][0]["data"]
        assert environ["LISTEN_PID"] == str(host.host_pid())
        assert environ["WATCHDOG_PID"] == "1"
        host.process.terminate()
        assert host.ends() == 0


# --- whether there is one -------------------------------------------------------------------------

AS_SYSTEMD = ("/bin/sh", "-c", 'export SYSTEMD_EXEC_PID=$$; exec "$@"', "sh")


@pytest.mark.parametrize(
    ("options", "before", "expected"),
    [
        ((), (), True),
        (("--no-guardian",), (), False),
        ((), AS_SYSTEMD, False),
        (("--guardian",), AS_SYSTEMD, True),
    ],
)
def test_where_there_is_a_guardian(
    lab: Lab, options: tuple[str, ...], before: tuple[str, ...], expected: bool
) -> None:
    lab.plugin("echo", ECHO)
    with Serve(lab, *options, before=before, environ={"INVOCATION_ID": "0" * 32}) as host:
        host.wait_for_log("plugin(s) running")
        told = json.loads(host.ask("status", "--json").stdout)
        if expected:
            assert told["guardian_pid"] == host.process.pid != told["pid"]
        else:
            assert (told["guardian_pid"], told["pid"]) == (None, host.process.pid)
        host.process.terminate()
        assert host.ends() == 0
