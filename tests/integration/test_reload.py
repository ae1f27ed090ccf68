"""``vconnect reload`` and SIGHUP, with a host as a process and with events on their way."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.lab import Lab
from tests.support.serving import DEADLINE_S, VCONNECT, Serve

from vconnect import PluginRuntimeManager
from vconnect.settings.source import SettingsSource

LOOPS = pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
ANSWER = """
def answer(event):
    with open(os.environ["ROWS"], "a") as rows:
        rows.write(event["payload"]["id"] + "\\n")
    return {"status": "ok"}
"""
CLASSIC = f"{ANSWER}serve(answer, capabilities=['count'])"
NATIVE = f"{ANSWER}serve_native(lambda event: answer(event)['status'], capabilities=['count'])"


def write(lab: Lab, text: str) -> Path:
    file = lab.directory / "vconnect.toml"
    file.write_text(text)
    return file


@LOOPS
@pytest.mark.parametrize("guardian", ["--guardian", "--no-guardian"])
def test_a_hangup_changes_only_what_has_changed(lab: Lab, loop: str, guardian: str) -> None:
    for name in ("one", "two"):
        lab.plugin(name, "serve()")
    config = write(lab, "[plugins]\n")
    with Serve(lab, loop, guardian, "--config", str(config)) as host:
        before = {name: host.wait_until(name, "Running")["pid"] for name in ("one", "two")}
        write(lab, "[plugins.options.two]\nwindow = 3\n")
        host.process.send_signal(signal.SIGHUP)
        host.wait_for_log("audit: reload by a signal: 1 key(s)")
        after = {name: host.status(name)["pid"] for name in ("one", "two")}
        assert after["one"] == before["one"]
        assert after["two"] != before["two"]
        write(lab, "[plugins.options.two\n")
        host.process.send_signal(signal.SIGHUP)
        host.wait_for_log("the old settings stay in force")
        done = host.ask("reload")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{config}:1:" in done.stderr
        assert host.status("two")["pid"] == after["two"]


def test_a_reload_is_shown_before_anything_is_done(lab: Lab) -> None:
    lab.plugin("one", "serve()")
    config = write(lab, "[plugins]\n")
    with Serve(lab, "--config", str(config)) as host:
        pid = host.wait_until("one", "Running")["pid"]
        write(lab, '[plugins]\ncgroup = "off"\n[plugins.options.one]\nwindow = 3\n')
        planned = json.loads(host.ask("reload", "--dry-run", "--json").stdout)
        assert (planned["needs_restart"], planned["restarts"]) == (["cgroup"], ["one"])
        assert host.status("one")["pid"] == pid
        shown = host.ask("reload").stdout.splitlines()
        assert shown[1].split()[:2] == ["host", "cgroup"]
        assert shown[1].endswith("needs a restart of the host; it stays")
        assert shown[-1] == "replaced without a gap: one"
        assert host.status("one")["pid"] != pid


def test_a_configuration_is_set_shown_and_saved_by_command(lab: Lab) -> None:
    lab.plugin("one", "serve()", config={"a": 1})
    config = write(lab, "[plugins.config.one] # mine\nrate = 5\n")
    with Serve(lab, "--config", str(config)) as host:
        host.wait_until("one", "Running")
        assert host.ask("config", "set", "one", "rate=6", "--save").returncode == 0
        assert config.read_text() == "[plugins.config.one] # mine\nrate = 6\n"
        host.ask("config", "set", "one", "names=['x']")
        values = json.loads(host.ask("config", "get", "one", "--json").stdout)
        assert {one["key"]: one["value"] for one in values} == {"a": 1, "rate": 6, "names": ["x"]}
        assert host.ask("config", "get", "one", "none").returncode == 2
        assert host.ask("config", "set", "none", "a=1").returncode == 4
        assert host.ask("config", "unset", "one", "a").returncode == 2


def test_the_service_manager_hears_of_a_reload(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(lab, "[plugins]\n")
    address = lab.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(DEADLINE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        with Serve(lab, "--no-guardian", "--config", str(config)) as host:
            while not manager.recv(4096).startswith(b"READY=1"):
                pass
            for text in ("[plugins]\nevent_timeout = 4\n", "not TOML"):
                write(lab, text)
                before = time.monotonic_ns() // 1000
                host.process.send_signal(signal.SIGHUP)
                told = manager.recv(4096).decode()
                found = re.match(r"RELOADING=1\nMONOTONIC_USEC=(\d+)\n", told)
                assert found, told
                assert before <= int(found[1]) <= time.monotonic_ns() // 1000
                assert manager.recv(4096).startswith(b"READY=1\n")


ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("guardian", ["--guardian", "--no-guardian"])
def test_a_closed_terminal_ends_the_host(lab: Lab, guardian: str) -> None:
    ours, theirs = pty.openpty()
    places = ("--plugin-dir", str(lab.plugins), "--socket", str(lab.socket), guardian)
    log = lab.directory / "log"
    with log.open("wb") as stderr:
        host = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *VCONNECT, "serve", *places],
            stdin=theirs,
            stdout=theirs,
            stderr=stderr,
        )
    os.close(theirs)
    try:
        end = time.monotonic() + DEADLINE_S
        while "plugin(s) running" not in log.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
        os.close(ours)
        assert host.wait(DEADLINE_S) == 0
    finally:
        if host.poll() is None:
            host.kill()
            host.wait()
    assert "received SIGHUP: stopping plugins" in log.read_text()


@pytest.mark.both_loops
@pytest.mark.parametrize("code", [CLASSIC, NATIVE], ids=["classic", "native"])
async def test_no_event_is_lost_or_doubled(lab: Lab, code: str) -> None:
    rows = lab.directory / "rows"
    for name in ("one", "two"):
        lab.plugin(name, code)
    places = f'plugin_dir = "{lab.plugins}"\nsocket_path = "{lab.socket}"\n'

    def configure(window: int, rate: int) -> Path:
        tables = f"[plugins.options.two]\nwindow = {window}\n[plugins.config.two]\nn = {rate}\n"
        return write(lab, f'[plugins]\n{places}env = {{ ROWS = "{rows}" }}\n{tables}')

    source = SettingsSource(file=configure(64, 0))
    sent = 0
    async with PluginRuntimeManager(source.load(), source=source) as runtime:
        await runtime.start_all()

        async def send_until(done: asyncio.Event) -> None:
            nonlocal sent
            while not done.is_set():
                outcome = await runtime.emit("count", {"id": str(sent)})
                assert [one.ok for one in outcome.results] == [True, True]
                sent += 1
                await asyncio.sleep(0.0005)

        done = asyncio.Event()
        sending = asyncio.create_task(send_until(done))
        for number in range(1, 4):
            configure(64 + number, number)
            assert (await runtime.reload()).is_complete
        await asyncio.gather(runtime.reload(), runtime.reload())
        done.set()
        await sending
    assert sorted(rows.read_text().split(), key=int) == [
        str(number) for number in range(sent) for _ in ("one", "two")
    ]
    assert sent > 20
