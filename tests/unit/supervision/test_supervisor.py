"""One plugin's life: orders, news and what the actor makes of them, with processes on paper."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from tests.support.paper import ME, opened, plugin, shaken, supervisor, unopened
from tests.support.stage import Stage
from tests.support.wire_kit import until

from vconnect.errors import (
    HandshakeError,
    PluginStartError,
    PluginStuckError,
    RemoteProtocolError,
)
from vconnect.plugins.restarts import Ended
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.settings.model import PluginOptions
from vconnect.supervision import supervisor as module
from vconnect.supervision.endings import failed_start
from vconnect.supervision.start_slots import StartSlots
from vconnect.supervision.supervisor import Supervisor
from vconnect.wire.messages import encode_event

AT_ONCE = {"restart_delay": 0.001, "restart_max_delay": 0.002, "crash_limit": 100}
NO_PROGRAM = failed_start(Substate.SPAWN_FAILED, "no program", Ended.PERMANENT)


async def failure(waiting: Awaitable[None]) -> str:
    with pytest.raises(PluginStartError) as caught:
        async with asyncio.timeout(10):
            await waiting
    return str(caught.value)


def state(stage: Stage) -> tuple[PluginStatus, Substate]:
    return stage.plugin.status, stage.plugin.substate


# --- start and stop --------------------------------------------------------------------------


async def test_a_start_ends_with_the_handshake(stage):
    starting = asyncio.create_task(stage.one.start())
    await stage.starts(1)
    assert state(stage) == (PluginStatus.STARTING, Substate.SPAWNED)
    assert not starting.done()
    session = stage.shake()
    await starting
    assert state(stage) == (PluginStatus.RUNNING, Substate.CONNECTED)
    assert (stage.plugin.session, stage.plugin.generation) == (session, 1)


async def test_starting_what_runs_changes_nothing(stage):
    await stage.up()
    await asyncio.gather(stage.one.start(), stage.one.start())
    assert len(stage.launcher.started) == 1


async def test_many_starts_are_one(stage):
    starts = [asyncio.create_task(stage.one.start()) for _ in range(5)]
    await stage.starts(1)
    stage.shake()
    await asyncio.gather(*starts)
    assert len(stage.launcher.started) == 1


async def test_a_stop_leaves_nothing(stage):
    await stage.up()
    await stage.one.stop()
    assert state(stage) == (PluginStatus.STOPPED, Substate.EXITED)
    assert stage.launcher.last.released.done()
    assert (stage.plugin.session, stage.plugin.process) == (None, None)
    assert stage.plugin.desired == "stopped"
    assert not stage.plugin.crashes.reports


async def test_stopping_what_never_ran_is_done_at_once(stage):
    await stage.one.stop()
    assert stage.plugin.status is PluginStatus.INSTALLED


async def test_a_stop_overtakes_a_start(stage):
    starting = asyncio.create_task(stage.one.start())
    await stage.starts(1)
    await stage.one.stop()
    assert "stopped" in await failure(starting)
    assert stage.plugin.status is PluginStatus.STOPPED


async def test_the_last_order_wins(stage):
    await stage.up()
    stopping = asyncio.create_task(stage.one.stop())
    await asyncio.sleep(0)
    starting = asyncio.create_task(stage.one.start())
    await until(lambda: stage.launcher.started[-1].session is None or starting.done())
    if not starting.done():
        await stage.starts(2)
        stage.shake()
    await asyncio.gather(stopping, starting)
    assert stage.plugin.status is PluginStatus.RUNNING


async def test_who_goes_away_takes_the_order_along_with_nobody(stage):
    starting = asyncio.create_task(stage.one.start())
    await stage.starts(1)
    starting.cancel()
    stage.shake()
    await stage.rests(PluginStatus.RUNNING, Substate.CONNECTED)


async def test_a_start_that_cannot_be_says_why(stage, caplog):
    stage.launcher.troubles = [NO_PROGRAM]
    assert await failure(stage.one.start()) == "x: no program"
    assert state(stage) == (PluginStatus.ERROR, Substate.SPAWN_FAILED)
    assert "cannot be started: no program" in caplog.text
    await stage.one.stop()
    assert state(stage) == (PluginStatus.STOPPED, Substate.NONE)


async def test_a_handshake_that_does_not_come(stage):
    stage.launcher._handshake_timeout = 0.01
    assert "no handshake within 0.01 s" in await failure(stage.one.start())
    assert state(stage) == (PluginStatus.ERROR, Substate.HANDSHAKE_TIMEOUT)


@pytest.mark.parametrize(
    ("code", "status", "substate"),
    [
        ("disabled", PluginStatus.STOPPED, Substate.DISABLED),
        ("stranger", PluginStatus.ERROR, Substate.HANDSHAKE_REFUSED),
    ],
)
async def test_a_handshake_that_is_refused(stage, code, status, substate):
    starting = asyncio.create_task(stage.one.start())
    await stage.starts(1)
    stage.one.refused(stage.launcher.started[0], HandshakeError(code, "the words"))
    assert await failure(starting) == "x: the words"
    assert state(stage) == (status, substate)


async def test_a_second_connection_that_is_refused_harms_nobody(stage):
    await stage.up()
    stage.one.refused(stage.launcher.started[0], HandshakeError("name_taken", "no"))
    await stage.one.start()
    assert stage.plugin.status is PluginStatus.RUNNING
    assert stage.launcher.started[0].verdict is None


# --- crashes ---------------------------------------------------------------------------------


async def test_a_crash_is_reported(stage):
    await stage.up()
    stage.launcher.last.says("out of luck")
    stage.launcher.last.die(3)
    await stage.rests(PluginStatus.ERROR, Substate.EXITED)
    (report,) = stage.plugin.crashes.reports
    assert report.reason == "exited: code 3; last stderr: out of luck"
    assert stage.plugin.last_stderr == ("out of luck",)


async def test_what_was_in_flight_goes_into_the_report_and_no_further(stages):
    stage = stages()
    async with opened() as (session, peer, owner):
        owner.on_end = stage.one.detached
        await stage.up(session)
        session.tell(encode_event("e", 1, 1 << 20), "drop_oldest")
        await peer.read()
        stage.launcher.last.die(None, "SIGSEGV")
        peer.close()
        await stage.rests(PluginStatus.ERROR, Substate.KILLED)
    assert stage.plugin.crashes.reports[-1].in_flight == ("e",)


@pytest.mark.parametrize(("mode", "code", "starts"), [("on-failure", 0, 1), ("always", 0, 2)])
async def test_a_clean_exit_is_no_crash_and_followed_as_the_mode_says(stages, mode, code, starts):
    stage = stages(**(AT_ONCE | {"restart": mode}))
    await stage.up()
    stage.launcher.last.die(code)
    if starts == 2:
        await stage.starts(2)
        stage.shake()
        await stage.rests(PluginStatus.RUNNING, Substate.CONNECTED)
    else:
        await stage.rests(PluginStatus.STOPPED, Substate.EXITED)
    assert len(stage.launcher.started) == starts


async def test_a_crash_is_followed_by_another_try(stages):
    stage = stages(**(AT_ONCE | {"restart": "always"}))
    await stage.up()
    for count in range(2, 5):
        stage.launcher.last.die(1)
        await stage.starts(count)
        stage.shake()
    assert stage.plugin.generation == 4


async def test_a_crash_loop_is_told_and_waits(stages):
    stage = stages(restart="always", crash_limit=1, crash_hold=600.0)
    await stage.up()
    stage.launcher.last.die(1)
    await stage.rests(PluginStatus.ERROR, Substate.CRASH_LOOP)
    assert stage.given_up == [stage.plugin]
    assert stage.plugin.restarts.due_at is not None
    await stage.one.stop()
    assert stage.plugin.restarts.due_at is None
    assert state(stage) == (PluginStatus.STOPPED, Substate.NONE)


async def test_an_operators_start_does_not_wait_for_the_next_try(stages):
    stage = stages(restart="always", crash_limit=1, crash_hold=600.0)
    await stage.up()
    stage.launcher.last.die(1)
    await stage.rests(PluginStatus.ERROR, Substate.CRASH_LOOP)
    await stage.up()
    assert stage.plugin.restarts.due_at is None


async def test_a_watcher_has_it_replaced(stages):
    stage = stages(**(AT_ONCE | {"restart": "always"}))
    await stage.up()
    stage.one.condemn(Substate.WATCHDOG, "it hangs")
    stage.one.condemn(Substate.MEMORY_LIMIT, "it is large")
    await stage.starts(2)
    assert [report.reason for report in stage.plugin.crashes.reports] == ["it hangs"]
    stage.shake()


async def test_there_is_nobody_to_condemn(stage):
    stage.one.condemn(Substate.WATCHDOG, "why")
    assert stage.one.instances() == []


# --- connections that end --------------------------------------------------------------------


async def test_one_that_loses_its_connection_may_come_back(stage):
    session = await stage.up()
    stage.one.detached(session, None)
    assert state(stage) == (PluginStatus.STARTING, Substate.DISCONNECTED)
    assert (stage.plugin.session, stage.plugin.reason) == (None, "it closed its connection")
    again = stage.shake()
    assert state(stage) == (PluginStatus.RUNNING, Substate.CONNECTED)
    assert (stage.plugin.session, stage.plugin.reason) == (again, "")
    assert len(stage.launcher.started) == 1


async def test_but_not_after_its_time_for_a_handshake(stages):
    stage = stages(handshake_timeout=0.01)
    stage.one.detached(await stage.up(), RemoteProtocolError("bad_json", "no JSON"))
    await stage.rests(PluginStatus.ERROR, Substate.HANDSHAKE_TIMEOUT)


async def test_one_that_was_stuck_is_replaced(stage):
    stage.one.detached(await stage.up(), PluginStuckError("x", "no answer for 30 s"))
    await stage.rests(PluginStatus.ERROR, Substate.WATCHDOG)
    assert "no answer for 30 s" in stage.plugin.reason


async def test_the_end_of_a_session_that_nobody_knows_is_no_news(stage):
    session = await stage.up()
    stage.one.detached(unopened(), None)
    assert (state(stage)[0], stage.plugin.session) == (PluginStatus.RUNNING, session)


# --- restarts --------------------------------------------------------------------------------


async def test_the_old_one_serves_until_the_new_one_has_shaken_hands(stage):
    session = await stage.up()
    restarting = asyncio.create_task(stage.one.restart())
    await stage.starts(2)
    old, new = stage.launcher.started
    assert state(stage) == (PluginStatus.RUNNING, Substate.REPLACING)
    assert (stage.plugin.session, old.is_ending) == (session, False)
    fresh = stage.shake(new)
    assert stage.plugin.session is fresh
    await restarting
    assert old.process.released.done()
    assert stage.one.instances() == [new]
    assert not stage.plugin.crashes.reports


@pytest.mark.parametrize("how", ["trouble", "exit", "refusal", "overdue"])
async def test_the_old_one_serves_on_if_the_new_one_fails(stage, how):
    session = await stage.up()
    if how == "trouble":
        stage.launcher.troubles = [NO_PROGRAM]
    stage.launcher._handshake_timeout = 0.01 if how == "overdue" else 60.0
    restarting = asyncio.create_task(stage.one.restart())
    if how in ("exit", "refusal"):
        await stage.starts(2)
    if how == "exit":
        stage.launcher.last.die(2)
    if how == "refusal":
        stage.one.refused(stage.launcher.started[1], HandshakeError("bad_config", "bad"))
    assert "a new process failed" in await failure(restarting)
    assert (state(stage)[0], stage.plugin.session) == (PluginStatus.RUNNING, session)
    assert stage.launcher.started[0].process.is_alive
    assert len(stage.one.instances()) == 1


@pytest.mark.parametrize("where", ["manifest", "settings"])
async def test_one_that_may_not_run_twice_is_stopped_first(stages, where):
    stage = stages(plugin(exclusive=True) if where == "manifest" else None)
    if where == "settings":
        stage = stages(options={"x": PluginOptions(exclusive=True)})
    await stage.up()
    restarting = asyncio.create_task(stage.one.restart())
    await stage.starts(2)
    assert not stage.launcher.started[0].process.is_alive
    assert len(stage.one.instances()) == 1
    stage.shake()
    await restarting


async def test_a_restart_during_a_replacement_drops_the_successor_and_not_the_one_that_serves(
    stage,
):
    await stage.up()
    session = stage.plugin.session
    restarts = [asyncio.create_task(stage.one.restart())]
    for count in (2, 3, 4):
        await stage.starts(count)
        assert stage.plugin.session is session
        assert stage.plugin.status is PluginStatus.RUNNING
        if count < 4:
            restarts.append(asyncio.create_task(stage.one.restart()))
    first, second, third, last = stage.launcher.started
    assert not second.process.is_alive
    assert not third.process.is_alive
    assert first.process.is_alive
    stage.shake(last)
    await asyncio.gather(*restarts)
    assert stage.one.instances() == [last]
    assert not stage.plugin.crashes.reports


async def test_a_stop_that_comes_while_a_successor_is_overtaken_counts(stage):
    await stage.up()
    restarts = [asyncio.create_task(stage.one.restart())]
    await stage.starts(2)
    clearing, cleared = threading.Event(), threading.Event()
    stage.launcher.last.remove_leftovers = lambda: clearing.set() or cleared.wait(10)
    restarts.append(asyncio.create_task(stage.one.restart()))
    await until(clearing.is_set)
    stopping = asyncio.create_task(stage.one.stop())
    await asyncio.sleep(0)
    cleared.set()
    await stopping
    assert stage.plugin.status is PluginStatus.STOPPED
    assert stage.one.instances() == []
    for restart in restarts:
        await failure(restart)


async def test_restarting_what_does_not_run_starts_it(stage):
    restarting = asyncio.create_task(stage.one.restart())
    await stage.starts(1)
    stage.shake()
    await restarting
    assert stage.plugin.generation == 1


async def test_a_successor_takes_the_place_of_one_that_crashes_meanwhile(stage):
    await stage.up()
    restarting = asyncio.create_task(stage.one.restart())
    await stage.starts(2)
    old, new = stage.launcher.started
    old.process.die(1)
    await until(lambda: stage.one.instances() == [new])
    assert stage.plugin.process is new.process
    stage.shake(new)
    await restarting
    assert stage.plugin.status is PluginStatus.RUNNING


async def test_a_stop_ends_both(stage):
    await stage.up()
    restarting = asyncio.create_task(stage.one.restart())
    await stage.starts(2)
    await stage.one.stop()
    assert stage.one.instances() == []
    assert not any(one.process.is_alive for one in stage.launcher.started)
    assert await failure(restarting)


# --- who may connect -------------------------------------------------------------------------


async def test_one_that_was_replaced_may_not_come_back(stage):
    await stage.up()
    restarting = asyncio.create_task(stage.one.restart())
    await stage.starts(2)
    old, new = stage.launcher.started
    stage.shake(new)
    with pytest.raises(HandshakeError, match="has been replaced") as caught:
        stage.one.admit(shaken(), ME, old)
    assert caught.value.code == "stopping"
    await restarting


async def test_nobody_may_once_the_host_ends(stage):
    await stage.up()
    closing = asyncio.create_task(stage.one.close())
    await asyncio.sleep(0)
    with pytest.raises(HandshakeError, match="is being stopped"):
        stage.one.admit(shaken(), ME, None)
    await closing
    assert "the host is stopping" in await failure(stage.one.start())


async def test_a_guest_comes_and_goes(stages):
    stage = stages(plugin(path=None))
    session = unopened()
    stage.one.attached(session, None)
    assert state(stage) == (PluginStatus.RUNNING, Substate.EXTERNAL)
    stage.one.detached(session, None)
    await stage.rests(PluginStatus.STOPPED, Substate.DISCONNECTED)
    assert stage.plugin.reason == "it closed its connection"
    assert stage.launcher.started == []


async def test_a_guest_is_started_and_restarted_where_it_comes_from(stages):
    stage = stages(plugin(path=None))
    assert "another program" in await failure(stage.one.start())
    assert "another program" in await failure(stage.one.restart())


async def test_a_guest_that_is_stopped_loses_its_connection(stages):
    stage = stages(plugin(path=None))
    async with opened() as (session, peer, owner):
        owner.on_end = stage.one.detached
        stage.one.attached(session, None)
        async with asyncio.timeout(10):
            await stage.one.stop()
        assert await peer.read() is None
    assert (stage.plugin.status, stage.plugin.session) == (PluginStatus.STOPPED, None)
    assert stage.one.instances() == []


# --- slots -----------------------------------------------------------------------------------


async def test_a_plugin_waits_for_a_slot_and_gives_it_back_at_its_handshake(stages):
    slots = StartSlots(1)
    first, second = stages(slots=slots), stages(slots=slots)
    starts = [asyncio.create_task(one.one.start()) for one in (first, second)]
    await first.starts(1)
    await second.rests(PluginStatus.INSTALLED, Substate.WAITING)
    first.shake()
    await second.starts(1)
    second.shake()
    await asyncio.gather(*starts)


@pytest.mark.parametrize("how", ["trouble", "exit", "stop"])
async def test_a_slot_comes_back_from_whoever_will_never_shake_hands(stages, how):
    slots = StartSlots(1)
    first, second = stages(slots=slots), stages(slots=slots)
    if how == "trouble":
        first.launcher.troubles = [NO_PROGRAM]
    failing = asyncio.create_task(first.one.start())
    if how != "trouble":
        await first.starts(1)
        first.launcher.last.die(1) if how == "exit" else await first.one.stop()
    await failure(failing)
    await second.up()


async def test_a_stop_ends_the_waiting(stages):
    slots = StartSlots(1)
    first, second = stages(slots=slots), stages(slots=slots)
    holding = asyncio.create_task(first.one.start())
    await first.starts(1)
    waiting = asyncio.create_task(second.one.start())
    await second.rests(PluginStatus.INSTALLED, Substate.WAITING)
    await second.one.stop()
    assert await failure(waiting)
    assert second.plugin.substate is Substate.NONE
    first.shake()
    await holding
    assert second.launcher.started == []


async def test_a_start_that_must_be_prepared_begins_afterwards(stage):
    stage.launcher.preparation = asyncio.Event()
    starting = asyncio.create_task(stage.one.start())
    for _ in range(5):
        await asyncio.sleep(0)
    assert stage.launcher.started == []
    stage.launcher.preparation.set()
    await stage.starts(1)
    stage.shake()
    await starting


async def test_a_stop_that_comes_while_a_start_is_prepared_counts(stage):
    stage.launcher.preparation = asyncio.Event()
    starting = asyncio.create_task(stage.one.start())
    for _ in range(5):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(stage.one.stop())
    await asyncio.sleep(0)
    stage.launcher.preparation.set()
    await stopping
    assert await failure(starting)
    assert stage.launcher.started == []


# --- faults ----------------------------------------------------------------------------------


async def test_a_fault_of_the_host_ends_one_plugin_and_not_its_supervisor(stage, monkeypatch):
    monkeypatch.setattr(module, "_FAULT_PAUSE", 0.001)
    begin = stage.launcher.begin
    stage.launcher.begin = lambda *_: 1 / 0
    assert "ZeroDivisionError" in await failure(stage.one.start())
    assert stage.plugin.status is PluginStatus.ERROR
    stage.launcher.begin = begin
    await stage.up()


async def test_killing_spares_nobody_of_it(stage):
    await stage.up()
    restarting = asyncio.create_task(stage.one.restart())
    await stage.starts(2)
    stage.one.kill_now()
    assert not any(one.process.is_alive for one in stage.launcher.started)
    await failure(restarting)


@pytest.mark.parametrize("order", ["start", "restart"])
async def test_nothing_is_started_once_the_host_ends(stage, order):
    await stage.one.close()
    async with asyncio.timeout(10):
        assert "the host is stopping" in await failure(getattr(stage.one, order)())
    assert stage.launcher.started == []


async def test_a_stop_that_comes_while_a_crash_is_cleared_away_counts(stage):
    await stage.up()
    clearing, cleared = threading.Event(), threading.Event()
    stage.launcher.last.remove_leftovers = lambda: clearing.set() or cleared.wait(10)
    stage.launcher.last.die(1)
    await until(clearing.is_set)
    stopping = asyncio.create_task(stage.one.stop())
    await asyncio.sleep(0)
    cleared.set()
    await stopping
    assert stage.plugin.status is PluginStatus.STOPPED
    assert [report.exit_code for report in stage.plugin.crashes.reports] == [1]


async def test_a_successor_that_takes_over_while_a_crash_is_cleared_away_serves(stage):
    await stage.up()
    restarting = asyncio.create_task(stage.one.restart())
    await stage.starts(2)
    old, new = stage.launcher.started
    clearing, cleared = threading.Event(), threading.Event()
    old.process.remove_leftovers = lambda: clearing.set() or cleared.wait(10)
    old.process.die(1)
    await until(clearing.is_set)
    session = stage.shake(new)
    cleared.set()
    await restarting
    await until(lambda: len(stage.plugin.crashes.reports) == 1)
    assert stage.one.instances() == [new]
    assert (stage.plugin.session, stage.plugin.process) == (session, new.process)
    assert stage.plugin.status is PluginStatus.RUNNING
    await stage.one.stop()
    assert not new.process.is_alive


async def test_only_what_the_crashed_process_had_in_flight_is_suspect(stage):
    async with opened() as (old_session, old_peer, owner):
        owner.on_end = stage.one.detached
        await stage.up(old_session)
        old = stage.launcher.started[0]
        held = threading.Event()
        old.process.remove_leftovers = lambda: held.wait(10)
        old_session.tell(encode_event("slow", 1, 1 << 20), "drop_oldest")
        await old_peer.read()
        async with opened() as (session, peer, new_owner):
            new_owner.on_end = stage.one.detached
            restarting = asyncio.create_task(stage.one.restart())
            await stage.starts(2)
            stage.shake(session=session)
            await restarting
            session.tell(encode_event("poison", 1, 1 << 20), "drop_oldest")
            await peer.read()
            peer.close()
            await until(lambda: stage.plugin.session is None)
            old_peer.close()
            await until(lambda: old.session is None)
            stage.launcher.last.die(None, "SIGSEGV")
            await until(lambda: stage.plugin.crashes.reports)
            held.set()
    assert stage.plugin.crashes.reports[-1].in_flight == ("poison",)


async def test_closing_keeps_what_the_operator_wants(stage):
    await stage.up()
    await stage.one.close()
    assert stage.plugin.desired == "running"
    assert stage.plugin.status is PluginStatus.STOPPED


def test_it_needs_a_loop():
    with pytest.raises(RuntimeError):
        supervisor(plugin())


async def test_its_task_is_called_by_its_plugins_name(stage):
    assert isinstance(stage.one, Supervisor)
    assert stage.one._task.get_name() == "supervisor of x"


# --- in any order ----------------------------------------------------------------------------


class Chance:
    """Orders and news at random, for several plugins that share a slot."""

    def __init__(self, seed: int, stages: list[Stage]) -> None:
        self._random = random.Random(seed)
        self._stages = stages
        self.orders: list[asyncio.Task[object]] = []

    async def step(self) -> None:
        stage = self._random.choice(self._stages)
        acts = (self._shake, self._die, self._lose, self._refuse, self._condemn, self._trouble)
        self._random.choice((self._order, self._order, self._shake, *acts))(stage)
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)

    def _order(self, stage: Stage) -> None:
        orders: tuple[Callable[[], Coroutine[Any, Any, object]], ...]
        orders = (stage.one.start, stage.one.stop, stage.one.restart)
        self.orders.append(asyncio.create_task(self._random.choice(orders)()))

    def _shake(self, stage: Stage) -> None:
        for instance in stage.one.instances():
            try:
                stage.one.admit(shaken(), ME, instance)
            except HandshakeError:
                continue
            stage.shake(instance)
            return

    def _die(self, stage: Stage) -> None:
        living: list[Any] = [one for one in stage.one.instances() if one.process.is_alive]
        if living:
            self._random.choice(living).process.die(self._random.choice((0, 1)))

    def _lose(self, stage: Stage) -> None:
        sessions = [one.session for one in stage.one.instances() if one.session is not None]
        if sessions:
            stage.one.detached(self._random.choice(sessions), None)

    def _refuse(self, stage: Stage) -> None:
        for instance in stage.one.instances():
            stage.one.refused(instance, HandshakeError("bad_config", "bad"))

    def _condemn(self, stage: Stage) -> None:
        stage.one.condemn(Substate.WATCHDOG, "it hangs")

    def _trouble(self, stage: Stage) -> None:
        stage.launcher.troubles = [NO_PROGRAM]


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_a_stop_leaves_nothing_and_the_slot_is_free(stages, seed, caplog):
    slots = StartSlots(1)
    made = [stages(slots=slots, **(AT_ONCE | {"restart": "always"})) for _ in range(3)]
    chance = Chance(seed, made)
    for _ in range(200):
        await chance.step()
    async with asyncio.timeout(10):
        await asyncio.gather(*(one.one.stop() for one in made))
        await asyncio.gather(*chance.orders, return_exceptions=True)
    for stage in made:
        assert stage.one.instances() == []
        assert not any(one.process.is_alive for one in stage.launcher.started)
        assert stage.plugin.restarts.due_at is None
    for stage in made:
        stage.launcher.troubles = []
        await stage.up()
    assert "Traceback" not in caplog.text
