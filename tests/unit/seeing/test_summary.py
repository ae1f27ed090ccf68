"""What an operator sees of a plugin, in each of its states."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from tests.support.paper import PaperProcess, lost, moved, opened, plugin, report, unopened

from vconnect.plugins.restarts import Decision
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.process import ExitStatus
from vconnect.processes.usage import Usage
from vconnect.seeing.summary import STATES, PluginSummary, summarize
from vconnect.wire.messages import encode_event

USAGE = Usage(
    cpu_percent=1.5,
    rss_bytes=4096,
    processes=2,
    threads=3,
    open_files=4,
    stopped=frozenset(),
    is_led=True,
)
UP = (PluginStatus.STARTING, PluginStatus.RUNNING)


def seen(runtime, *fields):
    summary = summarize(runtime)
    return tuple(getattr(summary, field) for field in fields)


def test_one_that_was_only_installed():
    runtime = plugin(version="1", description="does things", priority=3, capabilities=("e",))
    summary = summarize(runtime)
    assert (summary.name, summary.version, summary.description) == ("x", "1", "does things")
    assert (summary.status, summary.substate) == (PluginStatus.INSTALLED, Substate.NONE)
    assert (summary.priority, summary.capabilities) == (3, ("e",))
    assert (summary.path, summary.dev, summary.external) == ("/p/x", False, False)
    assert (summary.generation, summary.dialect, summary.breaker) == (0, "", "closed")
    for field in ("pid", "uptime_s", "last_heartbeat", "next_retry_at", "exit_code", "rss_bytes"):
        assert getattr(summary, field) is None


def test_a_guest_has_no_place_but_a_number():
    runtime = plugin(path=None)
    runtime.served_by(None, unopened(pid=77))
    assert seen(runtime, "path", "external", "pid") == ("", True, 77)


@pytest.mark.parametrize(("native", "dialect"), [(True, "native"), (False, "classic")])
def test_the_dialect_is_of_its_session(native, dialect):
    runtime = plugin()
    runtime.served_by(None, unopened(native=native))
    assert seen(runtime, "dialect") == (dialect,)


async def test_the_number_of_a_process_that_has_ended_is_not_shown():
    runtime, process = plugin(), PaperProcess()
    runtime.started(process)
    assert seen(runtime, "pid") == (process.pid,)
    process.die(3)
    assert seen(runtime, "pid", "exit_code") == (None, None)
    runtime.ended(process, ExitStatus(3, None), ("bye",))
    assert seen(runtime, "exit_code", "exit_signal", "last_stderr") == (3, None, ("bye",))


async def test_the_words_of_the_process_that_runs_count_more_than_those_of_the_last():
    runtime, process = plugin(), PaperProcess()
    runtime.ended(PaperProcess(), ExitStatus(None, "SIGKILL"), ("old",))
    assert seen(runtime, "exit_signal", "last_stderr") == ("SIGKILL", ("old",))
    runtime.started(process)
    assert seen(runtime, "last_stderr") == ((),)
    process.says("new")
    assert seen(runtime, "last_stderr") == (("new",),)


async def test_what_its_process_uses():
    runtime = plugin()
    runtime.sampled(USAGE)
    assert seen(runtime, "rss_bytes") == (None,)  # of a process that is gone
    runtime.started(PaperProcess())
    assert seen(runtime, "rss_bytes") == (None,)  # of the process before
    runtime.sampled(USAGE)
    fields = ("cpu_percent", "rss_bytes", "processes", "threads", "open_files")
    assert seen(runtime, *fields) == (1.5, 4096, 2, 3, 4)
    runtime.started(runtime.process)
    assert seen(runtime, "rss_bytes") == (4096,)


async def test_what_its_session_counts_is_added_to_what_was_counted_before():
    runtime = plugin()
    runtime.counters.dropped = 3
    runtime.rows.sent = 9
    async with opened(rows=runtime.rows) as (session, peer, _):
        runtime.served_by(None, session)
        message = encode_event("e", 1, 1 << 20)
        for _ in range(20):  # 8 in flight, 8 in the queue, 4 take the place of others
            session.tell(message, "drop_oldest")
        await peer.read()
        assert seen(runtime, "in_flight", "dropped", "events") == (8, 7, 25)
    runtime.retire_session()
    assert seen(runtime, "in_flight", "dropped", "late", "unasked") == (0, 3, 0, 0)


def test_it_is_up_since_it_runs():
    runtime = moved(plugin(), *UP)
    runtime.running_since -= 100
    assert 100 <= summarize(runtime).uptime_s < 160


def test_the_next_try_is_told_by_the_clock_on_the_wall():
    runtime = plugin()
    runtime.restarts.plan(Decision(300), time.monotonic())
    assert summarize(runtime).next_retry_at == pytest.approx(time.time() + 300, abs=30)
    runtime.restarts.cancel()
    assert summarize(runtime).next_retry_at is None


@pytest.mark.parametrize(
    ("ago", "known_ago", "reason"),
    [
        (10, 100, "restarted: killed by SIGSEGV"),
        (59, 100, "restarted: killed by SIGSEGV"),
        (61, 100, ""),  # a quiet minute
        (10, 5, ""),  # in an earlier life of the host
    ],
)
def test_why_it_was_started_again_counts_for_a_while(ago, known_ago, reason):
    runtime = moved(plugin(), *UP)
    now = time.time()
    runtime.forgotten_at = now - known_ago
    runtime.crashes.add(report(at=now - 20), ())
    runtime.running_since = time.monotonic() - ago
    assert seen(runtime, "reason") == (reason,)


def test_what_is_wrong_now_counts_more_than_why_it_was_started_again():
    runtime = moved(plugin(), *UP)
    runtime.crashes.add(report(at=time.time()), ())
    runtime.explain(Substate.CONNECTED, "a new process failed")
    assert seen(runtime, "reason") == ("a new process failed",)


def test_crashes_and_quarantine_are_shown():
    runtime = plugin()
    for number in (1, 2):
        runtime.crashes.add(report(number), lost(1))
    summary = summarize(runtime)
    assert [one.generation for one in summary.crashes] == [1, 2]
    assert [one.event for one in summary.quarantine] == ["e"]


def test_it_goes_over_the_wire_and_back():
    runtime = moved(plugin(path=Path("/p"), dev=True), *UP)
    runtime.crashes.add(report(), lost(1))
    summary = summarize(runtime)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=PluginSummary) == summary


def test_one_with_events_in_quarantine_runs_and_is_marked():
    runtime = moved(plugin(), *UP)
    for _ in range(2):
        runtime.crashes.add(report(), lost(1))
    assert seen(runtime, "state", "shape") == ("running", "quarantine")


def test_one_that_exits_cleanly_again_and_again_is_in_a_crash_loop():
    runtime = moved(plugin(), PluginStatus.STARTING)
    runtime.move(PluginStatus.STOPPED, Substate.CRASH_LOOP, "exited: code 0")
    assert seen(runtime, "state", "shape") == ("crash loop", "error")


@pytest.mark.parametrize("status", PluginStatus)
@pytest.mark.parametrize("substate", Substate)
@pytest.mark.parametrize("is_expected", [True, False])
def test_each_state_has_a_word_that_can_be_asked_for(
    status: PluginStatus, substate: Substate, is_expected: bool
) -> None:
    runtime = plugin()
    runtime.status, runtime.substate, runtime.is_expected = status, substate, is_expected
    for failures in (0, 99):
        runtime.breaker.is_open = failures > 0
        assert summarize(runtime).state in STATES
