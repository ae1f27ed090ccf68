"""Questions that another process answers, and what becomes of one that it does not survive."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import Any

import pytest

from vconnect.packages.config_schema import apart, check
from vconnect.packages.config_schema.apart import judge_apart
from vconnect.packages.config_schema.check import check_schema, find_violation
from vconnect.packages.config_schema.rules import Verdict

LARGE: dict[str, Any] = {
    "properties": {f"k{n}": {"type": "integer"} for n in range(150)},
    "additionalProperties": False,
}


def test_it_says_the_same() -> None:
    assert judge_apart(LARGE, {"k1": 1}) == Verdict()
    assert judge_apart(LARGE, {"k1": "x"}) == Verdict("", "$.k1: expected integer, got string")
    assert judge_apart({"required": "a"}, None).problem == ".required: expected array, got string"


@pytest.mark.parametrize(
    "value", [object(), float("nan"), 2**70, {5: 1}, {(1,): 2}, "\ud83d", b"a"]
)
def test_what_is_no_json_is_left_to_who_sends_it(value: object) -> None:
    assert judge_apart(LARGE, {"x": value}).violation == "$: unknown key 'x'"


def test_what_is_large_is_asked_there_and_a_schema_only_once(monkeypatch) -> None:
    asked: list[object] = []

    def judge(schema: Any, config: Any) -> Verdict:
        asked.append(config)
        return judge_apart(schema, config)

    monkeypatch.setattr(check, "judge_apart", judge)
    for _ in range(2):
        check_schema({**LARGE, "title": "once"}, "here")
    assert find_violation(LARGE, {"k1": 1}) == ""
    assert asked == [None, {"k1": 1}]


@pytest.mark.parametrize(
    ("limit", "words"),
    [("_CPU_S", "1 s of processor time"), ("_MEMORY_BYTES", "or fails (exit code")],
)
def test_one_that_takes_too_much_is_the_fault_of_the_schema(limit, words, monkeypatch) -> None:
    # The process has its limits from the module, so this one starts another program.
    programs = {
        "_CPU_S": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile 1: pass",
        "_MEMORY_BYTES": "raise MemoryError",
    }
    really_run = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        return really_run([command[0], "-c", programs[limit]], **options)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(apart, "_CPU_S", 1)
    assert words in judge_apart(LARGE, {}).problem


def test_other_threads_run_while_a_hostile_schema_is_checked() -> None:
    """A pattern that takes most of a second to compile."""
    pattern = "|".join(f"a{n}b.*[x-z]{{1,50}}" for n in range(1500))
    schema = {"properties": {"a": {"pattern": pattern}}}
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(find_violation(schema, {"a": "x"})))
    began = time.thread_time()
    thread.start()
    thread.join()
    assert found[0].startswith("$.a: expected pattern")
    assert time.thread_time() - began < 0.1


def test_without_a_process_it_is_checked_here(monkeypatch) -> None:
    def refuse(*_: object) -> Verdict:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(check, "judge_apart", refuse)
    assert find_violation(LARGE, {"k1": "x"}) == "$.k1: expected integer, got string"
