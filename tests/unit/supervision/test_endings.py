"""From how an instance ended to the words that the operator reads."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support.paper import PaperProcess, guest, instance

from vconnect.errors import HandshakeError
from vconnect.plugins.restarts import Ended
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.cgroup import Cgroup
from vconnect.processes.process import ExitStatus
from vconnect.supervision.endings import (
    crash_report,
    exited,
    failed_start,
    overdue,
    refused,
    stopped,
    why_disconnected,
)
from vconnect.supervision.instance import Instance
from vconnect.supervision.verdict import Verdict
from vconnect.wire.session import LostEvent

STOPPED, ERROR = PluginStatus.STOPPED, PluginStatus.ERROR


def saying(*lines: str) -> Any:
    made = instance()
    made.process.says(*lines)
    return made


def test_a_stop_needs_no_words():
    assert stopped() == Verdict(STOPPED, Substate.EXITED)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (
            ExitStatus(0, None),
            Verdict(STOPPED, Substate.EXITED, "exited: code 0", Ended.CLEANLY),
        ),
        (
            ExitStatus(3, None),
            Verdict(ERROR, Substate.EXITED, "exited: code 3; last stderr: no disk", Ended.FAILED),
        ),
        (
            ExitStatus(None, "SIGSEGV"),
            Verdict(ERROR, Substate.KILLED, "killed by SIGSEGV", Ended.FAILED),
        ),
    ],
)
async def test_how_the_leader_ended_decides(status, verdict):
    assert exited(saying("hello", "no disk"), status) == verdict


@pytest.mark.parametrize(
    ("followers", "served", "words"),
    [
        (False, False, ""),
        (True, True, ""),
        (True, False, "; it went into the background, but must run in the foreground"),
    ],
)
async def test_a_process_that_puts_itself_into_the_background_is_told_so(
    monkeypatch, followers, served, words
):
    made = instance()
    monkeypatch.setattr(made.process, "has_followers", lambda: followers)
    made.running_since = 1.0 if served else None
    assert exited(made, ExitStatus(0, None)).reason == f"exited: code 0{words}"


@pytest.mark.parametrize(
    "how", [ExitStatus(0, None), ExitStatus(1, None), ExitStatus(None, "SIGPIPE")]
)
async def test_an_exit_after_a_violation_is_a_failure_and_says_which(how: ExitStatus) -> None:
    made = instance()
    made.violation = "its connection ended: 10 answers in a row could not be read"
    verdict = exited(made, how)
    assert (verdict.status, verdict.ended) == (ERROR, Ended.FAILED)
    assert verdict.reason == (
        f"{how}, after its connection ended: 10 answers in a row could not be read"
    )


async def test_a_status_that_somebody_took_is_a_failure():
    verdict = exited(instance(), ExitStatus(None, None))
    assert (verdict.status, verdict.substate, verdict.ended) == (
        ERROR,
        Substate.EXITED,
        Ended.FAILED,
    )
    assert "exit status" in verdict.reason


@pytest.mark.parametrize(
    ("status", "limit", "events", "substate"),
    [
        (ExitStatus(None, "SIGKILL"), 4096, "oom 1\noom_kill 2\n", Substate.MEMORY_LIMIT),
        (ExitStatus(137, None), 4096, "oom 1\noom_kill 1\n", Substate.MEMORY_LIMIT),
        (ExitStatus(None, "SIGKILL"), 4096, "oom 0\noom_kill 2\n", Substate.KILLED),
        (ExitStatus(None, "SIGKILL"), 4096, "oom 1\noom_kill 0\n", Substate.KILLED),
        (ExitStatus(None, "SIGKILL"), None, "oom 1\noom_kill 2\n", Substate.KILLED),
        (ExitStatus(0, None), 4096, "oom 1\noom_kill 2\n", Substate.EXITED),
    ],
)
async def test_only_its_own_memory_limit_is_blamed(tmp_path, status, limit, events, substate):
    (tmp_path / "memory.events").write_text(events)
    made = Instance(1, PaperProcess(Cgroup(tmp_path, limit)))
    verdict = exited(made, status)
    assert verdict.substate is substate
    if substate is Substate.MEMORY_LIMIT:
        assert verdict.ended is Ended.FAILED
        assert verdict.reason.startswith(f"memory_limit: {status}, by the kernel")
        assert "tree_limits.memory_bytes" in verdict.reason
        assert "4096" in verdict.reason


async def test_a_cgroup_that_is_gone_blames_nobody(tmp_path):
    made = Instance(1, PaperProcess(Cgroup(tmp_path / "gone", 4096)))
    assert exited(made, ExitStatus(None, "SIGKILL")).substate is Substate.KILLED


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("SIGABRT", "; last stderr: terminate called after throwing an instance of 'int'"),
        ("SIGKILL", ""),
        ("SIGTERM", ""),
    ],
)
async def test_only_a_signal_of_its_own_is_explained_by_its_last_words(number, words):
    made = saying("hello", "terminate called after throwing an instance of 'int'")
    assert exited(made, ExitStatus(None, number)).reason == f"killed by {number}{words}"
    assert exited(saying("hello"), ExitStatus(None, number)).reason == f"killed by {number}"


# --- last words ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["", "  "], ""),
        (["one", "two"], "two"),
        (["one", " two ", ""], "two"),
        (["error: no such module", "help: install it"], "help: install it"),
        (
            ["warning: x", "error[E0425]: no y", "  --> src/main.rs:3:5", "error: aborting"],
            "error[E0425]: no y --> src/main.rs:3:5",
        ),
        (["error: a", "error: b"], "error: a"),
        (["Error: a", "  at x.js:1", "ERROR: b"], "Error: a"),
    ],
)
async def test_what_it_said_at_last_is_told(lines, words):
    reason = exited(saying(*lines), ExitStatus(1, None)).reason
    assert reason == ("exited: code 1" + (f"; last stderr: {words}" if words else ""))


@pytest.mark.parametrize(("timeout", "words"), [(10.0, "10 s"), (0.25, "0.25 s"), (300.0, "300 s")])
async def test_a_handshake_that_did_not_come(timeout, words):
    made = saying("waiting for the database")
    made.expect(timeout)
    verdict = overdue(made)
    assert verdict.reason == (f"no handshake within {words}; last stderr: waiting for the database")
    assert (verdict.substate, verdict.ended) == (Substate.HANDSHAKE_TIMEOUT, Ended.FAILED)


@pytest.mark.parametrize(
    ("code", "substate", "how"),
    [
        ("disabled", Substate.DISABLED, None),
        ("handshake_timeout", Substate.HANDSHAKE_TIMEOUT, Ended.FAILED),
        ("stranger", Substate.HANDSHAKE_REFUSED, Ended.PERMANENT),
        ("version_mismatch", Substate.HANDSHAKE_REFUSED, Ended.PERMANENT),
        ("bad_config", Substate.HANDSHAKE_REFUSED, Ended.PERMANENT),
    ],
)
async def test_a_handshake_that_was_refused(code, substate, how):
    verdict = refused(instance(), HandshakeError(code, "the words"))
    assert (verdict.substate, verdict.ended) == (substate, how)
    assert verdict.status is (STOPPED if how is None else ERROR)
    if code != "handshake_timeout":
        assert verdict.reason == "the words"  # without what it said on stderr


def test_a_start_that_failed_is_an_error_as_its_cause_has_it():
    verdict = failed_start(Substate.SPAWN_FAILED, "no executable", Ended.TRANSIENT)
    assert verdict == Verdict(ERROR, Substate.SPAWN_FAILED, "no executable", Ended.TRANSIENT)


def test_how_a_connection_ended():
    assert why_disconnected(None) == "it closed its connection"
    assert why_disconnected(OSError("reset")) == "its connection ended: reset"


async def test_a_guest_has_no_last_words():
    assert refused(guest(), HandshakeError("stranger", "no")).reason == "no"


# --- crash reports ---------------------------------------------------------------------------


async def test_a_report_holds_what_is_known_of_the_end():
    made = saying("one", "two")
    made.process.die(None, "SIGABRT")
    made.process.max_rss_bytes, made.process.cpu_s = 4096, 1.5
    verdict = exited(made, made.process.exited.result())
    made.lost_events = [
        LostEvent("e", 1, b"1"),
        LostEvent("f", 2, b"2"),
        LostEvent("e", 3, b"3"),
    ]
    before = time.time()
    report = crash_report(made, verdict, 2.5)
    assert before <= report.at <= time.time()
    assert (report.generation, report.ran_for_s) == (1, 2.5)
    assert (report.exit_code, report.exit_signal) == (None, "SIGABRT")
    assert report.reason == "killed by SIGABRT"
    assert report.last_stderr == ("one", "two")
    assert report.in_flight == ("e", "f", "e")
    assert (report.max_rss_bytes, report.cpu_s) == (4096, 1.5)


@pytest.mark.parametrize("has_run", [False, True])
async def test_a_stranger_explains_only_a_plugin_that_never_connected(has_run):
    made = saying()
    made.refusal = "PID 7 is not in the process group"
    made.expect(10.0)
    if has_run:
        made.running_since = 1.0
    for reason in (overdue(made).reason, exited(made, ExitStatus(0, None)).reason):
        assert ("refused a connection: PID 7" in reason) is not has_run
