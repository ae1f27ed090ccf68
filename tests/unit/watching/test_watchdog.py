"""Pings and what they mean, with every tick in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from tests.support.paper import LIMITS, opened, unopened, watch_keeper
from tests.support.wire_kit import Peer, until

from vconnect.errors import PluginError
from vconnect.watching.watchdog import Watchdog
from vconnect.wire.messages import EVENT_NAMES
from vconnect.wire.session import Session

FOREVER_S = 1000.0


class Watch:
    """A watchdog that ticks when it is told to.

    Attributes:
        signs: How many signs of life it saw.
        hangs: What it said of a plugin that hangs.
    """

    def __init__(self, session: Session, misses: int = 2) -> None:
        self.signs = 0
        self.hangs: list[str] = []
        self.dog = Watchdog(session, FOREVER_S, misses, self._saw, self.hangs.append)

    def tick(self, *, late_by: float = 0.0) -> None:
        self.dog._timer.cancel()
        self.dog._due = self.dog._loop.time() - late_by
        self.dog._tick()

    def _saw(self) -> None:
        self.signs += 1


@contextmanager
def watching(session: Session, misses: int = 2) -> Iterator[Watch]:
    made = Watch(session, misses)
    try:
        yield made
    finally:
        made.dog.stop()


async def answer(session: Session, peer: Peer, **said: object) -> None:
    """Answer the ping that came last, and wait until that is heard."""
    seen, message = session.answered, await peer.read()
    assert message["event"] == "vconnect.ping"
    await peer.answer({"id": message["id"], "status": "ok", **said})
    await until(lambda: session.answered > seen)
    await asyncio.sleep(0)


@pytest.fixture
async def native() -> AsyncIterator[tuple[Session, Peer]]:
    async with opened(native=True) as (session, peer, _):
        yield session, peer


async def test_a_reply_is_a_sign_of_life(native):
    session, peer = native
    with watching(session, misses=1) as watch:
        for seen in range(3):
            watch.tick()
            assert (watch.signs, watch.hangs) == (seen, [])
            await answer(session, peer)


async def test_silence_is_told_once_with_how_long_it_was(native):
    session, _ = native
    with watching(session, misses=3) as watch:
        for _ in range(3):
            watch.tick()
            assert not watch.hangs
        watch.tick()
    assert watch.hangs == ["no answer to 3 pings in a row, 1000 s apart"]


async def test_only_misses_in_a_row_count(native):
    session, peer = native
    with watching(session) as watch:
        watch.tick()
        watch.tick()
        await peer.read()  # it is late, and nobody waits for it any more
        assert watch.dog._missed == 1
        await answer_after_cancel(session, peer)
        watch.tick()
        assert (watch.dog._missed, watch.signs) == (0, 1)
        watch.tick()
        assert not watch.hangs


async def answer_after_cancel(session: Session, peer: Peer) -> None:
    message = await peer.read()
    while message["event"] == "vconnect.cancel":
        message = await peer.read()
    seen = session.answered
    await peer.answer({"id": message["id"], "status": "ok"})
    await until(lambda: session.answered > seen)
    await asyncio.sleep(0)


async def test_answers_to_events_forgive_a_missing_reply(native):
    session, peer = native
    with watching(session, misses=1) as watch:
        watch.tick()
        call = session.request(EVENT_NAMES["e"], 1, 60.0)
        messages = [await peer.read(), await peer.read()]
        (event,) = [message for message in messages if message["event"] == "e"]
        await peer.answer({"id": event["id"], "status": "ok"})
        await call
        watch.tick()
        assert (watch.hangs, watch.signs) == ([], 0)


@pytest.mark.parametrize(("late_by", "missed"), [(0.0, 1), (400.0, 1), (501.0, 0)])
async def test_a_host_that_was_held_up_forgives_what_it_could_not_hear(native, late_by, missed):
    session, _ = native
    with watching(session) as watch:
        watch.tick()
        watch.tick(late_by=late_by)
        assert watch.dog._missed == missed


async def test_a_reply_that_is_an_error_is_no_sign_of_life_but_an_answer(native):
    session, peer = native
    with watching(session, misses=1) as watch:
        watch.tick()
        message = await peer.read()
        await peer.answer({"id": message["id"], "status": "error", "message": "what?"})
        await until(lambda: session.answered)
        watch.tick()
        assert (watch.signs, watch.hangs) == (0, [])


async def test_a_queue_that_is_full_is_no_sign_of_life():
    async with opened(native=True) as (session, _, _):
        room = LIMITS.window + LIMITS.max_queued
        calls = [session.request(EVENT_NAMES["e"], 1, 60.0) for _ in range(room)]
        with watching(session, misses=1) as watch:
            watch.tick()
            watch.tick()
        assert watch.hangs
        session.abort()
        await asyncio.wait(calls)
        assert all(isinstance(call.exception(), PluginError) for call in calls)


async def test_the_clock_of_the_loop_makes_it_tick(native):
    session, peer = native
    signs: list[None] = []
    dog = Watchdog(session, 0.002, 1000, lambda: signs.append(None), lambda _: None)
    while not signs:
        message = await peer.read()
        if message["event"] == "vconnect.ping":
            await peer.answer({"id": message["id"], "status": "ok"})
    dog.stop()


# --- whose watch it is -----------------------------------------------------------------------


async def test_a_classic_session_is_not_pinged():
    keeper = watch_keeper(lambda _: None)
    keeper.watch(unopened())
    assert keeper._watchdog is None
    keeper.rest()


async def test_a_new_session_takes_over_the_watch():
    async with opened(native=True) as (old, _, _), opened(native=True) as (new, peer, _):
        hangs: list[str] = []
        keeper = watch_keeper(hangs.append, heartbeat=0.002, heartbeat_misses=2)
        keeper.watch(old)
        first = keeper._watchdog
        keeper.watch(new)
        assert first is not None
        assert first._timer.cancelled()
        assert (await peer.read())["event"] == "vconnect.ping"
        await until(lambda: hangs)
        keeper.rest()
        assert len(hangs) == 1


async def test_a_watch_that_has_ended_ticks_no_more():
    async with opened(native=True) as (session, _, _):
        keeper = watch_keeper(lambda _: None)
        keeper.watch(session)
        dog = keeper._watchdog
        for _ in range(2):
            keeper.rest()
        assert dog is not None
        assert dog._timer.cancelled()
