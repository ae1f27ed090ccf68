"""Why a plugin does not serve: each question, which one comes first, and the whole line."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support.fake_manager import plugin_summary
from tests.support.paper import report

from vconnect.plugins.crashes import QuarantinedEvent
from vconnect.plugins.latency import Latency
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing.last_minute import EventLatency
from vconnect.seeing.summary import PluginSummary, Queue
from vconnect.seeing.why import Surroundings, Why, explain, explained

ALONE = Surroundings(lambda _: None, {})
NOW = time.time()
DOWN: dict[str, Any] = {"serving": False, "pid": None, "uptime_s": None}
ERROR = {**DOWN, "status": PluginStatus.ERROR}
STOPPED = {**DOWN, "status": PluginStatus.STOPPED, "desired": "stopped"}
STARTING = {**DOWN, "status": PluginStatus.STARTING}


def why(around: Surroundings = ALONE, **fields: Any) -> Why:
    return explain(plugin_summary("a", **fields), around)


def crash(at: float = 0.0, **fields: Any) -> Any:
    known: dict[str, Any] = {
        "exit_signal": None,
        "last_stderr": (),
        "in_flight": (),
        "ran_for_s": 0.0,
    }
    return report(at=NOW - 60 + at, **(known | fields))


def latency(outcome: str, count: int, timeout_s: float | None = 0.2) -> EventLatency:
    return EventLatency(
        event="message.incoming",
        p50_s=None,
        p99_s=None,
        count=0,
        timeout_s=timeout_s,
        outcomes={outcome: count},
        share=None,
        cells=[],
    )


SEGV: dict[str, Any] = {
    "exit_signal": "SIGSEGV",
    "reason": "killed by SIGSEGV",
    "in_flight": ("e",),
}
EXIT: dict[str, Any] = {"exit_code": 1, "reason": "exited with code 1", "ran_for_s": 0.2}
MEMORY: dict[str, Any] = {
    "reason": "memory_limit: 2 process(es) with 272629760 bytes of resident memory; "
    "memory_limit_bytes is 268435456"
}

ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "manifest": (
        {**ERROR, "substate": Substate.BAD_MANIFEST, "reason": "plugin.json: `$.name`: missing"},
        "bad_manifest",
        "bad manifest: plugin.json: name: missing. Next: mend it, then vconnect start a",
    ),
    "conflict": (
        {**DOWN, "status": PluginStatus.INSTALLED, "conflict": "b has this name; rename one"},
        "name_conflict",
        "b has this name. Next: rename one",
    ),
    "stopped": (
        {**STOPPED, "ordered_by": "ada", "ordered_at": NOW - 3 * 86400},
        "stopped",
        "stopped by ada, 3 d 00 h ago. Next: vconnect start a",
    ),
    "stopped by nobody known": (
        {**STOPPED, "ordered_at": NOW - 9 * 86400},
        "stopped",
        "stopped 9 d 00 h ago. Next: vconnect start a",
    ),
    "disabled": (
        {**STOPPED, "is_disabled": True, "ordered_by": "ada"},
        "disabled",
        "disabled by ada. Next: vconnect enable a",
    ),
    "not started": (
        {**DOWN, "status": PluginStatus.INSTALLED, "desired": "stopped"},
        "not_started",
        "not started yet. Next: vconnect start a",
    ),
    "cannot serve": (
        {**STOPPED, "substate": Substate.DISABLED, "reason": "no GPU"},
        "cannot_serve",
        "says that it cannot serve here: no GPU. Next: give it what it needs, "
        "then vconnect start a",
    ),
    "spawn": (
        {**ERROR, "substate": Substate.SPAWN_FAILED}
        | {"reason": "cannot start a/a: permission denied; chmod +x a/a"},
        "spawn_failed",
        "cannot start: a/a: permission denied. Next: chmod +x a/a, then vconnect start a",
    ),
    "interpreter": (
        {**ERROR, "substate": Substate.SPAWN_FAILED}
        | {
            "reason": "cannot start a/a: no such file or directory; the interpreter in its first "
            "line is not there: /usr/bin/python9"
        },
        "spawn_failed",
        "cannot start: a/a asks for the interpreter /usr/bin/python9, which is not there. "
        "Next: install it, or change line 1, then vconnect start a",
    ),
    "slot": (
        {**STARTING, "substate": Substate.WAITING},
        "starting",
        "waits to be started: others start first",
    ),
    "refused": (
        {**ERROR, "substate": Substate.HANDSHAKE_REFUSED}
        | {"reason": 'it calls itself "b"; name it a'},
        "handshake_refused",
        'handshake refused: it calls itself "b". Next: name it a',
    ),
    "silent": (
        {**ERROR, "substate": Substate.HANDSHAKE_TIMEOUT}
        | {"reason": "connected and sent no handshake within 10 s; last stderr: x"},
        "no_handshake",
        "connected and sent no handshake within 10 s. Next: its first frame must be the "
        "handshake; see wire.md",
    ),
    "not connected": (
        {**ERROR, "substate": Substate.HANDSHAKE_TIMEOUT, "reason": "no handshake within 10 s"}
        | {"crashes": tuple(crash(at, reason="no handshake within 10 s") for at in range(3))},
        "not_connected",
        "did not connect within 10 s of its start (3 tries); it printed nothing. Next: does it "
        "open --socket? See vconnect logs a",
    ),
    "not ready": (
        {**ERROR, "substate": Substate.START_TIMEOUT, "reason": "not ready within 60 s"},
        "not_ready",
        "not ready within 60 s. Next: see what it waits for: vconnect logs a; or raise "
        "start_timeout",
    ),
    "cannot end": (
        {**ERROR, "substate": Substate.KILLING, "reason": "PID 7 does not end"},
        "cannot_end",
        "PID 7 does not end. Next: look at these processes; the kernel holds them",
    ),
    "memory": (
        {**ERROR, "substate": Substate.MEMORY_LIMIT, "crashes": (crash(**MEMORY),)},
        "memory_limit",
        "ended at its memory limit: 260 of 256 MiB. Next: raise memory_limit_bytes in its "
        "options, or find the leak",
    ),
    "hung": (
        {**ERROR, "substate": Substate.WATCHDOG}
        | {"crashes": (crash(reason="no answer to 3 pings"), crash(1, reason="hung"))},
        "hung",
        "hung and was replaced twice: hung. Next: move what blocks into a thread",
    ),
    "killed": (
        {**ERROR, "substate": Substate.KILLED}
        | {"crashes": tuple(crash(at, **SEGV) for at in (0, 10, 20))},
        "killed",
        "killed by SIGSEGV 3 times in 20 s while it had e in flight. Next: vconnect status a "
        "--crashes",
    ),
    "exits": (
        {**ERROR, "substate": Substate.BACKOFF}
        | {
            "crashes": tuple(
                crash(at, **EXIT, last_stderr=("ModuleNotFoundError: No module named 'tokens'",))
                for at in (0, 48)
            )
        },
        "exits",
        "exits with code 1 after 200 ms, 2 times in 48 s: No module named 'tokens'. Next: add it "
        "to its dependencies",
    ),
    "exits in silence": (
        {**ERROR, "substate": Substate.EXITED, "crashes": (crash(**(EXIT | {"ran_for_s": 0.0})),)},
        "exits",
        "exits with code 1 before it connected: it printed nothing. Next: it must connect to the "
        "--socket that it gets, and stay; see wire.md",
    ),
    "other": (
        {**ERROR, "reason": "its disk is gone; try: mount it"},
        "failed",
        "its disk is gone. Next: mount it",
    ),
    "ended": (
        {**DOWN, "status": PluginStatus.STOPPED, "substate": Substate.EXITED},
        "ended",
        "ended by itself: exited with code 0. Next: vconnect start a, or see restart",
    ),
    "starting": (
        {**STARTING, "substate": Substate.INITIALIZING},
        "starting",
        "starting: connected, and not ready yet",
    ),
    "stopping": (
        {**DOWN, "status": PluginStatus.STOPPING, "substate": Substate.DRAINING},
        "stopping",
        "stopping: draining",
    ),
    "circuit, late": (
        {"serving": False, "breaker": "open", "failures_in_a_row": 10, "next_probe_s": 3.2}
        | {"latency_by_event": [latency("late", 10)], "passed_over": {"refused": 214}},
        "circuit_open",
        "circuit open: 10 answers in a row came after 200 ms; 214 events refused in the last "
        'minute. Next: make it faster, or raise events."message.incoming".timeout; the next probe '
        "is in 3 s",
    ),
    "circuit, errors": (
        {"serving": False, "breaker": "open", "failures_in_a_row": 1, "next_probe_s": None}
        | {"latency_by_event": [latency("error", 1)], "passed_over": {"skipped": 1}},
        "circuit_open",
        "circuit open: 1 answer was an error; 1 event went on without it in the last minute. "
        "Next: see what it says: vconnect logs a; the next probe is in 1 s",
    ),
    "quarantine": (
        {"quarantine": (QuarantinedEvent(event="e", fingerprint="9f3a00001111", payload="1"),)},
        "quarantine",
        "runs, but one event is in quarantine: e 9f3a0000 crashed it twice. Next: mend it, then "
        "vconnect release a",
    ),
    "queue": (
        {"queue": Queue(1024, 1024, 5), "dropped_last_minute": 96, "events_per_s": 6.1},
        "queue_full",
        "runs, but its queue is full: 1,024 waiting, 96 notifications dropped in the last "
        "minute. Next: it got 6.1 events a second; make it faster, or send it less (match)",
    ),
    "slow": (
        {"is_slow": True, "latency": Latency(0.1, 0.412, 9), "share": 0.61},
        "slow",
        "slow: 61% of the chain's time, p99 412 ms in the last minute. Next: vconnect tail "
        "--plugin a --slow 50ms",
    ),
    "refused changes": (
        {"refused_changes": 2},
        "refused_changes",
        "runs, but 2 changes of protected fields were refused. Next: see protected and may_change "
        "in the event's table",
    ),
    "passed over": (
        {"passed_over": {"refused": 1, "skipped": 2}},
        "passed_over",
        "runs, but 3 events passed it over in the last minute; 1 of them refused. Next: vconnect "
        "tail --passed-over --plugin a",
    ),
    "a new process failed": (
        {"reason": "a new process failed: exited: code 1; last stderr: SyntaxError: invalid "}
        | {"dev": True},
        "new_process_failed",
        "runs, but its new process failed: exited: code 1: SyntaxError: invalid ; the old one "
        "serves. Next: mend its source; vconnect logs a",
    ),
    "a new version failed": (
        {"reason": "a new process failed: no handshake within 1 s; the old one keeps running"},
        "new_process_failed",
        "runs, but its new process failed: no handshake within 1 s; the old one serves. Next: "
        "vconnect logs a; then vconnect restart a",
    ),
    "a version that was tried in its place": (
        {"reason": "version 2 did not get ready: exited: code 1; the version before it runs"},
        "new_process_failed",
        "runs, but version 2 did not get ready: exited: code 1; the version before it runs. Next: "
        "vconnect logs a; then install a version that starts",
    ),
    "a clash of names": (
        {**ERROR, "substate": Substate.BAD_MANIFEST, "reason": "/p/a: b has this name; rename one"}
        | {"conflict": "b has this name; rename one"},
        "name_conflict",
        "b has this name. Next: rename one",
    ),
    "a schema refuses": (
        {**ERROR, "substate": Substate.BAD_CONFIG}
        | {
            "reason": "invalid configuration: $.rate: expected integer, got string; set it in "
            "[plugins.config.a]"
        },
        "config_refused",
        "its configuration does not fit: rate: expected integer, got string. Next: set it in "
        "[plugins.config.a], then vconnect reload",
    ),
    "it refuses": (
        {**ERROR, "substate": Substate.BAD_CONFIG, "reason": "exited: code 78; last stderr: no x"},
        "config_refused",
        "refuses its configuration: no x. Next: mend [plugins.config.a], then vconnect reload, or "
        "vconnect start a if the cause is elsewhere",
    ),
    "a cycle": (
        {**ERROR, "substate": Substate.BAD_MANIFEST}
        | {"reason": "requires forms a cycle: a → b → a; change one of them"},
        "cycle",
        "requires forms a cycle: a → b → a. Next: change one of them, then vconnect start a",
    ),
    "connects and closes": (
        {**ERROR, "substate": Substate.HANDSHAKE_TIMEOUT}
        | {
            "reason": "its connection ended, and it has not connected again within 4 s",
            "crashes": (crash(**EXIT | {"reason": "its connection ended, and …"}),),
        },
        "connection_ended",
        "its connection ended, and it has not connected again within 4 s. Next: it must keep its "
        "connection open, or connect again; vconnect logs a",
    ),
    "the host's own signal": (
        {**ERROR, "substate": Substate.HANDSHAKE_TIMEOUT, "reason": "no handshake within 10 s"}
        | {
            "crashes": (
                crash(
                    reason="no handshake within 10 s",
                    exit_code=1,
                    last_stderr=("waiting", "KeyboardInterrupt"),
                    said="waiting",
                ),
            )
        },
        "not_connected",
        "did not connect within 10 s of its start (1 try); it printed last: waiting. Next: does "
        "it open --socket? See vconnect logs a",
    ),
    "a daemon": (
        {**DOWN, "status": PluginStatus.STOPPED, "substate": Substate.CRASH_LOOP}
        | {
            "crashes": (
                crash(
                    exit_code=0,
                    reason="exited: code 0; it went into the background, but must run in the "
                    "foreground",
                    last_stderr=("KeyboardInterrupt",),
                ),
            )
        },
        "exits",
        "exits with code 0 before it connected: it went into the background, but must run in the "
        "foreground. Next: let it run in the foreground, then vconnect start a",
    ),
    "a frame that is too large": (
        {**ERROR, "substate": Substate.EXITED}
        | {
            "crashes": (
                crash(
                    exit_code=1,
                    ran_for_s=1.0,
                    reason="exited: code 1, after its connection ended: frame of 6291458 bytes; "
                    "the limit is 4194304 (max_answer_bytes)",
                    last_stderr=("BrokenPipeError: [Errno 32] Broken pipe",),
                ),
            )
        },
        "exits",
        "exits with code 1 after 1 s: its connection ended: frame of 6291458 bytes; the limit is "
        "4194304 (max_answer_bytes). Next: vconnect status a --crashes",
    ),
    "a bare key": (
        {**ERROR, "substate": Substate.EXITED}
        | {"crashes": (crash(**EXIT, last_stderr=("KeyError: 'API_TOKEN'",)),)},
        "exits",
        "exits with code 1 after 200 ms: KeyError: 'API_TOKEN'. Next: vconnect logs a",
    ),
    "bad syntax": (
        {**ERROR, "substate": Substate.EXITED}
        | {
            "crashes": (
                crash(
                    **EXIT,
                    last_stderr=(
                        '  File "/p/a.py", line 3',
                        "SyntaxError: invalid syntax",
                    ),
                ),
            )
        },
        "exits",
        "exits with code 1 after 200 ms: SyntaxError: invalid syntax (/p/a.py:3). Next: vconnect "
        "logs a",
    ),
    "too much processor time": (
        {**ERROR, "substate": Substate.KILLED}
        | {"crashes": (crash(exit_signal="SIGXCPU", reason="killed by SIGXCPU"),)},
        "killed",
        "killed by SIGXCPU, because it reached limits.cpu_s. Next: raise limits.cpu_s in its "
        "options, or find what uses it up",
    ),
    "HTTP": (
        {**ERROR, "substate": Substate.HANDSHAKE_REFUSED}
        | {"reason": "frame of 1195725856 bytes; the limit is 65536 (max_handshake_bytes)"},
        "handshake_refused",
        "handshake refused: it speaks HTTP, not the protocol. Next: see wire.md for what it is",
    ),
    "circuit, with words": (
        {"serving": False, "breaker": "half_open", "failures_in_a_row": 3, "next_probe_s": 0.0}
        | {"latency_by_event": [latency("bad_answer", 3)], "last_error": "unreadable answer"},
        "circuit_open",
        "circuit open: 3 answers in a row were errors; the last: unreadable answer. Next: see "
        "what it says: vconnect logs a; the next event tries it",
    ),
    "errors": (
        {"outcomes": {"error": 2}, "last_error": "ValueError: no"},
        "errors",
        "runs, but 2 of 2 answers in the last minute were errors; the last: ValueError: no. Next: "
        "vconnect logs a",
    ),
    "few errors": (
        {"outcomes": {"ok": 9999, "error": 1}, "last_error": "ValueError: no"},
        "healthy",
        "runs: no event in the last minute",
    ),
    "restarted": (
        {"reason": "restarted: exited: code 1; last stderr: no disk"},
        "restarted",
        "runs again after its end: exited: code 1: no disk. Next: vconnect status a --crashes",
    ),
    "healthy": (
        {"events_per_s": 6.1, "latency": Latency(0.00006, 0.00031, 366)},
        "healthy",
        "runs: 6.1 events/s, p50 60 µs, p99 310 µs of 366, none passed over",
    ),
    "idle": ({}, "healthy", "runs: no event in the last minute"),
}


@pytest.mark.parametrize(("fields", "code", "line"), ANSWERS.values(), ids=ANSWERS)
def test_each_question_has_its_answer(fields: dict[str, Any], code: str, line: str) -> None:
    found = why(**fields)
    assert found.in_words() == line
    assert found.code == code
    assert found.serving == fields.get("serving", True)
    assert found.plugin == "a"


@pytest.mark.parametrize(("fields", "code", "line"), ANSWERS.values(), ids=ANSWERS)
def test_a_summary_says_the_same(fields: dict[str, Any], code: str, line: str) -> None:
    summary = plugin_summary("a", **fields)
    told, found = explained(summary, ALONE), explain(summary, ALONE)
    assert told.code == code
    assert (told.why, told.next) == (("", "") if code == "healthy" else (found.cause, found.next))
    assert told.also == found.also


def others(**fields: Any) -> Surroundings:
    known: dict[str, PluginSummary] = {"db": plugin_summary("db", **fields)}
    return Surroundings(known.get, {})


@pytest.mark.parametrize(
    ("around", "line"),
    [
        (ALONE, "waits for db, which is not installed. Next: vconnect install db"),
        (
            others(**STOPPED, ordered_by="ada", ordered_at=NOW - 60),
            "waits for db, which is stopped by ada. Next: vconnect start db",
        ),
        (
            others(**ERROR, reason="no disk"),
            "waits for db, which is not serving (no disk). Next: vconnect logs db",
        ),
    ],
)
def test_what_it_waits_for_is_the_cause(around: Surroundings, line: str) -> None:
    found = why(around, **STARTING, requires=("db",))
    assert (found.code, found.in_words()) == ("waits_for", line)


def test_two_that_wait_for_each_other_are_explained_too() -> None:
    known = {
        name: plugin_summary(name, **STARTING, requires=(other,)) for name, other in ("ab", "ba")
    }
    found = explain(known["a"], Surroundings(known.get, {}))
    assert found.code == "waits_for"
    assert len(found.in_words()) < 200


def test_a_long_row_of_those_who_wait_is_explained_too() -> None:
    known = {
        str(number): plugin_summary(str(number), **STARTING, requires=(str(number + 1),))
        for number in range(1000)
    }
    found = explain(known["0"], Surroundings(known.get, {}))
    assert found.cause.startswith("waits for 1, which is not serving (waits for 2, which is not")
    assert len(found.in_words()) < 1000


def sent(**counts: int) -> Surroundings:
    return Surroundings(lambda _: None, {name.replace("_", "."): n for name, n in counts.items()})


@pytest.mark.parametrize(
    ("capabilities", "line"),
    [
        (
            ("mesage.incoming",),
            'runs, but nobody asks it: it wants "mesage.incoming", which was never sent; '
            "message.incoming was, 366 times. Next: mend its capabilities",
        ),
        (
            (),
            "runs, but nobody asks it: it declares no capability; message.incoming came, "
            "366 times. Next: add what it handles to its capabilities",
        ),
        (
            ("message",),
            "runs, but nobody asks it: no message.incoming met the conditions of its match. Next: "
            "look at match in plugins.options.a",
        ),
    ],
)
def test_one_that_is_never_asked_learns_why(capabilities: tuple[str, ...], line: str) -> None:
    around = sent(message_incoming=366, user_online=1)
    assert why(around, capabilities=capabilities, events=0).in_words() == line


@pytest.mark.parametrize(
    ("wants", "event"),
    [
        ("e.ok", "e.err"),
        ("message.created", "message.updated"),
        ("user.online", "user.offline"),
        ("job.step1", "job.step2"),
        ("audio", "video.started"),
    ],
)
def test_one_whose_event_has_not_come_yet_is_well(wants: str, event: str) -> None:
    around = Surroundings(lambda _: None, {event: 9})
    assert why(around, capabilities=(wants,), events=0).code == "healthy"


@pytest.mark.parametrize(
    ("wants", "event"), [("mesage", "message.incoming"), ("chat.mesage", "chat.message")]
)
def test_a_slip_is_suspect(wants: str, event: str) -> None:
    around = Surroundings(lambda _: None, {event: 9, "other": 100})
    assert f"{event} was, 9 times" in why(around, capabilities=(wants,), events=0).cause


@pytest.mark.parametrize(
    "fields", [{"events": 1}, {"events": 0, "uptime_s": 1.0}, {"events": 0, "passed_over_total": 1}]
)
def test_one_that_is_new_or_was_asked_is_well(fields: dict[str, Any]) -> None:
    assert why(sent(e=9), capabilities=("x",), **fields).code == "healthy"


def test_the_most_urgent_comes_first_and_the_rest_follows() -> None:
    found = why(
        serving=False,
        breaker="open",
        failures_in_a_row=2,
        is_slow=True,
        latency=Latency(1.0, 1.0, 1),
        refused_changes=1,
    )
    assert found.code == "circuit_open"
    assert [one.code for one in found.also] == ["slow", "refused_changes"]


def test_crashes_of_another_story_do_not_count() -> None:
    old, new = crash(-3600, **EXIT), crash(**EXIT)
    assert "times" not in why(**ERROR, crashes=(old, new)).cause
    forgotten = why(**ERROR, crashes=(crash(**EXIT),), forgotten_at=NOW, reason="other")
    assert forgotten.code == "failed"


def test_when_it_is_tried_again_is_told() -> None:
    soon = why(**ERROR, crashes=(crash(**EXIT),), next_retry_at=time.time())
    assert soon.cause.endswith(". It is tried again at once")
    later = why(**ERROR, crashes=(crash(**EXIT),), next_retry_at=time.time() + 300)
    assert ". Next try " in later.cause


def test_the_facts_are_of_this_explanation_alone() -> None:
    found = why()
    found.facts["x"] = 1
    assert why().facts == {}


@pytest.mark.parametrize("status", PluginStatus)
@pytest.mark.parametrize("substate", Substate)
def test_every_state_has_an_explanation(status: PluginStatus, substate: Substate) -> None:
    serving = status is PluginStatus.RUNNING
    found = why(status=status, substate=substate, serving=serving, reason="a reason")
    assert found.code
    assert found.cause
    assert serving or found.code != "healthy"
