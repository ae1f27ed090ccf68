"""The pipe between guardian and host, and when there is a guardian at all."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from vconnect.host import guardian
from vconnect.host.guardian import Lifeline, is_wanted

pytestmark = pytest.mark.both_loops

TERM, INT = signal.SIGTERM, signal.SIGINT


class Pipe:
    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        os.set_blocking(reading, False)
        self.lifeline = Lifeline(reading, 7)
        self.losses = 0

    def watch(self) -> Lifeline:
        self.lifeline.watch(asyncio.get_running_loop(), self._lost)
        return self.lifeline

    def _lost(self) -> None:
        self.losses += 1

    def announce(self, number: signal.Signals) -> None:
        os.write(self.writing, bytes([number]))

    def close(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.lifeline.close()
    made.close()


async def test_what_comes_one_way_only_is_no_echo(pipe: Pipe) -> None:
    lifeline = pipe.watch()
    assert [lifeline.is_echo(TERM), lifeline.is_echo(TERM)] == [False, False]
    pipe.announce(INT)
    assert not lifeline.is_echo(INT)
    pipe.announce(INT)
    assert not lifeline.is_echo(INT)
    lifeline.close()


async def test_what_comes_both_ways_counts_once(pipe: Pipe) -> None:
    lifeline = pipe.watch()
    assert not lifeline.is_echo(TERM)
    pipe.announce(TERM)
    assert lifeline.is_echo(TERM)
    pipe.announce(TERM)
    assert not lifeline.is_echo(TERM)
    assert not lifeline.is_echo(INT)
    assert lifeline.is_echo(TERM)
    lifeline.close()


async def test_a_late_twin_is_a_signal_of_its_own(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifeline = pipe.watch()
    monkeypatch.setattr(guardian, "_ECHO_S", 0.0)
    assert not lifeline.is_echo(TERM)
    pipe.announce(TERM)
    assert not lifeline.is_echo(TERM)
    lifeline.close()


async def test_the_guardians_end_is_heard_once(pipe: Pipe) -> None:
    lifeline = pipe.watch()
    pipe.announce(TERM)
    pipe.close()
    async with asyncio.timeout(5):
        while not pipe.losses:
            await asyncio.sleep(0)
    assert not lifeline.is_echo(TERM)  # it was announced, and is the only one
    lifeline.close()
    assert pipe.losses == 1


async def test_a_hangup_for_the_guardians_end_is_its_echo(pipe: Pipe) -> None:
    lifeline = pipe.watch()
    pipe.close()
    assert lifeline.is_echo(signal.SIGHUP)
    assert pipe.losses == 1
    assert not lifeline.is_echo(signal.SIGHUP)


@pytest.mark.parametrize(
    ("mode", "environ", "wanted"),
    [
        ("auto", {}, True),
        ("auto", {"INVOCATION_ID": "x"}, True),
        ("auto", {"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": "8"}, True),
        ("auto", {"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": "7"}, False),
        ("auto", {"SYSTEMD_EXEC_PID": "7"}, True),
        ("on", {"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": "7"}, True),
        ("off", {}, False),
    ],
)
def test_who_has_a_guardian(mode: guardian.Mode, environ: dict[str, str], wanted: bool) -> None:
    assert is_wanted(mode, environ, 7) is wanted
