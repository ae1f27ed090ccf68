"""The lane: every answer reaches its own call or nobody."""

from __future__ import annotations

import asyncio
import math
import socket

import pytest
from tests.support.wire_kit import (
    Owner,
    Peer,
    failure,
    frame,
    open_lane,
    raw_frame,
    soon,
    until,
)

from vconnect.errors import (
    PluginOverloadedError,
    PluginReplyError,
    PluginStuckError,
    PluginTimeoutError,
    PluginUnavailableError,
    RemoteProtocolError,
)
from vconnect.wire._lane import Lane
from vconnect.wire._stream import ReadBuffer
from vconnect.wire.messages import EVENT_NAMES

NAME = EVENT_NAMES["e"]

pytestmark = pytest.mark.both_loops

LARGE = "x" * 300_000


async def test_answers_in_order():
    async with open_lane() as (lane, peer, owner):
        calls = [lane.call(frame({"n": n}), soon()) for n in range(8)]
        assert [(await peer.read())["n"] for _ in calls] == list(range(8))
        assert (lane.in_flight, lane.queued, lane.answered) == (8, 0, 0)
        await peer.answer(*({"n": n} for n in range(8)))
        assert [(await call)["n"] for call in calls] == list(range(8))
        assert (lane.in_flight, lane.answered, lane.late, lane.unasked) == (0, 8, 0, 0)
        assert owner.messages == []


@pytest.mark.parametrize("window", [1, 3, 4])
async def test_no_more_than_the_window_is_sent(window):
    async with open_lane(window=window) as (lane, peer, _):
        calls = [lane.call(frame({"n": n}), soon()) for n in range(10)]
        assert (lane.in_flight, lane.queued) == (window, 10 - window)
        for n in range(10):
            assert (await peer.read())["n"] == n
            await peer.answer({"n": n})
            assert (await calls[n])["n"] == n
            assert lane.in_flight <= window
        assert (lane.in_flight, lane.queued) == (0, 0)


async def test_what_waits_behind_the_window_has_an_end():
    async with open_lane(window=2, max_queued=3) as (lane, peer, _):
        calls = [lane.call(frame({"n": n}), soon()) for n in range(5)]
        with pytest.raises(PluginOverloadedError, match=r"example: 3 events.*max_queued") as full:
            lane.call(frame({}), soon())
        assert full.value.plugin == "example"
        with pytest.raises(PluginOverloadedError):
            lane.tell(frame({}))
        for n, call in enumerate(calls):
            await peer.read()
            await peer.answer({"n": n})
            assert await call == {"n": n}
        again = lane.call(frame({}), soon())
        await peer.answer({"n": 5})
        assert await again == {"n": 5}


async def test_a_told_event_takes_a_place_and_its_answer_goes_to_nobody():
    async with open_lane() as (lane, peer, owner):
        lane.tell(frame({"n": 0}))
        call = lane.call(frame({"n": 1}), soon())
        lane.tell(frame({"n": 2}))
        assert lane.in_flight == 3
        await peer.answer({"n": 0}, {"n": 1}, {"n": 2})
        assert (await call)["n"] == 1
        await until(lambda: lane.in_flight == 0)
        assert (lane.answered, lane.late, lane.unasked, owner.messages) == (3, 0, 0, [])


async def test_a_timeout_leaves_its_place():
    async with open_lane() as (lane, peer, _):
        first, second = lane.call(frame({}), soon(0.02)), lane.call(frame({}), soon())
        error = await failure(first)
        assert isinstance(error, PluginTimeoutError)
        assert isinstance(error, TimeoutError)
        assert str(error) == "example: no answer by the deadline"
        assert lane.in_flight == 2
        await peer.answer({"n": "late"}, {"n": "mine"})
        assert (await second)["n"] == "mine"
        assert (lane.late, lane.answered) == (1, 2)


async def test_a_cancellation_leaves_its_place():
    async with open_lane() as (lane, peer, _):
        calls = [lane.call(frame({}), soon()) for _ in range(4)]
        calls[0].cancel()
        calls[2].cancel()
        await peer.answer(*({"n": n} for n in range(4)))
        assert [(await calls[n])["n"] for n in (1, 3)] == [1, 3]
        assert lane.late == 2


async def test_a_deadline_in_the_past_comes_soon():
    async with open_lane() as (lane, _, _):
        assert isinstance(await failure(lane.call(frame({}), 0.0)), PluginTimeoutError)
        assert isinstance(await failure(lane.call(frame({}), soon(-5))), PluginTimeoutError)


async def test_no_deadline_at_all():
    async with open_lane() as (lane, peer, _):
        call = lane.call(frame({}), math.inf)
        await peer.answer({"n": 1})
        assert await call == {"n": 1}


async def test_a_nearer_deadline_moves_the_timer_up():
    async with open_lane() as (lane, peer, _):
        late, early = lane.call(frame({}), soon()), lane.call(frame({}), soon(0.02))
        assert isinstance(await failure(early), PluginTimeoutError)
        assert not late.done()
        await peer.answer({"n": 0}, {"n": 1})
        assert (await late)["n"] == 0


async def test_what_is_given_up_while_it_waits_is_never_sent():
    async with open_lane(window=1) as (lane, peer, _):
        first = lane.call(frame({"n": 0}), soon())
        expired = lane.call(frame({"n": 1}), soon(0.02))
        cancelled = lane.call(frame({"n": 2}), soon())
        last = lane.call(frame({"n": 3}), soon())
        cancelled.cancel()
        error = await failure(expired)
        assert str(error) == "example: not sent by the deadline"
        await peer.answer({"n": 0})
        await first
        assert [(await peer.read())["n"] for _ in range(2)] == [0, 3]
        await peer.answer({"n": 3})
        assert (await last)["n"] == 3
        assert lane.late == 0


async def test_too_many_abandoned_places_end_the_connection():
    async with open_lane(max_abandoned=3) as (lane, _, owner):
        last = lane.call(frame({}), soon(0.3))
        calls = [lane.call(frame({}), soon(0.01)) for _ in range(3)]
        for call in calls:
            assert isinstance(await failure(call), PluginTimeoutError)
        error = await owner.end()
        assert isinstance(error, PluginUnavailableError)
        assert "3 events in flight timed out or were cancelled" in str(error)
        assert "timed out or were cancelled" in str(await failure(last))


async def test_abandoned_places_below_the_bound_end_nothing():
    async with open_lane(max_abandoned=3) as (lane, peer, owner):
        for _ in range(2):
            await failure(lane.call(frame({}), soon(0.01)))
        await peer.answer({}, {})
        await until(lambda: lane.late == 2)
        for _ in range(2):
            await failure(lane.call(frame({}), soon(0.01)))
        lane.sweep()
        assert owner.ends == []
        assert not lane.is_closing


@pytest.mark.parametrize("how", ["call", "tell"])
async def test_a_head_that_stays_unanswered_ends_the_connection(how):
    async with open_lane(stuck_after=0.1) as (lane, peer, owner):
        call = lane.call(frame({}), math.inf) if how == "call" else None
        if call is None:
            assert lane.tell(frame({}))
        error = await owner.end()
        assert isinstance(error, PluginUnavailableError)
        assert "oldest event has not been answered for 0.1 s" in str(error)
        if call is not None:
            assert isinstance(await failure(call), PluginStuckError)
            assert str(call.exception()) == (
                "example: its oldest event has not been answered for 0.1 s; closing its connection"
            )
        await peer.read_end()


async def test_a_peer_that_answers_in_time_is_not_stuck():
    async with (
        open_lane(stuck_after=0.2) as (lane, peer, owner),
        open_lane(stuck_after=0.2) as (silent, _, clock),
    ):
        late = silent.call(frame({}), math.inf)
        call = lane.call(frame({}), math.inf)
        while not clock.ends:  # together longer than any of them may take
            call, before = lane.call(frame({}), math.inf), call
            await peer.read()
            await peer.answer({})
            await before
        await failure(late)
        assert owner.ends == []
        call.cancel()


async def test_a_peer_that_reads_nothing_is_stuck_even_before_its_first_event():
    async with open_lane(stuck_after=0.1) as (lane, _, owner):
        lane.send(frame("x" * 8_000_000))  # an acknowledgment that stays in our own buffers
        call = lane.call(frame({}), math.inf)
        assert (lane.in_flight, lane.queued) == (0, 1)
        assert isinstance(await owner.end(), PluginUnavailableError)
        assert isinstance(await failure(call), PluginUnavailableError)


@pytest.mark.parametrize("how", ["close", "abort", "peer"])
async def test_the_end_fails_every_call_at_once(how):
    async with open_lane(window=2) as (lane, peer, owner):
        calls = [lane.call(frame({}), math.inf) for _ in range(4)]
        lane.tell(frame({}))
        gone = lane.call(frame({}), math.inf)
        gone.cancel()
        assert len([await peer.read() for _ in range(2)]) == lane.in_flight
        if how == "peer":
            peer.close()
        else:
            getattr(lane, how)()
        assert await owner.end() is None
        for call in calls:
            error = await failure(call)
            assert isinstance(error, PluginUnavailableError)
            assert "connection ended before it answered" in str(error)
        assert (lane.in_flight, lane.queued) == (0, 0)
        with pytest.raises(PluginUnavailableError, match="connection has ended"):
            lane.call(frame({}), math.inf)
        with pytest.raises(PluginUnavailableError):
            lane.tell(frame({}))


async def test_close_says_everything_first():
    async with open_lane() as (lane, peer, owner):
        calls = [lane.call(frame({"n": n}), math.inf) for n in range(3)]
        lane.close()
        lane.close()
        with pytest.raises(PluginUnavailableError):
            lane.call(frame({}), math.inf)
        assert [(await peer.read())["n"] for _ in calls] == [0, 1, 2]
        assert await peer.read() is None
        for call in calls:
            assert isinstance(await failure(call), PluginUnavailableError)
        await owner.end()


async def test_deadlines_hold_while_a_close_waits_for_a_peer_that_does_not_read():
    async with open_lane(stuck_after=0.2) as (lane, _, owner):
        call = lane.call(frame("x" * 8_000_000), soon(0.05))
        lane.close()
        assert isinstance(await failure(call), PluginTimeoutError)
        # … and so does the patience with the peer.
        assert isinstance(await owner.end(), PluginUnavailableError)


async def test_the_first_reason_wins():
    async with open_lane() as (lane, _, owner):
        call = lane.call(frame({}), math.inf)
        lane.abort(ValueError("first"))
        lane.abort(ValueError("second"))
        assert str(await owner.end()) == "first"
        assert "ended before it answered: first" in str(await failure(call))


async def test_a_large_frame_pauses_and_its_taking_resumes():
    async with open_lane() as (lane, peer, _):
        calls = [lane.call(frame({"n": n, "fill": LARGE}), soon()) for n in range(8)]
        assert lane.queued > 0
        assert lane.unsent_bytes > 0
        for n in range(8):
            assert (await peer.read())["n"] == n
        assert (lane.in_flight, lane.queued) == (8, 0)
        await peer.answer(*({"n": n} for n in range(8)))
        assert [(await call)["n"] for call in calls] == list(range(8))
        assert lane.unsent_bytes == 0


async def test_large_and_small_frames_do_not_overtake_each_other():
    sizes = [10, 70_000, 10, 10, 300_000, 1000, 65_535, 65_536, 10, 3_000_000, 10, 40_000] * 3
    async with open_lane(window=64, max_queued=64) as (lane, peer, _):
        for n, size in enumerate(sizes):
            lane.tell(frame({"n": n, "fill": "x" * size}))
        for n, size in enumerate(sizes):
            message = await peer.read()
            assert (message["n"], len(message["fill"])) == (n, size)


async def test_a_large_answer():
    async with open_lane() as (lane, peer, _):
        calls = [lane.call(frame({}), soon()) for _ in range(4)]
        writing = asyncio.create_task(
            peer.answer({"n": 0}, {"n": 1, "fill": LARGE * 9}, {"n": 2, "fill": LARGE}, {"n": 3})
        )
        assert [(await call)["n"] for call in calls] == [0, 1, 2, 3]
        await writing


def code_of(error: Exception) -> str:
    assert isinstance(error, PluginReplyError)
    return error.code


# Sound frames whose content is not: no JSON, no object, beyond 64 bits, a cut emoji, too deep.
BAD_ANSWERS = [
    b"{]",
    b"[]",
    b"null",
    b'"x"',
    b'{"status":"ok","data":NaN}',
    b'{"status":"ok","data":1e400}',
    b'{"status":"ok","data":18446744073709551616}',
    b'{"status":"ok","data":"\\ud83d"}',
    b'{"status":"ok","data":' + b"[" * 255 + b"]" * 255 + b"}",
]


@pytest.mark.parametrize("answer", BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
async def test_a_bad_answer_costs_one_event(answer):
    async with open_lane() as (lane, peer, owner):
        first, second = lane.call(frame({}), soon()), lane.request(NAME, 1, 10.0)
        third, fourth = lane.request(NAME, 1, 10.0), lane.call(frame({}), soon())
        await peer.write(raw_frame(answer) + raw_frame(answer))
        for call in (first, second):
            error = await failure(call)
            assert isinstance(error, PluginReplyError)
            assert error.code == "bad_answer"
            assert "its answer cannot be read: payload " in str(error)
        await peer.write(raw_frame(b'{"status":"ok","data":3}') + raw_frame(b'{"n":4}'))
        assert (await third, await fourth) == (3, {"n": 4})
        assert owner.ends == []


async def test_ten_bad_answers_in_a_row_end_it() -> None:
    async with open_lane(window=16) as (lane, peer, owner):
        for _ in range(2):
            calls = [lane.call(frame({}), soon()) for _ in range(10)]
            await peer.write(raw_frame(b"[]") * 9)
            await peer.answer({"n": 1})
            assert await calls[-1] == {"n": 1}
            assert {code_of(await failure(call)) for call in calls[:-1]} == {"bad_answer"}
        calls = [lane.call(frame({}), soon()) for _ in range(11)]
        await peer.write(raw_frame(b"[]") * 10)
        error = await owner.end()
        assert isinstance(error, RemoteProtocolError)
        assert error.code == "bad_answer"
        assert "10 frames in a row cannot be read; the last: payload is a JSON list" in str(error)
        assert {code_of(await failure(call)) for call in calls[:10]} == {"bad_answer"}
        assert "before it answered" in str(await failure(calls[10]))


async def test_a_late_answer_that_is_no_object_is_dropped():
    async with open_lane() as (lane, peer, owner):
        lane.call(frame({}), soon()).cancel()
        await peer.write(raw_frame(b"[]"))
        await until(lambda: lane.late == 1)
        call = lane.call(frame({}), soon())
        await peer.answer({"n": 1})
        assert await call == {"n": 1}
        assert owner.ends == []


async def test_what_was_not_asked_for_is_counted():
    async with open_lane() as (lane, peer, owner):
        await peer.answer({"n": 1}, {"n": 2})
        await until(lambda: lane.unasked == 2)
        call = lane.call(frame({}), soon())
        await peer.answer({"n": 3}, {"n": 4})
        assert await call == {"n": 3}
        await until(lambda: lane.unasked == 3)
        assert (owner.messages, owner.ends) == ([], [])


async def test_an_answered_call_may_ask_again_at_once():
    async with open_lane(window=1) as (lane, peer, _):
        again: list[asyncio.Future] = []
        first = lane.call(frame({"n": 0}), soon())
        first.add_done_callback(lambda _: again.append(lane.call(frame({"n": 1}), soon())))
        await peer.read()
        await peer.answer({"a": 0})
        assert (await peer.read())["n"] == 1
        await peer.answer({"a": 1})
        assert await first == {"a": 0}
        assert await again[0] == {"a": 1}


async def test_a_frame_must_be_bytes():
    async with open_lane() as (lane, _, _):
        for bad in (None, "text", bytearray(b"x")):
            with pytest.raises(TypeError):
                lane.call(bad, soon())  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                lane.tell(bad)  # type: ignore[arg-type]
        assert lane.in_flight == 0


async def test_before_it_serves_it_is_a_stream():
    owner = Owner(lambda owner, message: owner.stream.send(frame({"got": message})))
    lane = Lane(owner, ReadBuffer(), 1 << 16)
    with pytest.raises(PluginUnavailableError):
        lane.call(frame({}), soon())
    lane.sweep()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    peer = Peer(theirs)
    await asyncio.get_running_loop().create_unix_connection(lambda: lane, sock=ours)
    await peer.write(frame({"n": 1}) + frame({"n": 2}))
    assert [await peer.read() for _ in range(2)] == [{"got": {"n": 1}}, {"got": {"n": 2}}]
    with pytest.raises(PluginUnavailableError):
        lane.call(frame({}), soon())
    lane.sweep()
    assert not lane.is_closing
    lane.close()
    assert await owner.end() is None
    peer.close()


async def test_it_may_begin_to_serve_while_it_hands_over_a_message():
    answers = Owner()
    calls: list[asyncio.Future] = []

    def take_over(owner: Owner, message: object) -> None:
        owner.stream.serve(
            answers, "example", window=1, max_queued=4, max_abandoned=4, stuck_after=30.0
        )
        calls.extend(owner.stream.call(frame({"n": n}), soon()) for n in range(2))

    lane = Lane(Owner(take_over), ReadBuffer())
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    peer = Peer(theirs)
    await asyncio.get_running_loop().create_unix_connection(lambda: lane, sock=ours)
    await peer.answer({"name": "example"})
    assert (await peer.read())["n"] == 0
    await peer.answer({"a": 0}, {"never": "asked"})
    assert await calls[0] == {"a": 0}
    assert (await peer.read())["n"] == 1
    assert lane.unasked == 1
    await peer.answer({"a": 1})
    assert await calls[1] == {"a": 1}
    peer.close()
    assert await answers.end() is None
