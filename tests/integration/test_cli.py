"""The command line against a real host with real plugins, on both event loops."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator

import pytest
from tests.support.edge_host import DEADLINE, SECRET, VCONNECT, EdgeHost, edge_host


@pytest.fixture(scope="module", params=["--uvloop", "--no-uvloop"])
def host(request: pytest.FixtureRequest) -> Iterator[EdgeHost]:
    with edge_host(request.param) as running:
        yield running


def test_the_host_describes_itself(host: EdgeHost) -> None:
    told = host.json("status")
    assert told["guardian_pid"] == host.process.pid
    assert told["pid"] != host.process.pid
    assert os.getpgid(told["pid"]) == told["pid"]
    assert told["socket_path"] == str(host.directory / "r.sock")
    assert told["admin_path"] == str(host.admin)
    assert told["plugins"] == 2
    assert told["uptime_s"] >= 0


def test_the_sockets_are_private(host: EdgeHost) -> None:
    for name in ("r.sock", "admin.sock"):
        assert stat.S_IMODE((host.directory / name).stat().st_mode) == 0o600


def test_the_host_is_found_by_its_configuration(host: EdgeHost) -> None:
    done = subprocess.run(
        [*VCONNECT, "list", "--config", str(host.config)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert "echo" in done.stdout


def test_the_host_is_found_by_the_directory_of_its_sockets(host: EdgeHost) -> None:
    command = [*VCONNECT, "list", "--admin", str(host.directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert "echo" in done.stdout
    assert "refused a connection" not in host.log.read_text()


@pytest.mark.parametrize("command", [("list",), ("tail",), ("logs", "echo", "-f")])
def test_the_socket_for_plugins_is_none_for_administration(
    host: EdgeHost, command: tuple[str, ...]
) -> None:
    path = host.directory / "r.sock"
    done = subprocess.run(
        [*VCONNECT, *command, "--admin", str(path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 5
    assert done.stderr == (
        f"error: {path} is a socket for plugins, not for administration; "
        "give --admin the host's admin.sock\n"
    )


def test_plugins_are_listed(host: EdgeHost) -> None:
    plugins = {plugin["name"]: plugin for plugin in host.json("list")["plugins"]}
    assert set(plugins) == {"echo", "crash"}
    echo = plugins["echo"]
    assert (echo["status"], echo["version"], echo["priority"]) == ("Running", "1.2.3", 5)
    assert echo["dev"] is True
    assert echo["last_heartbeat"] is not None
    os.kill(echo["pid"], 0)
    crash = plugins["crash"]
    assert (crash["status"], crash["pid"], crash["exit_code"]) == ("Error", None, 1)
    assert "cannot go on" in " ".join(crash["last_stderr"])


def test_any_name_of_a_plugin_will_do(host: EdgeHost) -> None:
    for name in ("echo", "wk.plugin.echo", "v.plugin.echo"):
        assert host.json("status", name)["name"] == "echo"


def test_events_are_answered(host: EdgeHost) -> None:
    for options in ((), ("--mode", "broadcast"), ("--plugin", "wk.plugin.echo")):
        outcome = host.json("emit", "test.event", '{"n": "ü"}', *options)
        (result,) = outcome["results"]
        assert (result["plugin"], result["ok"], result["error"]) == ("echo", True, None)
        assert result["data"] == {"echo": {"n": "ü"}}
        assert result["duration_ms"] >= 0
        assert outcome["payload"] == {"n": "ü"}


def test_a_stopped_chain_is_no_failure(host: EdgeHost) -> None:
    assert host.json("emit", "test.event", '{"wish": "stop"}')["stopped_by"] == "echo"


def test_an_event_that_nobody_wants_is_no_failure(host: EdgeHost) -> None:
    assert host.json("emit", "nobody.wants.this", "{}")["results"] == []


def test_a_failed_answer_is_a_failure(host: EdgeHost) -> None:
    (result,) = host.json("emit", "test.event", '{"wish": "fail"}', code=1)["results"]
    assert result["ok"] is False
    assert "as you wish" in result["error"]


def test_a_plugin_that_is_too_slow_is_a_failure(host: EdgeHost) -> None:
    options = ("--timeout", "0.2", "--plugin", "echo")
    error = host.json("emit", "test.event", '{"wish": "sleep"}', *options, code=124)["error"]
    assert error["code"] == "deadline_exceeded"


def test_a_plugin_that_does_not_run_is_unavailable(host: EdgeHost) -> None:
    error = host.json("emit", "test.event", "{}", "--plugin", "crash", code=3)["error"]
    assert error["code"] == "not_connected"


def test_a_plugin_is_stopped_started_and_restarted(host: EdgeHost) -> None:
    first = host.json("status", "echo")
    stopped = host.json("stop", "echo")
    assert (stopped["status"], stopped["desired"]) == ("Stopped", "stopped")
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)
    assert host.json("emit", "test.event", "{}")["results"] == []
    started = host.json("start", "echo")
    assert (started["status"], started["desired"]) == ("Running", "running")
    restarted = host.json("restart", "echo")
    assert restarted["status"] == "Running"
    assert len({first["pid"], started["pid"], restarted["pid"]}) == 3
    assert restarted["generation"] > started["generation"] > first["generation"]
    assert host.json("emit", "test.event", "{}")["results"][0]["ok"]


def test_a_plugin_that_cannot_start_says_why(host: EdgeHost) -> None:
    done = host.vconnect("start", "crash")
    assert done.returncode == 1
    assert done.stderr.startswith("error: crash: ")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_no_terminal_is_hijacked(host: EdgeHost) -> None:
    for arguments in (
        ("list",),
        ("status", "echo"),
        ("status", "crash"),
        ("start", "crash"),
        ("emit", "test.event", '{"wish": "fail"}'),
    ):
        done = host.vconnect(*arguments)
        for char in done.stdout + done.stderr:
            assert char.isprintable() or char == "\n", arguments


def test_markup_is_text(host: EdgeHost) -> None:
    told = host.json("status", "echo")
    assert "<script>alert(1)</script>" in told["capabilities"]
    assert "<script>" in host.vconnect("status", "crash").stdout


def test_no_secret_is_told(host: EdgeHost) -> None:
    for arguments in (("list", "--json"), ("status", "echo", "--json"), ("status", "--json")):
        done = host.vconnect(*arguments)
        assert done.returncode == 0
        assert SECRET not in done.stdout + done.stderr
    assert SECRET not in host.log.read_text()


@pytest.mark.slow
def test_every_command_with_json_prints_one_value(host: EdgeHost) -> None:
    for arguments in (
        ("list",),
        ("status",),
        ("status", "echo"),
        ("status", "nobody"),
        ("start", "../x"),
        ("stop", "nobody"),
        ("restart", "%2e%2e%2fx"),
        ("emit", "test.event", "{}"),
        ("emit", "test.event", "{"),
        ("emit", "test.event", "{}", "--plugin", "nobody"),
        ("list", "--nope"),
        ("list", "--admin", "/nowhere/admin.sock"),
        ("list", "--config", "/nowhere/vconnect.toml"),
    ):
        done = host.vconnect(*arguments, "--json")
        value = json.loads(done.stdout)
        assert ("error" in value) == (done.returncode != 0), arguments
        assert done.stderr == ""


def test_a_second_host_is_refused_and_the_first_goes_on(host: EdgeHost) -> None:
    done = host.vconnect("serve", "--config", str(host.config))
    assert done.returncode == 1
    assert f"(PID {host.json('status')['pid']})" in done.stderr
    assert "Traceback" not in done.stderr
    assert host.json("status", "echo")["status"] == "Running"


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
def test_a_host_ends_in_order(loop: str) -> None:
    with edge_host(loop) as host:
        pid = host.json("status", "echo")["pid"]
        assert host.stop() == 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert not host.admin.exists()
        assert not (host.directory / "r.sock").exists()
        assert host.vconnect("list").returncode == 5
