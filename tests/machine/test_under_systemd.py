"""``vconnect serve`` as a service of a real systemd; ``make machine`` brings one.

Each test writes a unit into ``/run/systemd/system`` and removes it again. Nothing of these units
depends on another one, and none is enabled.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.lab import ECHO, ESCAPE, ORDERLY, PLUGINS, Lab, is_alive

sys.path.insert(0, str(PLUGINS))

UNITS = Path("/run/systemd/system")
FIRST = Path("/proc/1/comm")
VCONNECT = f"{sys.executable} -m vconnect"
PATIENCE_S = 120.0

pytestmark = pytest.mark.skipif(
    not (UNITS.exists() and FIRST.read_text() == "systemd\n" and os.geteuid() == 0),
    reason="systemd is not the first process here, or this is not root; `make machine` has both",
)


def systemctl(*arguments: str) -> str:
    done = subprocess.run(
        ["systemctl", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.stdout.strip()


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S} s in vain for {what}"
        time.sleep(0.02)


class Service:
    """A unit around a lab's host.

    Args:
        lab: Its plugins.
        options: Options of ``vconnect serve``.
        **service: More lines of ``[Service]``.
    """

    def __init__(self, lab: Lab, *options: str, **service: str) -> None:
        self.lab = lab
        self.name = f"{lab.directory.name}.service"
        places = f"--plugin-dir {lab.plugins} --socket {lab.socket}"
        lines = {
            "Type": "notify",
            "ExecStart": f"{VCONNECT} serve {places} {' '.join(options)}",
            "WorkingDirectory": str(lab.directory),
            "KillMode": "mixed",
            "Delegate": "yes",
            "StandardError": f"append:{lab.directory}/log",
            "TimeoutStartSec": "120",
            **service,
        }
        self.write(self.name, "Service", lines)

    def write(self, name: str, section: str, lines: dict[str, str]) -> None:
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        (UNITS / name).write_text(f"[Unit]\nDefaultDependencies=no\n[{section}]\n{text}")
        systemctl("daemon-reload")

    def show(self, key: str) -> str:
        return systemctl("show", "--value", "-p", key, self.name)

    def start(self) -> None:
        """Start it, and return when it says that it is ready."""
        systemctl("start", self.name)
        assert self.show("ActiveState") == "active", self.log()

    def log(self) -> str:
        return (self.lab.directory / "log").read_text()

    def told(self) -> dict:
        admin = self.lab.socket.with_name("admin.sock")
        command = [*VCONNECT.split(), "--admin", str(admin), "status", "--json"]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    def cgroup(self) -> Path:
        return Path("/sys/fs/cgroup" + self.show("ControlGroup"))

    def remove(self) -> None:
        names = [path.name for path in UNITS.glob(f"{self.lab.directory.name}.*")]
        systemctl("kill", "-s", "KILL", *names)
        systemctl("stop", *names)
        systemctl("reset-failed", *names)
        for name in names:
            (UNITS / name).unlink()
        systemctl("daemon-reload")


@pytest.fixture
def serve(lab: Lab) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def new(*options: str, **lines: str) -> Service:
        made.append(Service(lab, *options, **lines))
        return made[-1]

    yield new
    for service in made:
        service.remove()


def test_it_is_ready_when_its_plugins_run(lab: Lab, serve: Callable[..., Service]) -> None:
    lab.plugin("slow", "time.sleep(1)\n" + ECHO)
    service = serve()
    began = time.monotonic()
    service.start()
    assert time.monotonic() - began >= 1
    assert service.show("StatusText") == "1 of 1 plugin(s) running"
    told = service.told()
    assert (told["pid"], told["guardian_pid"]) == (int(service.show("MainPID")), None)


def test_a_reload_by_signal_goes_through_systemd(lab: Lab, serve: Callable[..., Service]) -> None:
    """With 253 or newer, ``notify-reload`` waits for the answer; before, a signal is sent."""
    lab.plugin("one", ECHO)
    config = lab.directory / "vconnect.toml"
    config.write_text("[plugins]\n")
    version = int(systemctl("--version").split()[1])
    waits = version >= 253
    reload = {"Type": "notify-reload"} if waits else {"ExecReload": "/bin/kill -HUP $MAINPID"}
    service = serve("--config", str(config), **reload)
    service.start()
    config.write_text("[plugins]\nevent_timeout = 4.0\n")
    systemctl("reload", service.name)
    wait_until(lambda: "audit: reload by a signal: 1 key(s)" in service.log(), "the reload")
    wait_until(lambda: service.show("ActiveState") == "active", "the end of the reload")
    assert service.show("StatusText") == "1 of 1 plugin(s) running"


@pytest.mark.parametrize(
    ("limit", "file", "value"),
    [
        ("memory_bytes = 1_000_000_000", "memory.max", "999997440"),  # whole pages
        ("processes = 100", "pids.max", "100"),
        ("cpu_percent = 50", "cpu.max", "50000 100000"),
    ],
)
def test_each_plugin_has_a_cgroup_inside_the_services(
    lab: Lab, serve: Callable[..., Service], limit: str, file: str, value: str
) -> None:
    lab.plugin("echo", ECHO)
    lab.plugin("free", ECHO)
    config = lab.directory / "vconnect.toml"
    config.write_text(f"[plugins.options.echo]\ntree_limits = {{ {limit} }}\n")
    service = serve("--config", str(config))
    service.start()
    told = service.told()
    base = Path(told["cgroup"])
    assert base.parent == service.cgroup()
    assert service.show("StatusText") == "2 of 2 plugin(s) running"
    assert (base / "echo.1" / file).read_text() == f"{value}\n"
    assert (base / "free.1" / file).read_text().startswith("max")
    # It has made room, and systemd still knows its own.
    assert (base / "host" / "cgroup.procs").read_text() == f"{told['pid']}\n"
    systemctl("stop", service.name)
    assert service.show("Result") == "success"
    assert not base.exists()


def test_without_delegation_it_touches_nothing(lab: Lab, serve: Callable[..., Service]) -> None:
    lab.plugin("echo", ECHO)
    service = serve(Delegate="no")
    service.start()
    told = service.told()
    assert told["cgroup"] is None
    assert told["cgroup_problem"] == (
        f"{service.cgroup()} is not delegated to this host; with systemd, set Delegate=yes in its "
        "unit"
    )
    assert not [entry for entry in service.cgroup().iterdir() if entry.is_dir()]


@pytest.mark.parametrize("delegate", ["yes", "no"])
def test_it_stops_its_plugins_in_order(
    lab: Lab, serve: Callable[..., Service], delegate: str
) -> None:
    lab.plugin("orderly", ORDERLY)
    service = serve(Delegate=delegate)
    service.start()
    systemctl("stop", service.name)
    assert (service.show("ActiveState"), service.show("Result")) == ("inactive", "success")
    assert lab.order() == ["begin orderly", "end orderly"]
    assert not service.cgroup().exists() or service.show("ControlGroup") == ""


@pytest.mark.parametrize("mode", ["mixed", "control-group"])
def test_systemd_ends_what_a_killed_host_has_left(
    lab: Lab, serve: Callable[..., Service], mode: str
) -> None:
    """There is no guardian: systemd is it."""
    directory = lab.plugin("family", ESCAPE + "escape(stubborn=True)\n" + ORDERLY)
    service = serve(KillMode=mode, TimeoutStopSec="1")
    service.start()
    escaped = int((directory / "escaped").read_text())
    os.kill(int(service.show("MainPID")), signal.SIGKILL)
    wait_until(lambda: not is_alive(escaped), "the end of who has escaped")
    wait_until(lambda: service.show("ActiveState") == "failed", "the end of the service")
    assert service.show("Result") == "signal"


def test_a_host_that_hangs_is_ended_and_started_again(
    lab: Lab, serve: Callable[..., Service]
) -> None:
    lab.plugin("echo", ECHO)
    service = serve(WatchdogSec="3", Restart="on-failure", RestartSec="0")
    service.start()
    first = int(service.show("MainPID"))
    time.sleep(4)  # longer than it may be silent
    assert int(service.show("MainPID")) == first
    os.kill(first, signal.SIGSTOP)
    wait_until(lambda: service.show("NRestarts") == "1", "another start")
    wait_until(lambda: service.show("StatusText") == "1 of 1 plugin(s) running", "its plugin")
    assert service.told()["pid"] != first


def test_a_guardian_is_there_if_it_is_wanted(lab: Lab, serve: Callable[..., Service]) -> None:
    lab.plugin("echo", ECHO)
    service = serve("--guardian", NotifyAccess="all", WatchdogSec="5")
    service.start()
    told = service.told()
    assert told["guardian_pid"] == int(service.show("MainPID"))
    assert service.show("StatusText") == "1 of 1 plugin(s) running"
    systemctl("stop", service.name)
    assert service.show("Result") == "success"


def test_a_plugin_that_connects_starts_its_host(lab: Lab, serve: Callable[..., Service]) -> None:
    from wire import Connection

    lab.socket.parent.mkdir(mode=0o700)
    service = serve("--allow-external")
    lines = {"ListenStream": str(lab.socket), "SocketMode": "0600", "DirectoryMode": "0700"}
    listening = f"{lab.directory.name}.socket"
    service.write(listening, "Socket", lines)
    systemctl("start", listening)
    assert service.show("ActiveState") == "inactive"
    connection = Connection(str(lab.socket))
    try:
        connection.socket.settimeout(PATIENCE_S)
        answer = connection.greet(plugin_no="attached")
        assert answer["status"] == "ok"
        assert service.told()["plugins"] == 1
        wait_until(lambda: service.show("ActiveState") == "active", "the host to be ready")
    finally:
        connection.close()
    systemctl("stop", service.name)
    assert service.show("Result") == "success"
    # systemd still listens: whoever comes next starts it again.
    with socket.socket(socket.AF_UNIX) as again:
        again.connect(str(lab.socket))
        wait_until(lambda: service.show("ActiveState") == "active", "the host's return")
