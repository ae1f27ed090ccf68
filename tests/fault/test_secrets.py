"""What the host knows and nobody else may: its own environment, and plugins' settings."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from tests.support.lab import Lab, relatives
from tests.support.serving import Serve

THE_HOSTS = "hunter2-of-the-host"
THE_PLUGINS = "hunter2-of-the-plugin"

# Writes down what it was given, and each event as it comes.
SPY = """
connection = Connection()
connection.greet()
def note(name, what):
    with open(name, "a") as file:
        print(what, file=file)
note("given", [connection.config, dict(os.environ)])
print("a line of its own", flush=True)
for event in connection.events():
    note("events", event)
    connection.send({"status": "ok"})
"""

ORDERS = (
    ("list",),
    ("status",),
    ("status", "spy"),
    ("logs", "spy"),
    ("emit", "e", "{}"),
    ("restart", "spy"),
    ("stop", "spy"),
    ("start", "spy"),
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads command lines in /proc")
@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
def test_no_secret_is_told(lab: Lab, loop: str) -> None:
    spy = lab.plugin("spy", SPY)
    config = lab.directory / "vconnect.toml"
    config.write_text(f"""
[plugins]
state_dir = "memory"
log_dir = "logs"
restart_delay = 0.01
[plugins.env]
LAB = "{lab.directory}"
PASSWORD = "{THE_PLUGINS}"
[plugins.config.spy]
password = "{THE_PLUGINS}"
""")
    environ = {"HOST_PASSWORD": THE_HOSTS}
    told = []
    with Serve(lab, loop, "--debug", "--config", str(config), environ=environ) as host:
        os.kill(host.wait_until("spy", "Running")["pid"], signal.SIGKILL)
        host.wait_for_log("plugin spy killed by SIGKILL")
        host.wait_until("spy", "Running")
        for words in ORDERS:
            for done in (host.ask(*words), host.ask(*words, "--json")):
                assert done.returncode == 0, done.stderr
                told += [done.stdout, done.stderr]
        pids = [host.process.pid, host.host_pid(), *relatives(lab)]
        told += [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    given, events = spy / "given", spy / "events"
    assert given.read_text().count(THE_PLUGINS) == 2 * given.read_text().count("\n")
    assert THE_HOSTS not in given.read_text()
    files = [path for path in lab.directory.rglob("*") if path.is_file()]
    kept = {lab.directory / "logs" / "spy.log", lab.directory / "memory" / "crashes" / "spy.json"}
    assert kept | {events, host.log} < set(files)
    told += [path.read_text() for path in files if path not in (config, given)]
    for text in told:
        assert THE_HOSTS not in text
        assert THE_PLUGINS not in text
