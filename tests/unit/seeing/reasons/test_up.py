"""What is wrong with the service of a plugin: each question, and why one is never asked."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.why_kit import why

from vconnect.plugins.crashes import QuarantinedEvent
from vconnect.plugins.latency import Latency
from vconnect.seeing.last_minute import EventLatency
from vconnect.seeing.summary import Queue
from vconnect.seeing.why import Surroundings


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


ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
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
    "circuit, with words": (
        {"serving": False, "breaker": "half_open", "failures_in_a_row": 3, "next_probe_s": 0.0}
        | {"latency_by_event": [latency("bad_answer", 3)], "last_error": "unreadable answer"},
        "circuit_open",
        "circuit open: 3 answers in a row were errors; the last: unreadable answer. Next: see "
        "what it says: vconnect logs a; the next event tries it",
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
}


@pytest.mark.parametrize(("fields", "code", "line"), ANSWERS.values(), ids=ANSWERS)
def test_each_question_has_its_answer(fields: dict[str, Any], code: str, line: str) -> None:
    found = why(**fields)
    assert (found.code, found.in_words()) == (code, line)


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
