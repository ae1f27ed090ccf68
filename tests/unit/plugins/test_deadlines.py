"""Deadlines that a plugin misses are told, and bundled."""

from __future__ import annotations

import pytest

from vconnect.errors import PluginTimeoutError
from vconnect.plugins.deadlines import MissedDeadlines
from vconnect.settings.events import EventPolicy

POLICY = EventPolicy(timeout=5.0, chain_timeout=30.0)


class Teller:
    """What is said, with a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, own: float | None = None) -> None:
        self.said: list[tuple[str, str]] = []
        self.due: list[object] = []
        self.limit = POLICY.timeout if own is None else min(own, POLICY.timeout)
        self.missed = MissedDeadlines(lambda level, text: self.said.append((level, text)), own)
        monkeypatch.setattr("asyncio.get_running_loop", lambda: self)

    def call_later(self, delay: float, callback: object) -> object:
        assert delay == 60
        self.due.append(callback)
        return callback

    def add(self, event: str = "m", seconds: float = 5.0) -> str:
        error = PluginTimeoutError("p", "no answer by the deadline")
        self.missed.add(error, event, POLICY, self.limit, seconds)
        assert str(error) == f"p: {error.message}"
        return error.message

    def minute(self) -> list[tuple[str, str]]:
        """Let a minute pass, and return what was said then."""
        self.said.clear()
        (callback,) = self.due
        self.due.clear()
        callback()  # type: ignore[operator]
        return self.said


@pytest.fixture
def teller(monkeypatch):
    return Teller(monkeypatch)


def test_the_first_is_told_at_once_and_the_next_within_a_minute(teller):
    usual = "5 s, from timeout in the event's table or event_timeout"
    assert teller.add() == f"no answer by the deadline ({usual})"
    assert teller.said == [("warn", f"no answer to m in time: it had {usual}")]
    teller.said.clear()
    for event in ("m", "m", "n"):
        teller.add(event)
    assert not teller.said
    assert teller.minute() == [
        (
            "warn",
            f"no answer in time to 3 more events within 60 s: m (2), n (1); the last had {usual}",
        )
    ]
    # After a minute without one, the next is told at once again.
    assert teller.minute() == []
    assert teller.due == []
    teller.add()
    assert len(teller.said) == 1


def test_a_line_does_not_grow_with_the_number_of_events(teller):
    for number in range(101):
        teller.add(f"e{number}")
    ((_, text),) = teller.minute()
    assert "to 100 more events" in text
    assert text.endswith("and 95 others; the last had 5 s, from timeout in the event's table or "
                         "event_timeout")  # fmt: skip


@pytest.mark.parametrize(
    ("own", "seconds", "limit"),
    [
        (None, 5.0 + 1e-9, "5 s, from timeout in the event's table or event_timeout"),
        (None, 5.9, "5.9 s, from the caller (its timeout or its own deadline) or chain_timeout"),
        (9.0, 5.0, "5 s, from timeout in the event's table or event_timeout"),
        (2.0, 2.0, "2 s, from timeout in its options"),
        (None, 0.5, "0.5 s, from the caller (its timeout or its own deadline) or chain_timeout"),
        (2.0, 5.0, "5 s, from the caller (its timeout or its own deadline) or chain_timeout"),
        (None, 0.00001, "0 s, from the caller (its timeout or its own deadline) or chain_timeout"),
    ],
)
def test_the_setting_that_decided_is_named(monkeypatch, own, seconds, limit):
    teller = Teller(monkeypatch, own)
    assert teller.add(seconds=seconds) == f"no answer by the deadline ({limit})"


def test_what_was_not_even_sent_is_told_as_such(teller):
    teller.add(seconds=-0.5)
    ((_, text),) = teller.said
    assert text.startswith("m was not sent: it had 0 s, from the caller")


def test_an_error_that_several_calls_share_is_explained_once(teller):
    error = PluginTimeoutError("p", "not sent by the deadline")
    for _ in range(2):
        teller.missed.add(error, "m", POLICY, 5.0, 5.0)
    assert error.message.count("event_timeout") == 1
