"""Refusals in the log: bounded, and none in silence."""

from __future__ import annotations

import logging

import pytest

from vconnect.errors import HandshakeError
from vconnect.wire import refusals as module
from vconnect.wire.refusals import Refusals

ERROR = HandshakeError("stranger", "nobody started it")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_one_name_is_one_line_a_minute(caplog, clock):
    caplog.set_level(logging.WARNING)
    refusals = Refusals()
    for name in ("a", "a", "", "a", ""):
        refusals.tell(name, 7, ERROR)
    assert lines(caplog) == [
        "refused a connection as a from PID 7: nobody started it",
        "refused a connection from PID 7: nobody started it",
    ]
    clock[0] += 60
    refusals.tell("a", 7, ERROR)
    assert len(lines(caplog)) == 3
    assert refusals.count == 6
    refusals.close()
    assert len(lines(caplog)) == 3


async def test_many_names_are_a_few_lines_and_a_number(caplog, clock):
    caplog.set_level(logging.WARNING)
    refusals = Refusals()
    for number in range(3000):
        refusals.tell(f"n{number}", 7, ERROR)
    assert len(lines(caplog)) == module._LINES
    refusals._next_minute()
    assert lines(caplog)[-1] == (
        f"refused {3000 - module._LINES} more connections within 60 s, under other names"
    )
    refusals.tell("again", 7, ERROR)
    assert lines(caplog)[-1].startswith("refused a connection as again")
    assert len(refusals._told) <= module._NAMES
    refusals.close()


async def test_the_names_that_are_known_are_few(clock):
    refusals = Refusals()
    for number in range(3 * module._NAMES):
        refusals._lines = 0
        refusals.tell(f"n{number}", 7, ERROR)
    assert len(refusals._told) == module._NAMES
    assert f"n{3 * module._NAMES - 1}" in refusals._told
    refusals.close()
