"""Why a plugin is not there, or not for long: each question, and what it waits for."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support.fake_manager import plugin_summary
from tests.support.why_kit import ALONE, DOWN, ERROR, EXIT, NOW, STARTING, STOPPED, crash, why

from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.why import Surroundings, explain

SEGV: dict[str, Any] = {
    "exit_signal": "SIGSEGV",
    "reason": "killed by SIGSEGV",
    "in_flight": ("e",),
}
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
    "says something of pings itself": (
        {**ERROR, "substate": Substate.EXITED, "reason": "exited: code 1; last stderr: no pings"}
        | {"crashes": (crash(**EXIT | {"reason": "exited: code 1; last stderr: no pings"}),)},
        "exits",
        "exits with code 1 after 200 ms: it printed nothing. Next: vconnect logs a",
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
}


@pytest.mark.parametrize(("fields", "code", "line"), ANSWERS.values(), ids=ANSWERS)
def test_each_question_has_its_answer(fields: dict[str, Any], code: str, line: str) -> None:
    found = why(**fields)
    assert (found.code, found.in_words()) == (code, line)


def test_what_it_requires_serves_and_it_cannot_be_started_all_the_same() -> None:
    failed = {**ERROR, "substate": Substate.SPAWN_FAILED, "requires": ("db",)}
    found = why(others(), **failed, reason="cannot start a/a: permission denied")
    assert found.in_words() == (
        "cannot start: a/a: permission denied. Next: mend that, then vconnect start a"
    )
    about_to_be_tried = why(others(), **failed, reason="requires db, which is Stopped")
    assert about_to_be_tried.code != "spawn_failed"


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
