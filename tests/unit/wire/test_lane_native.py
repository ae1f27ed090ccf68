"""The lane by number: replies in any order, each to its own call or to nobody."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from tests.support.wire_kit import Owner, failure, frame, open_lane, raw_frame, soon, until

from vconnect._framing import Event
from vconnect.errors import (
    PluginOverloadedError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
    RemoteProtocolError,
)
from vconnect.wire._fan_out import FanOut
from vconnect.wire.messages import EVENT_NAMES, encode_event, normalize_answer, reply_error

pytestmark = pytest.mark.both_loops

NAME = EVENT_NAMES["e"]


class NativeOwner(Owner):
    """Hears of calls and of abandoned events, too; the latter as a session tells them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []
        self.given_up: list[int] = []

    def called(self, payload: bytes) -> bool:
        message = self.stream.read_call(payload)
        if message is not None:
            self.calls.append(message)
        return True

    def abandoned(self, number: int) -> None:
        self.given_up.append(number)


def read_data(message: dict[str, Any]) -> Any:
    answer = normalize_answer(message)
    if answer.ok:
        return answer.data
    raise reply_error("example", answer)


def open_native(**limits: Any) -> Any:
    return open_lane(NativeOwner(), native=True, read_data=read_data, **limits)


def event(payload: Any = None) -> Event:
    return encode_event("e", payload, 1 << 24)


def ok(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "status": "ok", **fields}


async def test_an_event_as_it_is_asked_and_told():
    async with open_native() as (lane, peer, _):
        calls = [lane.call(event({"a": 1}), soon(5)), lane.request(NAME, [1], 5.0, 3)]
        lane.tell(event("told"))
        lane.tell(event("told"), "block", 2)
        asked, requested, told, hopped = [await peer.read() for _ in range(4)]
        for message in (asked, requested):
            assert 0 < message.pop("deadline_ms") <= 5000
        assert asked == {"id": 1, "event": "e", "payload": {"a": 1}}
        assert requested == {"id": 2, "hops": 3, "event": "e", "payload": [1]}
        assert told == {"event": "e", "payload": "told"}
        assert hopped == {"hops": 2, "event": "e", "payload": "told"}
        for call in calls:
            call.cancel()


async def test_the_trace_is_handed_on():
    async with open_native() as (lane, peer, _):
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        lane.tell(encode_event("e", 1, 1 << 20, trace))
        assert await peer.read() == {"trace": trace, "event": "e", "payload": 1}


@pytest.mark.parametrize(
    ("deadline", "lowest", "highest"),
    [(0.0, 0, 0), (math.inf, 1 << 40, 1 << 53), (1e300, 1 << 40, 1 << 53)],
)
async def test_what_is_left_of_a_deadline(deadline, lowest, highest):
    async with open_native() as (lane, peer, _):
        call = lane.call(event(), deadline)
        assert lowest <= (await peer.read())["deadline_ms"] <= highest
        call.cancel()


async def test_replies_in_any_order():
    async with open_native() as (lane, peer, owner):
        calls = {n: lane.call(event(n), soon()) for n in range(8)}
        ids = {(message := await peer.read())["payload"]: message["id"] for _ in calls}
        assert sorted(ids.values()) == list(range(1, 9))
        for n in (5, 0, 7, 3, 1, 6, 2, 4):
            await peer.answer(ok(ids[n], data=n))
            assert (await calls[n])["data"] == n
        assert (lane.in_flight, lane.answered, lane.late, lane.unasked) == (0, 8, 0, 0)
        assert (owner.calls, owner.given_up, owner.messages) == ([], [], [])


async def test_a_request_gets_the_data_or_the_error():
    async with open_native() as (lane, peer, _):
        calls = [lane.request(NAME, n, 10.0) for n in range(4)]
        error = {"id": 3, "status": "error", "code": "bad_request", "message": "no"}
        await peer.answer(error, ok(2, data=[2]), ok(4, payload={"x": 1}), ok(1))
        assert await calls[0] is None
        assert await calls[1] == [2]
        refused = await failure(calls[2])
        assert isinstance(refused, PluginReplyError)
        assert (str(refused), refused.code) == ("example: no", "bad_request")
        assert await calls[3] is None


async def test_a_call_gets_the_whole_reply():
    async with open_native() as (lane, peer, _):
        call = lane.call(event(), soon())
        reply = ok(1, data=1, flow="stop", payload={"x": 1})
        await peer.answer(reply)
        assert await call == reply


@pytest.mark.parametrize("number", [0, 2, -1, 2**63, 2**64 - 1])
async def test_a_reply_to_nothing_is_counted(number):
    async with open_native() as (lane, peer, owner):
        call = lane.call(event(), soon())
        await peer.answer(ok(number), ok(1, data="mine"), ok(1, data="twice"))
        assert (await call)["data"] == "mine"
        await until(lambda: lane.unasked == 2)
        assert (lane.answered, lane.late, owner.ends) == (1, 0, [])


DEEP = "[" * 900 + "]" * 900


@pytest.mark.parametrize("number", ['"1"', "1.0", "true", "null", "[1]", "{}"])
async def test_an_id_that_is_no_number_ends_it(number):
    async with open_native() as (lane, peer, owner):
        call = lane.call(event(), soon())
        await peer.write(raw_frame(b'{"id":%b,"status":"ok"}' % number.encode()))
        error = await owner.end()
        assert isinstance(error, RemoteProtocolError)
        assert error.code == "bad_reply"
        assert len(str(error)) < 300
        assert "a reply's id is" in str(await failure(call))


async def test_a_reply_without_an_id_ends_it():
    async with open_native() as (_, peer, owner):
        await peer.answer({"status": "ok"})
        error = await owner.end()
        assert isinstance(error, RemoteProtocolError)
        assert error.code == "bad_reply"


@pytest.mark.parametrize("status", ['"fine"', "null", "true", "[]", '{"ok":1}', DEEP])
async def test_a_status_that_is_neither_costs_one_event(status):
    async with open_native() as (lane, peer, owner):
        mine, other = lane.call(event(), soon()), lane.request(NAME, 1, 10.0)
        await peer.write(raw_frame(b'{"id":2,"status":%b}' % status.encode()))
        error = await failure(other)
        assert isinstance(error, PluginReplyError)
        assert error.code == "bad_answer"
        assert len(str(error)) < 300
        await peer.answer({"id": 1, "status": "ok", "data": 1})
        assert await mine == {"id": 1, "status": "ok", "data": 1}
        assert owner.ends == []


@pytest.mark.parametrize(
    "data", ["NaN", "1e400", "18446744073709551616", '"\\ud83d"', "[" * 300 + "]" * 300]
)
async def test_a_reply_that_is_not_strict_json_costs_one_event(data):
    async with open_native() as (lane, peer, owner):
        mine, other = lane.call(event(), soon()), lane.request(NAME, 1, 10.0)
        await peer.write(raw_frame(b'{"id":2,"status":"ok","data":%b}' % data.encode()))
        error = await failure(other)
        assert isinstance(error, PluginReplyError)
        assert error.code == "bad_answer"
        await peer.answer({"id": 1, "status": "ok"})
        assert await mine == {"status": "ok"}
        assert owner.ends == []


async def test_a_reply_whose_number_cannot_be_read_ends_it():
    async with open_native() as (lane, peer, owner):
        call = lane.call(event(), soon())
        await peer.write(raw_frame(b'{"id":1,"status":"ok","data":"%b' % (b"x" * 100)))
        error = await owner.end()
        assert isinstance(error, RemoteProtocolError)
        assert error.code == "bad_json"
        assert "before it answered" in str(await failure(call))


async def test_keys_of_a_reply_that_are_not_known_are_ignored():
    async with open_native() as (lane, peer, _):
        replaced, asked = lane.call(event(), soon()), lane.request(NAME, 1, 10.0)
        more = {"took_ms": 3, "id": 1, "status": "ok"}
        await peer.answer({**more, "payload": {"content": "***"}}, {**more, "id": 2})
        assert normalize_answer(await replaced).replacement == {"content": "***"}
        assert await asked is None


async def test_what_is_no_reply_is_a_call():
    async with open_native() as (lane, peer, owner):
        call = lane.call(event(), soon())
        asked = {"id": 1, "call": "log", "params": {"message": "hello"}}
        await peer.answer(asked, {"call": "told"}, {}, ok(1))
        await call
        assert owner.calls == [asked, {"call": "told"}, {}]
        assert (lane.answered, lane.unasked, owner.ends) == (1, 0, [])


async def test_a_deadline_passes_and_the_peer_is_told():
    async with open_native() as (lane, peer, owner):
        expired, other = lane.call(event(), soon(0.02)), lane.call(event(), soon())
        assert isinstance(await failure(expired), PluginTimeoutError)
        assert owner.given_up == [1]
        assert lane.in_flight == 2  # it keeps its place until the reply comes
        lane.sweep()
        assert owner.given_up == [1]  # told once
        await peer.answer(ok(1), ok(2, data="mine"))
        assert (await other)["data"] == "mine"
        assert (lane.late, lane.answered, lane.in_flight) == (1, 2, 0)


@pytest.mark.parametrize("status", ["ok", "error"])
@pytest.mark.parametrize("how", ["call", "request"])
async def test_a_cancellation_is_told_and_its_reply_dropped(how, status):
    async with open_native() as (lane, peer, owner):
        ask = {
            "call": lambda: lane.call(event(), soon()),
            "request": lambda: lane.request(NAME, 1, 10.0),
        }[how]
        gone, other = ask(), ask()
        gone.cancel()
        lane.sweep()
        assert owner.given_up == [1]
        reply = {"id": 1, "status": status, "code": "cancelled", "message": "by the host"}
        await peer.answer(reply, ok(2, data="mine"))
        await other
        assert (lane.late, lane.in_flight) == (1, 0)


async def test_too_many_abandoned_places_end_the_connection():
    async with open_native(max_abandoned=3) as (lane, _, owner):
        last = lane.call(event(), soon())
        for _ in range(3):
            assert isinstance(await failure(lane.call(event(), soon(0.01))), PluginTimeoutError)
        error = await owner.end()
        assert isinstance(error, PluginUnavailableError)
        assert "3 events in flight timed out or were cancelled" in str(error)
        assert isinstance(await failure(last), PluginUnavailableError)


async def test_abandoned_places_that_are_answered_end_nothing():
    async with open_native(max_abandoned=2) as (lane, peer, owner):
        for n in range(1, 6):
            await failure(lane.call(event(), soon(0.01)))
            await peer.answer(ok(n))
            await until(lambda n=n: lane.late == n)
        lane.sweep()
        assert owner.ends == []


@pytest.mark.parametrize("window", [1, 3])
async def test_no_more_than_the_window_is_in_flight(window):
    async with open_native(window=window) as (lane, peer, _):
        calls = [lane.call(event(n), soon()) for n in range(10)]
        assert (lane.in_flight, lane.queued) == (window, 10 - window)
        waiting: list[Any] = []
        for _ in range(10):
            while len(waiting) < min(window, lane.in_flight):
                waiting.append(await peer.read())
            message = waiting.pop()  # the newest first
            await peer.answer(ok(message["id"], data=message["payload"]))
            assert (await calls[message["payload"]])["data"] == message["payload"]
            assert lane.in_flight <= window
        assert (lane.in_flight, lane.queued) == (0, 0)


async def test_abandoned_events_keep_their_places_in_the_window():
    async with open_native(window=2) as (lane, peer, _):
        for _ in range(2):
            await failure(lane.call(event(), soon(0.01)))
        waits = lane.call(event("waits"), soon())
        assert (lane.in_flight, lane.queued) == (2, 1)
        await peer.answer(ok(2))
        await until(lambda: not lane.queued)
        await peer.answer(ok(3, data=3))
        assert (await waits)["data"] == 3


async def test_the_queue_has_an_end_and_keeps_its_order():
    async with open_native(window=1, max_queued=3) as (lane, peer, _):
        calls = [lane.call(event(n), soon()) for n in range(4)]
        with pytest.raises(PluginOverloadedError, match="max_queued"):
            lane.call(event(), soon())
        for n, call in enumerate(calls):
            message = await peer.read()
            assert message["payload"] == n
            await peer.answer(ok(message["id"]))
            await call


async def test_what_is_given_up_while_it_waits_is_never_sent_nor_told():
    async with open_native(window=1) as (lane, peer, owner):
        first = lane.call(event(0), soon())
        expired = lane.call(event(1), soon(0.02))
        cancelled = lane.call(event(2), soon())
        last = lane.call(event(3), soon())
        cancelled.cancel()
        assert "not sent by the deadline" in str(await failure(expired))
        await peer.answer(ok(1))
        await first
        assert [(await peer.read())["payload"] for _ in range(2)] == [0, 3]
        await peer.answer(ok(2))
        await last
        assert (owner.given_up, lane.late) == ([], 0)


async def test_told_events_take_no_place():
    async with open_native(window=1, max_notified=2) as (lane, peer, _):
        for n in range(20):
            assert lane.tell(event(n))
        assert (lane.in_flight, lane.queued, lane.dropped) == (0, 0, 0)
        assert [(await peer.read())["payload"] for _ in range(20)] == list(range(20))
        # Behind what waits they wait as well: nothing overtakes.
        calls = [lane.call(event(n), soon()) for n in (20, 21)]
        assert lane.tell(event(22))
        assert lane.tell(event(23))
        assert not lane.tell(event("newest"), "drop_newest")
        with pytest.raises(PluginOverloadedError, match="max_notified"):
            lane.tell(event("refused"))
        assert lane.tell(event(24), "drop_oldest")
        assert (lane.queued, lane.dropped) == (3, 2)
        assert (await peer.read())["payload"] == 20
        await peer.answer(ok(1))
        assert (await peer.read())["payload"] == 21
        await peer.answer(ok(2))
        assert [(await peer.read())["payload"] for _ in range(2)] == [23, 24]
        await asyncio.gather(*calls)


async def test_room_comes_with_a_place():
    async with open_native(window=1, max_notified=1) as (lane, peer, _):
        calls = [lane.call(event(), soon()) for _ in range(2)]
        assert lane.tell(event())
        room = lane.room(event("e"))
        assert not room.done()
        for n in (1, 2):
            assert (await peer.read())["id"] == n
            assert not room.done()
            await peer.answer(ok(n))
        async with asyncio.timeout(10):
            await room
        assert lane.room(event("e")).done()
        await asyncio.gather(*calls)


@pytest.mark.parametrize("native", [True, False])
async def test_room_comes_with_what_is_given_up(native):
    async with open_lane(NativeOwner(), native=native, window=1, max_queued=1) as (lane, _, _):
        calls = [lane.call(event(), soon()), lane.call(event(), soon(0.02))]
        room = lane.room(event("e"))
        assert not room.done()
        assert "not sent by the deadline" in str(await failure(calls[1]))
        async with asyncio.timeout(10):
            await room
        calls[0].cancel()


async def test_room_comes_with_the_end():
    async with open_native(window=1, max_notified=1) as (lane, _, owner):
        call, _ = lane.call(event(), soon()), lane.call(event(), soon()).cancel()
        lane.tell(event())
        room = lane.room(event("e"))
        assert not room.done()
        lane.abort()
        await owner.end()
        async with asyncio.timeout(10):
            await room
        await failure(call)


@pytest.mark.parametrize("how", ["close", "abort", "peer"])
async def test_the_end_fails_every_call_at_once(how):
    async with open_native(window=2) as (lane, peer, owner):
        calls = [lane.call(event(), math.inf) for _ in range(4)]
        fan_out = FanOut()
        delivery = fan_out.add()
        lane.deliver(event(), delivery, math.inf)
        lane.tell(event())
        for _ in range(2):
            await peer.read()
        if how == "peer":
            peer.close()
        else:
            getattr(lane, how)()
        assert await owner.end() is None
        for call in calls:
            assert "connection ended before it answered" in str(await failure(call))
        (_, error, _), *_ = fan_out.results()
        assert isinstance(error, PluginUnavailableError)
        assert (lane.in_flight, lane.queued, owner.given_up) == (0, 0, [])
        with pytest.raises(PluginUnavailableError):
            lane.call(event(), math.inf)
        lane.sweep()


async def test_a_fan_out_by_number():
    async with open_native() as (lane, peer, _):
        fan_out = FanOut()
        deliveries = [fan_out.add() for _ in range(3)]
        for delivery in deliveries:
            lane.deliver(event(), delivery, soon())
        await peer.answer(ok(3, data=3), ok(1, data=1), ok(2, data=2))
        await fan_out.wait()
        assert [answer["data"] for answer, _, _ in fan_out.results()] == [1, 2, 3]


async def test_an_abandoned_fan_out_is_told():
    async with open_native() as (lane, peer, owner):
        fan_out = FanOut()
        lane.deliver(event(), fan_out.add(), soon())
        fan_out.abandon()
        lane.sweep()
        assert owner.given_up == [1]
        await peer.answer(ok(1))
        await until(lambda: lane.late == 1)


async def test_an_answered_call_may_ask_again_at_once():
    async with open_native(window=1) as (lane, peer, _):
        again: list[asyncio.Future] = []
        first = lane.call(event(0), soon())
        first.add_done_callback(lambda _: again.append(lane.call(event(1), soon())))
        await peer.read()
        await peer.answer(ok(1))
        assert (await peer.read())["payload"] == 1
        await peer.answer(ok(2, data="again"))
        await first
        assert (await again[0])["data"] == "again"


@pytest.mark.parametrize("what", ["call", "tell", "reply", "close", "abort"])
async def test_whoever_is_called_may_do_anything(what):
    class Doing(NativeOwner):
        def called(self, payload: bytes) -> bool:
            super().called(payload)
            message = self.calls[-1]
            if what == "call":
                futures.append(lane.call(event("nested"), soon()))
            elif what == "tell":
                lane.tell(event("nested"))
            elif what == "reply":
                lane.reply(frame({"id": message["id"], "status": "ok"}))
            else:
                getattr(lane, what)()
            return True

    futures: list[asyncio.Future] = []
    async with open_lane(Doing(), native=True) as (lane, peer, owner):
        calls = [{"id": n, "call": "x"} for n in range(1, 4)]
        await peer.answer(*calls)
        if what in ("close", "abort"):
            await owner.end()
            assert len(owner.calls) == 1  # the others were read, but nobody is there any more
            return
        for n in range(1, 4):
            message = await peer.read()
            assert message.get("payload") == "nested" or message == ok(n)
        assert owner.calls == calls
        await peer.answer(*(ok(n + 1) for n in range(len(futures))))
        await asyncio.gather(*futures)


# --- a peer that does not read ---------------------------------------------------------------

LARGE = "x" * 4_000_000


async def test_who_reads_no_replies_is_not_read_either():
    class Replying(NativeOwner):
        def called(self, payload: bytes) -> bool:
            super().called(payload)
            lane.reply(reply)
            return True

    reply = frame({"id": 1, "status": "ok", "data": "x" * 10_000})
    asked = {"id": 1, "call": "c", "params": {"fill": "x" * 1000}}
    count = 3000  # 3 MB of calls, 30 MB of replies
    async with open_lane(Replying(), native=True) as (lane, peer, owner):
        writing = asyncio.create_task(peer.answer(*[asked] * count))
        await until(lambda: lane.unsent_bytes)
        await until(lambda: not lane.transport.is_reading())
        assert len(owner.calls) < count // 2  # what one read brought, and one more
        for _ in range(count):
            assert (await peer.read())["data"]
        await writing
        assert (len(owner.calls), lane.unsent_bytes) == (count, 0)


async def test_who_writes_its_reply_before_it_reads_on_is_read():
    # A plugin of one thread: it answers an event that is larger than the kernel's buffers with
    # as much, while the next event is on its way to it.
    async with open_native() as (lane, peer, _):
        calls = [lane.call(event(LARGE), soon()) for _ in range(3)]
        for _ in calls:
            message = await peer.read()
            await peer.answer(ok(message["id"], data=message["payload"]))
        for call in calls:
            assert len((await call)["data"]) == len(LARGE)


async def test_a_peer_that_reads_nothing_is_given_up():
    async with open_native(stuck_after=0.1) as (lane, _, owner):
        call = lane.call(event(LARGE), math.inf)
        error = await owner.end()
        assert isinstance(error, PluginUnavailableError)
        assert "it has not read anything for 0.1 s" in str(error)
        await failure(call)


async def test_an_event_may_take_longer_than_stuck_after():
    async with (
        open_native(stuck_after=0.05) as (lane, peer, owner),
        open_lane(stuck_after=0.05) as (classic, _, clock),
    ):
        call = lane.call(event(), soon())
        late = classic.call(event(), math.inf)
        await clock.end()  # a classic one may not, and tells that the time has passed
        await failure(late)
        assert owner.ends == []
        await peer.answer(ok(1))
        await call


# --- the host's own events -------------------------------------------------------------------

PING_NAME = EVENT_NAMES["vconnect.ping"]


async def test_the_hosts_own_events_pass_a_full_window():
    async with open_native(window=1, max_queued=0) as (lane, peer, _):
        busy = lane.call(event(), soon(10))
        assert (await peer.read())["id"] == 1
        ping = lane.request(PING_NAME, {}, 10.0)
        assert (await peer.read())["event"] == "vconnect.ping"
        assert (lane.in_flight, lane.queued) == (1, 0)
        await peer.answer(ok(2, data="pong"))
        assert await ping == "pong"
        # They take no place either.
        pings = [lane.request(PING_NAME, {}, 10.0) for _ in range(5)]
        await peer.answer(ok(1))
        await busy
        after = lane.call(event(), soon(10))
        assert [(await peer.read()).get("event") for _ in range(6)] == ["vconnect.ping"] * 5 + ["e"]
        for one in (*pings, after):
            one.cancel()


async def test_the_hosts_own_events_have_their_deadlines_and_keep_no_place():
    async with open_native(max_abandoned=1) as (lane, peer, owner):
        late = await failure(lane.request(PING_NAME, {}, 0.02))
        assert isinstance(late, PluginTimeoutError)
        await peer.answer(ok(1))
        await until(lambda: lane.unasked == 1)
        lane.sweep()
        assert owner.ends == []
        await peer.read()


async def test_many_that_pass_their_deadlines_at_once_are_given_a_second_to_be_answered():
    async with open_native(window=4, max_abandoned=4) as (lane, peer, owner):
        calls = [lane.call(event(n), soon(0.02)) for n in range(4)]
        for call in calls:
            assert isinstance(await failure(call), PluginTimeoutError)
        for number in range(1, 5):
            await peer.answer({"id": number, "status": "error", "code": "cancelled"})
        await until(lambda: lane.in_flight == 0)
        lane.sweep()
        assert (owner.ends, lane.late) == ([], 4)
