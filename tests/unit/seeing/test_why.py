"""Explanations of summaries; ``tests/integration/test_why.py`` has one for each real fault."""

from __future__ import annotations

import time

import pytest
from tests.support.fake_manager import plugin_summary

from vconnect.plugins.crashes import CrashReport
from vconnect.plugins.latency import Latency
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing.last_minute import EventLatency
from vconnect.seeing.summary import Queue
from vconnect.seeing.why import Surroundings, explain, explained

ALONE = Surroundings(lambda _: None, {})


def why(around=ALONE, **fields):
    fields.setdefault("serving", True)
    return explain(plugin_summary(**fields), around)


def down(substate, reason="", **fields):
    fields.setdefault("status", PluginStatus.ERROR)
    return why(serving=False, substate=substate, reason=reason, **fields)


def crash(reason, **fields):
    known = {
        "at": time.time(),
        "generation": 1,
        "ran_for_s": 2.0,
        "reason": reason,
        "exit_code": None,
        "exit_signal": None,
        "last_stderr": (),
        "in_flight": (),
        "max_rss_bytes": None,
        "cpu_s": None,
    }
    return CrashReport(**{**known, **fields})


def event(**fields):
    known = {
        "event": "message.incoming",
        "p50_s": 0.1,
        "p99_s": 0.2,
        "count": 9,
        "timeout_s": 0.2,
        "outcomes": {},
        "share": None,
        "cells": [],
    }
    return EventLatency(**{**known, **fields})


def test_one_that_is_well_says_how_well():
    found = why(latency=Latency(60e-6, 310e-6, 366), events_per_s=6.1)
    assert (found.code, found.next) == ("healthy", "")
    assert found.cause == "runs: 6.1 events/s, p50 60 µs, p99 310 µs of 366, none passed over"
    assert explained(plugin_summary(serving=True), ALONE).why == ""


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (down(Substate.BAD_MANIFEST, "plugin.json: $.priority: expected `int`"), "bad_manifest"),
        (why(conflict="it has the name x of y; rename it"), "name_conflict"),
        (down(Substate.NONE, status=PluginStatus.STOPPED, desired="stopped"), "not_started"),
        (down(Substate.DISABLED, "no GPU", status=PluginStatus.STOPPED), "cannot_serve"),
        (down(Substate.WAITING, "behind b", status=PluginStatus.STARTING), "starting"),
        (down(Substate.SPAWN_FAILED, "cannot start x: no; do y"), "spawn_failed"),
        (down(Substate.HANDSHAKE_REFUSED, "no; do y"), "handshake_refused"),
        (down(Substate.HANDSHAKE_TIMEOUT, "no handshake within 10 s"), "not_connected"),
        (down(Substate.START_TIMEOUT, "connected, but not ready within 60 s"), "not_ready"),
        (down(Substate.BAD_CONFIG, "exited: code 78; last stderr: no x"), "config_refused"),
        (down(Substate.CHANGED, "its files have changed; install it again"), "changed"),
        (down(Substate.KILLING, "PID 7 is left; look at it"), "cannot_end"),
        (down(Substate.NONE, "internal error"), "failed"),
        (down(Substate.EXITED, "exited: code 0", status=PluginStatus.STOPPED), "ended"),
        (down(Substate.TERMINATING, status=PluginStatus.STOPPING), "stopping"),
        (why(breaker="open", failures_in_a_row=10, next_probe_s=3.0), "circuit_open"),
        (why(queue=Queue(900, 1000, 0)), "queue_full"),
        (why(dropped_last_minute=3), "queue_full"),
        (why(is_slow=True, latency=Latency(0.1, 0.4, 9), share=0.71), "slow"),
        (why(refused_changes=3), "refused_changes"),
        (why(passed_over={"skipped": 2, "refused": 0}), "passed_over"),
    ],
)
def test_each_question_has_its_answer(found, code):
    assert found.code == code
    assert found.cause
    assert not found.cause.endswith(".")


def test_what_refuses_events_is_told_with_their_number():
    found = why(
        breaker="open",
        failures_in_a_row=10,
        next_probe_s=3.0,
        passed_over={"refused": 214},
        latency_by_event=[event(outcomes={"late": 17})],
    )
    assert found.in_words() == (
        "circuit open: 10 answers in a row came after 200 ms; 214 events refused in the last "
        'minute. Next: make it faster, or raise events."message.incoming".timeout; the next probe '
        "is in 3 s"
    )
    assert [one.code for one in found.also] == ["passed_over"]


def test_several_crashes_are_one_story():
    reports = tuple(crash("killed by SIGSEGV", exit_signal="SIGSEGV") for _ in range(3))
    found = down(Substate.CRASH_LOOP, "killed by SIGSEGV", crashes=reports)
    assert found.cause.startswith("killed by SIGSEGV 3 times in 1 s")


def test_what_was_before_an_operators_start_explains_nothing():
    old = crash("killed by SIGSEGV", exit_signal="SIGSEGV", at=1.0)
    found = down(Substate.NONE, "something else", crashes=(old,), forgotten_at=time.time())
    assert found.code == "failed"


def test_hanging_is_told_by_its_pings():
    reports = (crash("no answer to 3 pings"), crash("no answer to 3 pings"))
    found = down(Substate.BACKOFF, "no answer to 3 pings", crashes=reports)
    assert found.cause.startswith("hung and was replaced twice: no answer to 3 pings")


def test_what_it_requires_is_looked_at():
    db = plugin_summary(
        "db", status=PluginStatus.STOPPED, desired="stopped", ordered_at=time.time()
    )
    around = Surroundings(lambda name: db if name == "db" else None, {})
    found = down(Substate.SPAWN_FAILED, "requires db", requires=("db",), around=around)
    assert found.cause == "waits for db, which is stopped"
    assert found.next == "vconnect start db"
    missing = down(Substate.SPAWN_FAILED, "requires x", requires=("x",), around=around)
    assert missing.cause == "waits for x, which is not installed"


def test_one_that_nobody_asks_is_told_what_was_sent():
    fields = {"events": 0, "uptime_s": 60.0}
    sent = Surroundings(lambda _: None, {"message.incoming": 366, "user.online": 2})
    mistyped = why(sent, capabilities=("mesage.incoming",), **fields)
    assert 'it wants "mesage.incoming", which was never sent' in mistyped.cause
    assert "message.incoming was, 366 times" in mistyped.cause
    assert "declares no capability" in why(sent, capabilities=(), **fields).cause
    assert "conditions of its match" in why(sent, capabilities=("user",), **fields).cause
    assert why(sent, capabilities=("x.y",), events=0, uptime_s=1.0).code == "healthy"
