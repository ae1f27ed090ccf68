"""A session over a real socket: what its owner hears, and what it tells of its lane."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from tests.support.wire_end import NotGreeted
from tests.support.wire_kit import Peer as OtherEnd
from tests.support.wire_kit import failure, frame, soon, until

from vconnect.errors import (
    PayloadError,
    PluginOverloadedError,
    PluginReplyError,
    PluginUnavailableError,
    RemoteProtocolError,
)
from vconnect.sockets.credentials import Peer, peer_of
from vconnect.wire._lane import Lane
from vconnect.wire._stream import ReadBuffer
from vconnect.wire.messages import EVENT_NAMES, Dialect, Handshake, encode_event, ok_reply
from vconnect.wire.session import LaneLimits, LostEvent, Session

pytestmark = pytest.mark.both_loops

NAME = EVENT_NAMES["message.incoming"]
LIMITS = LaneLimits(
    window=2,
    max_queued=4,
    max_notified=2,
    max_abandoned=2,
    stuck_after=30.0,
    max_frame_bytes=4096,
    max_answer_bytes=1024,
)
CLASSIC = Handshake(plugin="example", capabilities=("*",))
NATIVE = msgspec.structs.replace(CLASSIC, dialect=Dialect.NATIVE, protocol_version=1)


class Owner:
    """Writes down what a session says."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.ends: list[Exception | None] = []
        self.ready: list[Session] = []

    def detached(self, session: Session, error: Exception | None) -> None:
        self.ends.append(error)

    def called(self, session: Session, payload: bytes) -> bool:
        message = session.read_call(payload)
        assert message is not None
        self.calls.append(message)
        return True

    def held_loop(self, session: Session, seconds: float) -> None:
        raise AssertionError("nothing takes long here")

    def charged(self, session: Session, seconds: float) -> None:
        """On a busy machine anything may take long."""

    def became_ready(self, session: Session) -> None:
        self.ready.append(session)


@asynccontextmanager
async def session_of(
    handshake: Handshake, limits: LaneLimits = LIMITS
) -> AsyncIterator[tuple[Session, OtherEnd, Owner]]:
    """An open session, whose acknowledgment has been read."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    peer, owner = OtherEnd(theirs), Owner()
    lane = Lane(NotGreeted(), ReadBuffer(), limits.max_frame_bytes)
    await asyncio.get_running_loop().create_unix_connection(lambda: lane, sock=ours)
    session = Session(handshake, Peer(1, 2), lane, limits, owner)
    session.open(frame({"status": "ok"}))
    try:
        assert await peer.read() == {"status": "ok"}
        yield session, peer, owner
    finally:
        session.abort()
        await until(lambda: owner.ends)
        peer.close()
        assert len(owner.ends) == 1


def event(payload: Any = None) -> Any:
    return encode_event("message.incoming", payload, 1024)


async def test_a_classic_answer_is_the_events() -> None:
    async with session_of(CLASSIC) as (session, peer, _):
        assert not session.is_native
        call = session.request(NAME, {"n": 1}, 10.0)
        sent = await peer.read()
        assert (sent["event"], sent["payload"]) == ("message.incoming", {"n": 1})
        assert "id" not in sent
        await peer.answer({"status": "ok", "data": {"n": 2}})
        assert await call == {"n": 2}
        assert (session.answered, session.in_flight) == (1, 0)


async def test_an_answer_that_is_an_error_names_the_plugin() -> None:
    async with session_of(CLASSIC) as (session, peer, owner):
        call = session.request(NAME, None, 10.0)
        await peer.read()
        await peer.answer({"status": "error", "code": "teapot", "message": "short and stout"})
        error = await failure(call)
        assert isinstance(error, PluginReplyError)
        assert (error.plugin, error.code) == ("example", "teapot")
        assert owner.ends == []


async def test_a_native_plugin_answers_by_number_and_calls() -> None:
    async with session_of(NATIVE) as (session, peer, owner):
        assert session.is_native
        first, second = (session.request(NAME, n, 10.0) for n in range(2))
        numbers = [(await peer.read())["id"] for _ in range(2)]
        await peer.answer({"id": 7, "call": "message.send", "params": {}})
        for number in reversed(numbers):
            await peer.answer(ok_reply(number, {"to": number}))
        assert [await second, await first] == [{"to": number} for number in reversed(numbers)]
        assert [call["call"] for call in owner.calls] == ["message.send"]


async def test_a_reply_to_a_call_goes_out() -> None:
    async with session_of(NATIVE) as (session, peer, _):
        session.send(ok_reply(7, "sent"))
        assert await peer.read() == {"id": 7, "status": "ok", "data": "sent"}


@pytest.mark.parametrize("data", [{1, 2}, "x" * 5000, 1 << 64])
async def test_a_reply_that_cannot_be_sent_is_an_error_and_no_end(data: Any) -> None:
    async with session_of(NATIVE) as (session, peer, owner):
        with pytest.raises(PayloadError):
            session.send(ok_reply(7, data))
        session.send(ok_reply(8, None))
        assert (await peer.read())["id"] == 8
        assert owner.ends == []


async def test_a_native_plugin_is_told_of_who_went_away() -> None:
    async with session_of(NATIVE) as (session, peer, _):
        call = session.request(NAME, None, 10.0)
        number = (await peer.read())["id"]
        call.cancel()
        session.drop_cancelled()
        told = await peer.read()
        assert (told["event"], told["payload"]) == ("vconnect.cancel", {"id": number})


async def test_the_window_and_the_queue_are_bounds() -> None:
    async with session_of(CLASSIC) as (session, peer, _):
        calls = [session.call(event(n), soon()) for n in range(6)]
        assert (session.in_flight, session.queued) == (2, 4)
        with pytest.raises(PluginOverloadedError):
            session.call(event(), soon())
        for n in range(6):
            assert (await peer.read())["payload"] == n
            await peer.answer({"n": n})
        assert [await call for call in calls] == [{"n": n} for n in range(6)]


async def test_notifications_have_a_bound_of_their_own() -> None:
    async with session_of(CLASSIC) as (session, peer, _):
        told = [session.tell(event(n), "drop_newest") for n in range(5)]
        assert told == [True, True, True, True, False]
        assert session.dropped == 1
        with pytest.raises(PluginOverloadedError, match="max_notified"):
            session.tell(event())
        for n in range(4):
            assert (await peer.read())["payload"] == n
            await peer.answer({})


async def test_room_comes_with_an_answer() -> None:
    async with session_of(CLASSIC) as (session, peer, _):
        for n in range(4):
            session.tell(event(n))
        room = session.room(event(0))
        await asyncio.sleep(0)
        assert not room.done()
        await peer.read()
        await peer.answer({})
        async with asyncio.timeout(10):
            await room


async def test_late_and_unasked_answers_are_counted_apart() -> None:
    async with session_of(CLASSIC) as (session, peer, _):
        await peer.answer({"never": "asked"})
        await until(lambda: session.unasked == 1)
        call = session.request(NAME, None, 10.0)
        await peer.read()
        call.cancel()
        await peer.answer({"too": "late"})
        await until(lambda: session.late == 1)
        assert session.unasked == 1


@pytest.mark.parametrize("handshake", [CLASSIC, NATIVE], ids=["classic", "native"])
async def test_what_was_in_flight_is_known_after_the_end(handshake: Handshake) -> None:
    async with session_of(handshake) as (session, peer, owner):
        calls = [session.call(event({"n": n}), soon()) for n in range(3)]
        await peer.read()
        peer.close()
        for call in calls:
            assert isinstance(await failure(call), PluginUnavailableError)
        await until(lambda: owner.ends)
        assert [(lost.event, lost.payload) for lost in session.lost_events()] == [
            ("message.incoming", {"n": n}) for n in range(2)
        ]


async def test_a_lost_event_is_as_a_classic_connection_gets_it() -> None:
    lost = []
    for handshake in (CLASSIC, NATIVE):
        async with session_of(handshake) as (session, peer, owner):
            call = session.call(event({"n": 1}), soon())
            await peer.read()
            peer.close()
            await failure(call)
            await until(lambda owner=owner: owner.ends)
            lost += session.lost_events()
    assert lost[0] == lost[1]
    assert isinstance(lost[0], LostEvent)
    assert b'"id"' not in lost[0].frame


async def test_the_hosts_own_events_are_not_lost() -> None:
    async with session_of(NATIVE) as (session, peer, owner):
        ping = encode_event("vconnect.ping", None, 1024)
        call = session.call(ping, soon())
        await peer.read()
        session.abort()
        await failure(call)
        await until(lambda: owner.ends)
        assert session.lost_events() == []


async def test_a_broken_wire_is_the_reason_of_its_end() -> None:
    async with session_of(CLASSIC) as (session, peer, owner):
        call = session.request(NAME, None, 10.0)
        await peer.write(b"\0\0\x10\x00")  # 4,096 bytes, where 1,024 are allowed
        assert "frame of 4096 bytes; the limit is 1024" in str(await failure(call))
        await until(lambda: owner.ends)
        error = owner.ends[0]
        assert isinstance(error, RemoteProtocolError)
        assert error.code == "frame_too_large"


async def test_a_reason_of_the_hosts_own_is_passed_on() -> None:
    async with session_of(CLASSIC) as (session, _, owner):
        session.abort(ValueError("enough"))
        await until(lambda: owner.ends)
        assert str(owner.ends[0]) == "enough"
        session.abort(ValueError("twice"))
        session.close()
        with pytest.raises(PluginUnavailableError):
            session.call(event(), soon())


async def test_a_close_sends_what_is_gathered() -> None:
    async with session_of(CLASSIC) as (session, peer, owner):
        session.tell(event("last"))
        session.close()
        assert (await peer.read())["payload"] == "last"
        assert await peer.read() is None
        await until(lambda: owner.ends)
        assert owner.ends == [None]


async def test_the_kernel_says_who_connected() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
        assert peer_of(transport) == Peer(os.getpid(), os.geteuid())
        transport.abort()
