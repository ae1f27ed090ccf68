"""What watches a real host: why, doctor, tail, top, and logs through a restart of the host."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.support.edge_host import DEADLINE, VCONNECT, EdgeHost, edge_host


@pytest.fixture(scope="module")
def host() -> Iterator[EdgeHost]:
    with edge_host("--no-uvloop") as running:
        yield running


def test_why_says_what_is_wrong(host: EdgeHost) -> None:
    done = host.vconnect("why", "crash")
    assert done.returncode == 1
    assert "cannot go on" in done.stdout
    done = host.vconnect("why", "ecko")
    assert (done.returncode, done.stderr) == (
        4,
        "error: ecko: no such plugin (known: crash, echo); did you mean 'echo'?\n",
    )


def test_the_list_ends_with_what_to_do(host: EdgeHost) -> None:
    lines = host.vconnect("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "EVENTS", "P99", "WHY"]
    assert lines[-1].endswith("Next: vconnect why crash")
    assert "\x1b[" in host.vconnect("--color", "always", "list").stdout
    assert host.vconnect("--quiet", "list").stdout == ""


def test_the_doctor_asks_the_host(host: EdgeHost) -> None:
    found = host.json("doctor", code=0)
    levels = {one["id"]: one["level"] for one in found["checks"]}
    assert found["ok"] is True
    assert levels["host"] == levels["socket"] == levels["admin"] == "ok"
    assert levels["serving"] == "warn"


def test_events_are_shown_as_they_pass(host: EdgeHost) -> None:
    command = [*VCONNECT, "--admin", str(host.admin), "tail", "-n", "1", "--event", "test"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tailing:
        end = time.monotonic() + DEADLINE
        while tailing.poll() is None:
            assert time.monotonic() < end
            host.vconnect("emit", "test.event", "{}")
        out, _ = tailing.communicate()
    assert tailing.returncode == 0
    moment, event, _took, unit, outcome, *hops = out.split()
    assert (moment[2], event, unit, outcome, hops[0]) == (":", "test.event", "ms", "passed", "echo")


def test_ctrl_c_ends_what_watches(host: EdgeHost) -> None:
    command = [*VCONNECT, "--admin", str(host.admin), "tail"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tailing:
        time.sleep(1.0)  # it says nothing until an event comes
        tailing.send_signal(signal.SIGINT)
        out, err = tailing.communicate(timeout=DEADLINE)
    assert (tailing.returncode, out, err.strip()) == (130, b"", b"")


def test_top_prints_once_in_80_columns(host: EdgeHost) -> None:
    done = host.vconnect("top", "-n", "1")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines)
    frame = json.loads(host.vconnect("top", "--json").stdout)
    assert len(frame["plugins"]) == 2


@pytest.mark.slow
def test_logs_are_followed_through_a_restart_of_the_host() -> None:
    with edge_host("--no-uvloop") as host:
        command = [*VCONNECT, "--admin", str(host.admin), "logs", "echo", "--host", "-f"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as following:
            assert following.stdout is not None
            assert following.stderr is not None
            while "echo begins" not in following.stdout.readline():
                pass
            host.vconnect("restart", "echo")
            while "generation 2" not in following.stdout.readline():
                pass
            host.stop()
            assert following.stderr.readline() == "the host is gone; waiting for it\n"
            host.start()
            assert following.stderr.readline() == "the host is back\n"
            while "echo begins" not in following.stdout.readline():
                pass
            following.send_signal(signal.SIGINT)
            following.communicate(timeout=DEADLINE)
        assert following.returncode == 130
        host.wait_until_settled()
