"""What the first, the second and the third request to end do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from tests.support.wire_kit import until

from vconnect import PluginRuntimeManager
from vconnect.host import signals
from vconnect.host.guardian import Lifeline
from vconnect.host.hang_up import EarlyHangUp
from vconnect.host.signals import Interrupts

pytestmark = pytest.mark.both_loops


class Manager(PluginRuntimeManager):
    """One that was never opened; it counts how often it was told to kill."""

    kills = 0

    def kill_all(self) -> None:
        self.kills += 1


class Host:
    """Work that goes on until it is cancelled, and who is asked to end it."""

    def __init__(self, lifeline: Lifeline | None = None) -> None:
        self.work = asyncio.create_task(asyncio.Event().wait())
        self.manager = Manager()
        self.interrupts = Interrupts(self.work, self.manager.kill_all, lifeline)

    @property
    def state(self) -> tuple[int, int, int]:
        return self.interrupts.count, self.manager.kills, self.interrupts.exit_code

    async def heard(self, number: signal.Signals) -> None:
        """Send a signal, later than one that is the same wish, and wait until it has counted."""
        before = self.interrupts.count
        self.interrupts._counted.clear()
        os.kill(os.getpid(), number)
        await until(lambda: self.interrupts.count > before, number.name)


async def test_a_hangup_of_the_start_is_heard() -> None:
    early = EarlyHangUp()
    early.is_heard = True
    wishes: list[None] = []
    work = asyncio.create_task(asyncio.Event().wait())
    interrupts = Interrupts(work, lambda: None, None, lambda: wishes.append(None), early)
    with interrupts.handled():
        await until(lambda: wishes == [None])
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    made = Host()
    yield made
    made.work.cancel()
    with suppress(asyncio.CancelledError):
        await made.work


ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@pytest.mark.parametrize("number", ENDING)
async def test_the_first_one_stops_and_the_second_one_kills(host, number):
    with host.interrupts.handled() as interrupts:
        assert interrupts is host.interrupts
        await host.heard(number)
        assert host.state == (1, 0, 0)
        with pytest.raises(asyncio.CancelledError):
            await host.work
        await host.heard(number)
        assert host.state == (2, 1, 130)


@pytest.mark.parametrize("number", ENDING)
async def test_two_of_one_kind_at_once_are_one_wish(host, number, monkeypatch):
    """As from GNU timeout, which signals its child and then the child's group."""
    times = iter([100.0, 100.1, 100.4, 100.6])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    for state in [(1, 0, 0), (1, 0, 0), (1, 0, 0), (2, 1, 130)]:
        host.interrupts._interrupt(number)
        assert host.state == state
    monkeypatch.undo()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
async def test_what_means_nothing_is_logged_and_ends_nothing(host, number, caplog):
    caplog.set_level("INFO", logger="vconnect")
    with host.interrupts.handled():
        os.kill(os.getpid(), number)
        await until(lambda: f"received {number.name}, which this host ignores" in caplog.text)
    assert host.state == (0, 0, 0)


async def test_different_signals_count_together(host):
    with host.interrupts.handled():
        await host.heard(signal.SIGINT)
        await host.heard(signal.SIGTERM)
    assert host.state == (2, 1, 130)


async def test_the_third_one_ends_the_process_on_the_spot(host, monkeypatch):
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with host.interrupts.handled():
        for _ in range(3):
            await host.heard(signal.SIGTERM)
    assert (codes, host.manager.kills) == ([130], 1)


async def test_a_hangup_that_was_ignored_stays_ignored(host):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with host.interrupts.handled():
            os.kill(os.getpid(), signal.SIGHUP)
            await host.heard(signal.SIGTERM)
        assert host.interrupts.count == 1
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_afterwards_signals_are_nobodys_business(host):
    loop = asyncio.get_running_loop()
    with host.interrupts.handled():
        pass
    taken = [
        number
        for number in (*ENDING, signal.SIGUSR1, signal.SIGUSR2)
        if loop.remove_signal_handler(number)
    ]
    assert taken == []


# --- with a guardian -------------------------------------------------------------------------


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[Host, int]]:
    """A host with a guardian, and the guardian's end of the pipe."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    made = Host(Lifeline(reading, 7))
    yield made, writing
    with suppress(OSError):
        os.close(writing)
    made.work.cancel()
    with suppress(asyncio.CancelledError):
        await made.work


async def test_a_signal_that_comes_twice_on_two_ways_counts_once(guarded):
    host, guardian = guarded
    with host.interrupts.handled():
        await host.heard(signal.SIGTERM)
        os.write(guardian, bytes([signal.SIGTERM]))
        os.kill(os.getpid(), signal.SIGTERM)
        await host.heard(signal.SIGINT)
    assert host.state == (2, 1, 130)


async def test_the_guardians_death_ends_the_host_in_order(guarded):
    host, guardian = guarded
    with host.interrupts.handled():
        os.close(guardian)
        await until(lambda: host.interrupts.count)
        assert host.state == (1, 0, 1)
        with pytest.raises(asyncio.CancelledError):
            await host.work
        await host.heard(signal.SIGTERM)
        assert host.state == (2, 1, 130)


async def test_a_guardian_that_dies_while_the_host_ends_changes_only_the_code(guarded):
    host, guardian = guarded
    with host.interrupts.handled():
        await host.heard(signal.SIGTERM)
        os.close(guardian)
        await until(lambda: host.interrupts.exit_code)
    assert host.state == (1, 0, 1)


async def test_a_second_signal_outweighs_the_guardians_death(guarded):
    host, guardian = guarded
    with host.interrupts.handled():
        for _ in range(2):
            await host.heard(signal.SIGTERM)
        os.close(guardian)
        await until(lambda: host.interrupts._lifeline._loop is None)
    assert host.state == (2, 1, 130)


async def test_a_hangup_reloads_until_the_host_is_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    wishes: list[str] = []
    work = asyncio.create_task(asyncio.Event().wait())
    interrupts = Interrupts(work, lambda: None, None, lambda: wishes.append("reload"))
    with interrupts.handled():
        for count in (1, 2):  # also at once: each may be about another change of the file
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda count=count: len(wishes) == count, "a reload")
        assert interrupts.count == 0
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: interrupts.count == 1, "SIGTERM")
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        assert (len(wishes), interrupts.count) == (2, 1)
    with suppress(asyncio.CancelledError):
        await work


async def test_a_hangup_ends_the_host_if_its_terminal_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_there = [True]
    monkeypatch.setattr(signals, "has_terminal", lambda: is_there[0])
    wishes: list[str] = []
    work = asyncio.create_task(asyncio.Event().wait())
    interrupts = Interrupts(work, lambda: None, None, lambda: wishes.append("reload"))
    with interrupts.handled():
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: bool(wishes), "a reload")
        is_there[0] = False
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: interrupts.count == 1, "the end")
    with suppress(asyncio.CancelledError):
        await work
