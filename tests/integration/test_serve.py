"""``vconnect serve`` as a process: how it begins, ends, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support import toolchains
from tests.support.lab import ECHO, STUBBORN, Lab, is_alive
from tests.support.serving import DEADLINE_S, VCONNECT, Serve

from vconnect.packages.pack import pack

LOOPS = pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])


# --- life ------------------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_stops_everything_in_order(lab: Lab, loop: str, number: signal.Signals) -> None:
    lab.plugin("echo", "print('ready', flush=True)\n" + ECHO)
    with Serve(lab, loop) as host:
        pid = host.wait_until("echo", "Running")["pid"]
        host.process.send_signal(number)
        assert host.ends() == 0
    assert not is_alive(pid)
    assert not lab.socket.exists()
    assert not lab.socket.with_name("admin.sock").exists()
    log = host.log.read_text()
    assert "[echo] ready" in log
    assert "Traceback" not in log


@LOOPS
def test_a_second_ctrl_c_ends_it_at_once(lab: Lab, loop: str) -> None:
    lab.plugin("stubborn", STUBBORN)
    config = lab.directory / "vconnect.toml"
    config.write_text("[plugins]\nstop_timeout = 20\n")
    with Serve(lab, loop, "--config", str(config)) as host:
        pid = host.wait_until("stubborn", "Running")["pid"]
        host.process.send_signal(signal.SIGINT)
        host.wait_for_log("stopping plugins")
        assert host.wait_until("stubborn", "Stopping")["substate"] == "terminating"
        time.sleep(0.6)  # two within half a second are one wish
        began = time.monotonic()
        host.process.send_signal(signal.SIGINT)
        assert host.ends() == 130
        assert time.monotonic() - began < 5
    assert not is_alive(pid)
    assert not lab.socket.exists()


@LOOPS
def test_ctrl_c_during_the_start_ends_it_in_order(lab: Lab, loop: str) -> None:
    lab.plugin("silent", "time.sleep(60)")
    with Serve(lab, loop) as host:
        pid = host.wait_until("silent", "Starting")["pid"]
        host.process.send_signal(signal.SIGINT)
        assert host.ends() == 0
    assert not is_alive(pid)
    assert "Traceback" not in host.log.read_text()


def test_a_stale_socket_of_a_killed_host_is_taken_over(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    with Serve(lab) as first:
        pid = first.wait_until("echo", "Running")["pid"]
        first.kill_host()
        assert lab.socket.exists()
        with Serve(lab) as second:
            assert second.wait_until("echo", "Running")["pid"] != pid


def test_the_survivor_of_a_killed_host_is_refused(lab: Lab) -> None:
    """The original client outlives its host and attaches itself to the next one.

    Here nobody can end it: there are no guardian and no cgroup, and the record of it is lost.
    """
    survivor = """
    while True:
        try:
            connection = Connection()
            connection.greet()
            for event in connection.events():
                connection.send({"status": "ok", "data": os.getpid()})
        except OSError:
            pass
        time.sleep(0.1)
    """
    lab.plugin("survivor", survivor)
    alone = {"VCONNECT_CGROUP": "off"}
    with Serve(lab, "--no-guardian", environ=alone) as first:
        old = first.wait_until("survivor", "Running")["pid"]
        first.kill_host()
        try:
            shutil.rmtree(lab.state)
            with Serve(lab, environ=alone) as second:
                new = second.wait_until("survivor", "Running")["pid"]
                second.wait_for_log(f"refused a connection as survivor from PID {old}")
                (result,) = json.loads(second.ask("emit", "e", "{}", "--json").stdout)["results"]
                assert result["data"] == new != old
        finally:
            os.kill(old, signal.SIGKILL)


def test_a_crash_is_shown_with_its_signal(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    config = lab.directory / "vconnect.toml"
    config.write_text('[plugins]\nrestart = "never"\n')
    with Serve(lab, "--config", str(config)) as host:
        os.kill(host.wait_until("echo", "Running")["pid"], signal.SIGKILL)
        told = host.wait_until("echo", "Error")
        assert (told["reason"], told["exit_signal"]) == ("killed by SIGKILL", "SIGKILL")
        assert "killed by SIGKILL" in host.ask("list").stdout
        host.wait_for_log("plugin echo killed by SIGKILL")


# --- packages --------------------------------------------------------------------------------


# A terminal that is called dumb gets no bar.
TERMINAL = {"TERM": "xterm"}


class Slow(SimpleHTTPRequestHandler):
    """Sends so slowly that a bar is seen."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        while part := source.read(500_000):
            outputfile.write(part)
            time.sleep(0.3)


@pytest.fixture
def web(lab: Lab) -> Iterator[str]:
    """Serve the lab's directory over HTTP on the loopback."""
    yield from serve_files(lab, SimpleHTTPRequestHandler)


@pytest.fixture
def slow_web(lab: Lab) -> Iterator[str]:
    """Do the same, but slowly."""
    yield from serve_files(lab, Slow)


def serve_files(lab: Lab, kind: type[SimpleHTTPRequestHandler]) -> Iterator[str]:
    handler = partial(kind, directory=str(lab.directory))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@LOOPS
def test_a_plugin_installed_over_http_works(lab: Lab, web: str, loop: str) -> None:
    source = lab.source("parrot", ECHO, below="sources", version="2.0")
    pack(source, lab.directory / "parrot-linux.vp")
    with Serve(lab, loop, "--install", f"{web}/parrot-linux.vp") as host:
        assert host.wait_until("parrot", "Running")["version"] == "2.0"
        done = host.ask("emit", "e", "[1]", "--json")
        assert json.loads(done.stdout)["results"][0]["data"] == {"echo": [1]}


def test_a_download_shows_a_bar_on_a_terminal(lab: Lab, slow_web: str) -> None:
    source = lab.source("parrot", ECHO, below="sources")
    (source / "ballast").write_bytes(os.urandom(3_000_000))
    pack(source, lab.directory / "parrot.vp")
    ours, theirs = pty.openpty()
    try:
        with Serve(
            lab, "--install", f"{slow_web}/parrot.vp", stderr=theirs, environ=TERMINAL
        ) as host:
            os.close(theirs)
            shown = b""
            while b"running; to list" not in shown:
                shown += os.read(ours, 65536)
            host.process.terminate()
            host.ends()
    finally:
        os.close(ours)
    assert b"downloading" in shown
    assert b"MB" in shown
    assert b"plugin handshake: parrot" in shown


@toolchains.needs("cargo")
def test_a_rust_project_runs_from_its_source(lab: Lab) -> None:
    source = Path(__file__).parents[2] / "examples" / "dev-rust"
    ignored = shutil.ignore_patterns("target")
    project = shutil.copytree(source, lab.directory / "dev-rust", ignore=ignored)
    with Serve(lab, "--dev", f"dev-rust:{project}", "--debug") as host:
        host.wait_for_log("starting dev plugin dev-rust with cargo run")
        host.wait_until("dev-rust", "Running")
        done = host.ask("emit", "message.incoming", '{"content": "straße"}', "--json")
        (result,) = json.loads(done.stdout)["results"]
        assert result["data"] == {"content": "STRASSE", "length": 6}


# --- what stops it before it begins ----------------------------------------------------------


def refused(lab: Lab, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*VCONNECT, "serve", *options],
        cwd=lab.directory,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[plugins]\ndebugg = true\n", ["plugins.debugg", "unknown key", "'debug'"]),
        ("[plugin]\n", ["plugin", "unknown key", "'plugins'"]),
        ("[plugins]\ndebug = 1\n", ["plugins.debug", "bool"]),
        ("[plugins]\nwindow = 0\n", ["plugins.window", "1"]),
        ("[plugins\n", ["not valid TOML"]),
        ('[plugins]\ndev_plugins = ["nocolon"]\n', ["plugins.dev_plugins", "NAME:PATH"]),
        ('[plugins.config.a]\n[plugins.config."wk.plugin.a"]\n', ["the same plugin"]),
    ],
)
def test_a_wrong_configuration_stops_it_with_code_2(lab: Lab, text: str, words: list[str]) -> None:
    config = lab.directory / "host.toml"
    config.write_text(text)
    done = refused(lab, "--config", str(config))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    for word in (str(config), *words):
        assert word in last
    assert not (lab.directory / "plugins").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--config", "nowhere.toml"), 2, ["nowhere.toml", "No such file"]),
        (("--dev", "nocolon"), 2, ["nocolon", "NAME:PATH"]),
        (("--log-level", "loud"), 2, ["loud", "debug"]),
        (("--nope",), 2, ["--nope", "--help"]),
        (("--install", "nowhere.vp"), 1, ["nowhere.vp"]),
        (("--install", "garbage.vp"), 1, ["garbage.vp", "gzip"]),
        (("--install", "ftp://127.0.0.1/x.vp"), 1, ["ftp", "https://"]),
        (("--install", "${planet}.vp"), 1, ["${planet}", "${os}"]),
        (("--socket", "file"), 1, ["file", "not a socket"]),
        (("--socket", "x" * 120), 1, ["bytes", "shorter"]),
        (("--socket", "link/h.sock"), 1, ["link", "symbolic link"]),
    ],
)
def test_what_is_wrong_is_told_in_words(
    lab: Lab, options: tuple[str, ...], code: int, words: list[str]
) -> None:
    lab.directory.joinpath("garbage.vp").write_bytes(b"this is no archive")
    lab.directory.joinpath("file").write_text("precious")
    lab.directory.joinpath("real").mkdir()
    lab.directory.joinpath("link").symlink_to("real")
    socket = () if "--socket" in options else ("--socket", "h.sock")
    done = refused(lab, *socket, *options)
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    for word in words:
        assert word in last
    assert lab.directory.joinpath("file").read_text() == "precious"


def test_the_traceback_is_there_for_those_who_ask(lab: Lab) -> None:
    command = [*VCONNECT, "--debug", "serve", "--socket", "h.sock", "--install", "nowhere.vp"]
    done = subprocess.run(
        command, cwd=lab.directory, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_required_plugin_that_is_lost_ends_the_host(lab: Lab) -> None:
    lab.plugin("needed", "sys.exit(7)")
    lab.plugin("echo", ECHO)
    config = lab.directory / "vconnect.toml"
    config.write_text(
        "[plugins]\nrestart_delay = 0.01\n[plugins.options.needed]\nrequired = true\n"
    )
    with Serve(lab, "--config", str(config)) as host:
        assert host.ends() == 1
    log = host.log.read_text()
    assert "plugin needed is required and in a crash loop" in log
    assert "Traceback" not in log
    assert not lab.socket.exists()


@LOOPS
def test_the_service_manager_is_told(lab: Lab, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.plugin("echo", ECHO)
    address = lab.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(DEADLINE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with Serve(lab, loop) as host:
            told = {manager.recv(4096).decode() for _ in range(3)}
            assert "WATCHDOG=1" in told
            while not any(text.startswith("READY=1\nSTATUS=1 of 1") for text in told):
                told.add(manager.recv(4096).decode())
            host.process.terminate()
            while not any(text.startswith("STOPPING=1") for text in told):
                told.add(manager.recv(4096).decode())
            assert host.ends() == 0


@pytest.mark.slow
@toolchains.needs("cargo")
def test_a_rust_project_that_does_not_build_leaves_the_old_process(lab: Lab) -> None:
    source = Path(__file__).parents[2] / "examples" / "dev-rust"
    ignored = shutil.ignore_patterns("target")
    project = shutil.copytree(source, lab.directory / "dev-rust", ignore=ignored)
    main = project / "src" / "main.rs"
    good = main.read_text()
    with Serve(lab, "--dev", f"dev-rust:{project}") as host:
        pid = host.wait_until("dev-rust", "Running")["pid"]
        time.sleep(1.0)  # what the source looks like now has been seen
        main.write_text(good.replace("fn main(", "fn mane("))
        host.wait_for_log("a new process failed")
        told = host.wait_until("dev-rust", "Running")
        assert told["pid"] == pid
        assert "main" in told["reason"]
        assert "error" in told["reason"]
        main.write_text(good.replace("to_uppercase", "to_lowercase"))
        host.wait_for_log("takes over")
        done = host.ask("emit", "message.incoming", '{"content": "Straße"}', "--json")
        assert json.loads(done.stdout)["results"][0]["data"]["content"] == "straße"


# --- what it inherits ------------------------------------------------------------------------


@LOOPS
@pytest.mark.slow
@pytest.mark.parametrize("guardian", ["--guardian", "--no-guardian"])
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_do_no_harm(
    lab: Lab, loop: str, guardian: str, closed: str
) -> None:
    lab.plugin("echo", ECHO)
    before = ("/bin/sh", "-c", f'exec "$@" {closed}', "sh")
    with Serve(lab, loop, guardian, before=before) as host:
        host.wait_until("echo", "Running")
        assert json.loads(host.ask("emit", "e", "1", "--json").stdout)
        host.process.terminate()
        assert host.ends() == 0
    assert not lab.socket.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets a child's limit")
def test_it_raises_the_limit_on_descriptors_for_itself_alone(lab: Lab) -> None:
    told = """
    import json, resource
    open("limit", "w").write(json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)))
    serve()
    """
    lab.plugin("plain", told)
    lab.plugin("limited", told)
    config = lab.directory / "vconnect.toml"
    config.write_text("[plugins.options.limited.limits]\nnofile = 150\n")
    before = ("/bin/sh", "-c", 'ulimit -Sn 200; ulimit -Hn 300; exec "$@"', "sh")
    with Serve(lab, "--config", str(config), before=before) as host:
        for name in ("plain", "limited"):
            host.wait_until(name, "Running")
        limits = Path(f"/proc/{host.host_pid()}/limits").read_text().splitlines()
        own = next(line for line in limits if line.startswith("Max open files")).split()
        assert own[3:5] == ["300", "300"]
    assert json.loads((lab.plugins / "plain" / "limit").read_text()) == [200, 300]
    # The operator's own limit is set right after the start; it may already hold here.
    assert json.loads((lab.plugins / "limited" / "limit").read_text()) in ([150, 150], [200, 300])


@LOOPS
@pytest.mark.slow
def test_a_command_is_answered_when_no_descriptor_is_left(lab: Lab, loop: str) -> None:
    """The clients of this test take the last ones, as plugins and commands would."""
    lab.plugin("echo", ECHO)
    before = ("/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    with Serve(lab, loop, before=before) as host, ExitStack() as clients:
        host.wait_until("echo", "Running")
        for _ in range(70):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect(str(lab.socket))
        # Those who find no descriptor left to be identified with are refused in words.
        host.wait_for_log("this host has no file descriptor left for another connection")
        # Clients of the administration socket take what is left. No more than that: each that is
        # turned away keeps the next one waiting.
        while "connections to the administration socket are refused" not in host.log.read_text():
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect(str(lab.socket.with_name("admin.sock")))
            time.sleep(0.05)
        done = host.ask("list")
        assert done.returncode == 1
        assert "this host has no file descriptor left" in done.stderr
        assert "its limit is 64" in done.stderr
        clients.close()
        host.wait_until("echo", "Running")
        assert host.log.read_text().count("are refused: Too many") == 1
        assert host.log.stat().st_size < 20_000
        host.process.terminate()
        assert host.ends() == 0
