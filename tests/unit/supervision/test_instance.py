"""One generation from its first moment to its last, with a process on paper."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from tests.support.paper import PaperProcess, ended, guest, instance, opened, unopened
from tests.support.wire_kit import until

from vconnect.plugins.status import PluginStatus, Substate
from vconnect.supervision.instance import Instance
from vconnect.supervision.verdict import Verdict
from vconnect.wire.messages import EVENT_NAMES

QUICK = {"drain_timeout": 5.0, "interrupt_timeout": 0.001, "stop_timeout": 1.0}


async def test_one_of_ours_lives_as_long_as_its_leader():
    made = instance()
    assert made.is_alive
    made.process.die()
    made.session = unopened()
    assert not made.is_alive


def test_a_guest_lives_as_long_as_its_connection():
    assert guest(unopened()).is_alive
    assert not guest().is_alive


async def test_who_belongs_to_it():
    made = instance()
    made.process.relatives = {7}
    assert [made.owns(pid) for pid in (made.process.pid, 7, 8)] == [True, True, False]
    assert not guest(unopened(pid=7)).owns(7)


async def test_the_first_verdict_counts():
    made = instance()
    for word in ("first", "second"):
        made.condemn(Verdict(PluginStatus.ERROR, Substate.WATCHDOG, word))
    assert made.verdict.reason == "first"


async def test_it_runs_from_its_handshake_on():
    made = instance()
    assert made.ran_for == 0.0
    made.running_since = time.monotonic() - 5
    assert 5 <= made.ran_for < 60


@pytest.mark.parametrize(
    ("timeout", "session", "is_overdue"),
    [
        (60.0, None, False),
        (0.0, None, True),
        (0.0, {"is_ready": True}, False),
        (60.0, {"is_ready": False}, False),
        (0.0, {"is_ready": False}, True),
    ],
)
async def test_only_one_that_is_not_ready_is_overdue(timeout, session, is_overdue):
    made = instance(session=None if session is None else unopened(native=True, **session))
    made.expect(timeout)
    assert made.is_overdue() is is_overdue


@pytest.mark.parametrize(("held_up", "left"), [(0.9, None), (1.5, 1.5), (6.0, 4.0), (600.0, 4.0)])
async def test_the_time_that_the_host_stood_still_is_given_again(held_up, left):
    made = instance()
    made.expect(4.0)
    made.due_at = time.monotonic() - held_up
    assert made.is_overdue() is (left is None)
    assert made.due_at - time.monotonic() == pytest.approx(left or -held_up, abs=0.5)
    assert not (left and made.is_overdue())


# --- the way down ----------------------------------------------------------------------------


async def phases_of(made: Instance, **options) -> list[Substate]:
    phases: list[Substate] = []
    async with asyncio.timeout(10):
        await ended(made, phases.append, **(QUICK | options))
    return phases


async def test_one_that_is_dead_already_takes_no_step():
    made = instance()
    made.process.die()
    assert await phases_of(made) == []
    assert made.is_ending
    assert made.process.released.done()


async def test_one_with_nothing_in_flight_gets_the_signals_at_once():
    async with opened() as (session, peer, _):
        made = instance(session=session)
        assert await phases_of(made) == [Substate.TERMINATING]
        assert made.process.signals == [signal.SIGTERM]
        assert await peer.read() is None  # a classic plugin is told nothing


async def test_what_is_in_flight_is_answered_first():
    async with opened() as (session, peer, _):
        made = instance(session=session)
        call = session.request(EVENT_NAMES["e"], 1, 60.0)
        await peer.read()
        ending = asyncio.create_task(phases_of(made))
        await until(lambda: made.is_ending)
        await asyncio.sleep(0)
        assert not made.process.signals
        await peer.answer({"status": "ok", "data": 7})
        assert await ending == [Substate.DRAINING, Substate.TERMINATING]
        assert await call == 7


async def test_but_not_for_longer_than_the_grace_period():
    async with opened() as (session, peer, _):
        made = instance(session=session)
        call = session.request(EVENT_NAMES["e"], 1, 60.0)
        await peer.read()
        phases = await phases_of(made, drain_timeout=0.01)
        assert phases == [Substate.DRAINING, Substate.TERMINATING]
        await asyncio.wait([call])
        assert call.exception() is not None


async def test_nobody_waits_for_the_answers_of_the_dead():
    async with opened() as (session, peer, _):
        made = instance(session=session)
        call = session.request(EVENT_NAMES["e"], 1, 60.0)
        await peer.read()
        ending = asyncio.create_task(phases_of(made, drain_timeout=600.0))
        await until(lambda: made.is_ending)
        made.process.die(1)
        assert await ending == [Substate.DRAINING]
        await asyncio.wait([call])
        assert call.exception() is not None


async def test_a_native_plugin_is_told_why_and_how_long():
    async with opened(native=True) as (session, peer, _):
        made = instance(session=session)
        ending = asyncio.create_task(phases_of(made))
        asked = []
        for _ in range(2):
            asked.append(await peer.read())
            await peer.answer({"id": asked[-1]["id"], "status": "ok"})
        assert await ending == [Substate.DRAINING, Substate.TERMINATING]
        assert [message["event"] for message in asked] == ["vconnect.drain", "vconnect.stop"]
        assert {"grace_ms": 1000, "reason": "why"} == asked[0]["payload"] == asked[1]["payload"]


async def test_a_native_plugin_that_goes_by_itself_gets_no_signal():
    async with opened(native=True) as (session, peer, _):
        made = instance(session=session)
        ending = asyncio.create_task(phases_of(made, interrupt_timeout=60.0))
        for _ in range(2):
            message = await peer.read()
            await peer.answer({"id": message["id"], "status": "ok"})
        made.process.die()
        assert await ending == [Substate.DRAINING]
        assert made.process.signals == []


async def test_a_native_plugin_that_knows_none_of_it_is_ended_all_the_same():
    async with opened(native=True) as (session, peer, _):
        made = instance(session=session)
        ending = asyncio.create_task(phases_of(made))
        for _ in range(2):
            message = await peer.read()
            await peer.answer({"id": message["id"], "status": "error", "code": "unknown_event"})
        assert (await ending)[-1] is Substate.TERMINATING


async def test_a_native_plugin_that_says_nothing_has_no_more_than_the_grace_period():
    async with opened(native=True) as (session, _, _):
        made = instance(session=session)
        assert (await phases_of(made, drain_timeout=0.01))[-1] is Substate.TERMINATING


async def test_a_connection_that_outlives_its_process_is_cut():
    async with opened() as (session, peer, owner):
        made = instance(session=session)
        made.process.die()
        await phases_of(made)
        assert await peer.read() is None
        await owner.end()


async def test_what_was_made_for_the_start_is_removed_at_the_end():
    made, removed = instance(), []
    made.process.remove_leftovers = lambda: removed.append(made.process.released.done())
    await phases_of(made)
    assert removed == [True]


async def test_the_last_resort_is_shown_as_such():
    class Stubborn(PaperProcess):
        async def end(self, grace, on_phase, *, interrupt=0.0):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                on_phase(number)
            await super().end(grace, lambda _: None)

    made = Instance(1, Stubborn())
    assert await phases_of(made) == [
        Substate.TERMINATING,
        Substate.TERMINATING,
        Substate.KILLING,
    ]
