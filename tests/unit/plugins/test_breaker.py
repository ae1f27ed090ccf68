"""The circuit breaker, at a time of the test's."""

from __future__ import annotations

import pytest
from tests.support.clock import Clock

from vconnect.plugins import breaker as module
from vconnect.plugins.breaker import Breaker


@pytest.fixture
def clock(monkeypatch):
    made = Clock(1000.0)
    monkeypatch.setattr(module, "monotonic", made)
    return made


def opened(failures: int = 3) -> Breaker:
    breaker = Breaker(failures, 5.0)
    for _ in range(failures):
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it(clock):
    breaker = Breaker(3, 5.0)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for n in range(3):
        assert (breaker.state, breaker.failures, breaker.is_open) == ("closed", n, False)
        breaker.failed()
    assert (breaker.state, breaker.failures, breaker.opens_in) == ("open", 3, 5.0)
    assert not breaker.takes_probe()


def test_one_call_probes_it(clock):
    breaker = opened()
    clock.now += 4.99
    assert not breaker.takes_probe()
    clock.now += 0.01
    assert (breaker.state, breaker.opens_in) == ("half_open", 0.0)
    assert breaker.takes_probe()
    assert not breaker.takes_probe()
    breaker.succeeded()
    assert (breaker.state, breaker.failures, breaker.is_open) == ("closed", 0, False)


def test_a_probe_that_fails_opens_it_again(clock):
    breaker = opened()
    for n in range(4, 7):
        clock.now += 5
        assert breaker.takes_probe()
        breaker.failed()
        assert (breaker.state, breaker.failures, breaker.opens_in) == ("open", n, 5.0)
        assert not breaker.takes_probe()


def test_a_probe_that_nobody_waits_for_lets_another_one_through(clock):
    breaker = opened()
    clock.now += 5
    assert breaker.takes_probe()
    breaker.gave_up()
    assert (breaker.state, breaker.failures) == ("half_open", 3)
    assert breaker.takes_probe()


def test_none_at_all(clock):
    breaker = Breaker(0, 5.0)
    for _ in range(1000):
        breaker.failed()
    assert (breaker.state, breaker.is_open, breaker.opens_in) == ("closed", False, 0.0)


def test_it_opens_at_the_first_one():
    breaker = opened(1)
    assert breaker.is_open
    breaker.succeeded()  # what was sent before it opened, and is answered after all
    assert breaker.state == "closed"


def test_it_is_told_once_when_it_opens_and_once_when_it_closes(clock):
    said = []
    breaker = Breaker(3, 5.0, lambda level, text: said.append((level, text)))
    for _ in range(3):
        assert said == []
        breaker.failed("no room")
    ((level, text),) = said
    assert level == "warn"
    assert text.startswith("its circuit is open after 3 failures in a row")
    assert "every 5 s" in text
    assert text.endswith("; the last failure: no room")
    # A probe that fails changes nothing.
    clock.now += 5
    assert breaker.takes_probe()
    breaker.failed()
    assert len(said) == 1
    clock.now += 5
    assert breaker.takes_probe()
    breaker.succeeded()
    breaker.succeeded()
    assert said[1:] == [("info", "its circuit is closed after 10 s")]
