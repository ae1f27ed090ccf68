"""What one peer may cost: bytes that wait, values in a frame, time for what nobody asked for."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from tests.support.wire_kit import failure, open_lane, raw_frame, soon, until

from vconnect.dispatch import accounts
from vconnect.errors import (
    PluginOverloadedError,
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
    RemoteProtocolError,
)
from vconnect.wire._inflight import ByteBudget

from .test_lane_native import NAME, NativeOwner, event, ok, open_native, read_data

pytestmark = pytest.mark.both_loops

BOTH = pytest.mark.parametrize("native", [True, False])
MIB = 1 << 20


def open_one(*, native: bool, **limits: Any) -> Any:
    return open_lane(NativeOwner(), native=native, read_data=read_data, **limits)


def reply(native: bool, data: str) -> bytes:
    """The answer to the first event, with this JSON as its data."""
    number = b'"id":1,' if native else b""
    return raw_frame(b'{%b"status":"ok","data":%b}' % (number, data.encode()))


class Unhurried(NativeOwner):
    """Serves no call by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[bytes] = []
        self.unread: list[tuple[int, Exception]] = []
        self.turns = 0

    def called(self, payload: bytes) -> bool:
        self.waiting.append(payload)
        return True

    def unread_call(self, number: int, error: Exception) -> None:
        self.unread.append((number, error))

    def writable(self) -> None:
        self.turns += 1


# --- what a frame holds -----------------------------------------------------------------------

# The envelope has its object, two or three keys, and one or two other values.
TOO_MUCH = {
    "numbers": "[" + ",".join("1" * 100) + "]",
    "empty lists": "[" + ",".join(["[]"] * 100) + "]",
    "empty objects": "[ " + " , ".join(["{ }"] * 100) + " ]",
    "keys": json.dumps({str(n): 0 for n in range(60)}),
    "deep": "[" * 100 + "]" * 100,
}
PADDING = "x" * 600  # shorter frames are not looked at: they cannot hold so much


@BOTH
@pytest.mark.parametrize("what", TOO_MUCH)
@pytest.mark.parametrize("wants_data", [True, False])
async def test_a_frame_with_too_many_values_costs_one_event(
    native: bool, what: str, wants_data: bool
) -> None:
    async with open_one(native=native, max_values=100) as (lane, peer, _):
        call = lane.request(NAME, 1, 10.0) if wants_data else lane.call(event(), soon())
        await peer.write(reply(native, f'["{PADDING}",{TOO_MUCH[what]}]'))
        error = await failure(call)
        assert isinstance(error, PluginReplyError)
        assert error.code == "bad_answer"
        assert "JSON values; the limit is 100 (max_answer_values)" in str(error)
        call = lane.request(NAME, 1, 10.0)
        await peer.answer(ok(2, data=7) if native else {"status": "ok", "data": 7})
        assert await call == 7


@BOTH
async def test_a_large_frame_with_too_many_values_costs_one_event_as_well(native: bool) -> None:
    async with open_one(native=native, max_values=1000) as (lane, peer, _):
        call = lane.request(NAME, 1, 10.0)
        await peer.write(reply(native, "[" + "[],[]," * 40_000 + "0]"))
        assert "has 80" in str(await failure(call))
        call = lane.request(NAME, 1, 10.0)
        await peer.answer(ok(2, data=7) if native else {"status": "ok", "data": 7})
        assert await call == 7


@BOTH
async def test_an_object_with_too_many_keys_costs_one_event(native: bool) -> None:
    async with open_one(native=native, max_keys=100) as (lane, peer, _):
        call = lane.request(NAME, 1, 10.0)
        await peer.write(reply(native, json.dumps({f"key{n}": 0 for n in range(101)})))
        assert "an object with 101 keys; the limit is 100 (max_answer_keys)" in str(
            await failure(call)
        )


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        json.dumps({f"key{n}": 0 for n in range(100)}),
        json.dumps([{f"key{n}": 0 for n in range(60)}] * 2),
        json.dumps("," * 5000 + ":" * 5000 + '["{' * 1000),
        json.dumps(['"' * 100, "\\" * 100, ",:[{" * 500]),
    ],
)
async def test_what_only_looks_like_much_passes(native: bool, data: str) -> None:
    async with open_one(native=native, max_values=300, max_keys=100) as (lane, peer, _):
        call = lane.request(NAME, 1, 10.0)
        await peer.write(reply(native, data))
        assert await call == json.loads(data)


@pytest.mark.parametrize("count", [93, 94])
async def test_the_limit_itself_is_allowed(count: int) -> None:
    # The object, its three keys, two plain values, the list and its items.
    async with open_native(max_values=7 + 93) as (lane, peer, _):
        call = lane.request(NAME, 1, 10.0)
        await peer.write(reply(True, json.dumps(["x" * 10] * count)))
        if count == 93:
            assert len(await call) == 93
        else:
            assert "has 101 JSON values" in str(await failure(call))


@BOTH
async def test_what_is_sent_and_what_is_read_have_limits_of_their_own(native: bool) -> None:
    limits = {"max_frame_bytes": 4 * MIB, "max_answer_bytes": 1000}
    async with open_one(native=native, **limits) as (lane, peer, owner):
        call = lane.request(NAME, "x" * 3 * MIB, 10.0)
        assert len((await peer.read())["payload"]) == 3 * MIB
        await peer.write(b"\0\0\x03\xe9")
        assert "frame of 1001 bytes; the limit is 1000 (max_answer_bytes)" in str(
            await failure(call)
        )
        assert isinstance(await owner.end(), RemoteProtocolError)


# --- what nobody asked for --------------------------------------------------------------------

BOMB = "[" + ",".join(["[]"] * 8000) + "]"


async def test_a_large_reply_that_nobody_asked_for_is_not_parsed() -> None:
    async with open_native() as (lane, peer, owner):
        # It would not be JSON, either.
        await peer.write(raw_frame(b'{"data":%b,"id":5,"status":"ok"' % BOMB.encode()))
        await until(lambda: lane.unasked == 1)
        assert owner.ends == []


@BOTH
async def test_a_thousand_frames_that_answer_nothing_end_it(native: bool) -> None:
    async with open_one(native=native) as (lane, peer, owner):
        for _ in range(2):
            await peer.answer(*[ok(99)] * 900)
            await until(lambda: lane.unasked % 900 == 0 and lane.unasked)
            call = lane.call(event(), soon())
            number = (await peer.read()).get("id", 0)
            await peer.answer(ok(number))
            await call
        await peer.answer(*[ok(99)] * 1000)
        error = await owner.end()
        assert "1000 frames in a row answer nothing that was asked" in str(error)


@pytest.mark.parametrize(
    "order", ['"id":1,"status":"ok","data":{}', '"data":{},"status":"ok","id":1']
)
async def test_a_large_reply_finds_its_event_whatever_the_order_of_its_keys(order: str) -> None:
    async with open_native() as (lane, peer, _):
        call = lane.request(NAME, 1, 10.0)
        data = json.dumps({"id": 9, "status": "error", "text": '"id":7,' * 1000})
        await peer.write(raw_frame(b"{%b}" % order.format(data).encode()))
        assert (await call)["id"] == 9
        assert lane.unasked == 0


async def test_who_makes_us_parse_too_much_is_not_read_for_a_while() -> None:
    async with open_native() as (_, peer, owner):
        call = raw_frame(b'{"call":"log","params":%b}' % BOMB.encode())

        async def flood() -> None:
            for _ in range(2000):
                await peer.write(call)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(1.0)
        heard = len(owner.calls)
        flooding.cancel()
        # A burst of 10 ms, 5 ms more in a second, and what one read brings.
        assert 1 <= heard < 500
        assert owner.ends == []
        await until(lambda: len(owner.calls) > heard)  # it is read again


async def test_a_call_is_parsed_when_its_turn_comes_and_then_charged() -> None:
    owner = Unhurried()
    async with open_lane(owner, native=True) as (lane, peer, _):
        call = {"call": "log", "params": json.loads(BOMB)}
        await peer.answer(*[call] * 100)
        await until(lambda: len(owner.waiting) == 100)
        assert not lane.is_held()  # what only waits costs nothing
        for payload in owner.waiting:
            assert lane.read_call(payload) == call
        assert lane.is_held()
        served = owner.turns
        await until(lambda: not lane.is_held(), "it has its time again")
        assert owner.turns > served


@pytest.mark.parametrize("number", [None, 7])
async def test_a_call_that_cannot_be_read_is_refused_or_the_end(number: int | None) -> None:
    owner = Unhurried()
    async with open_lane(owner, native=True) as (lane, peer, _):
        named = b"" if number is None else b'"id":%d,' % number
        await peer.write(raw_frame(b'{%b"call":"log","params":NaN}' % named))
        await until(lambda: owner.waiting)
        assert lane.read_call(owner.waiting[0]) is None
        if number is None:
            assert "not JSON" in str(await owner.end())
        else:
            assert [one for one, _ in owner.unread] == [number]
            assert owner.ends == []


@pytest.mark.parametrize("size", [10, 10_000])
@pytest.mark.parametrize("key", ['"status"', '"\\u0073tatus"', '"st\\u0061tus"'])
async def test_a_reply_is_one_however_its_key_is_written(key: str, size: int) -> None:
    async with open_native() as (lane, peer, owner):
        call = lane.request(NAME, 1, 10.0)
        text = f'{{"id":1,{key}:"ok","data":"{"x" * size}"}}'
        await peer.write(raw_frame(text.encode()))
        assert await call == "x" * size
        assert owner.calls == []


@pytest.mark.parametrize("size", [10, 10_000])
@pytest.mark.parametrize("text", ["status", "\u0430", "\\u"])
async def test_a_call_is_one_whatever_it_says(text: str, size: int) -> None:
    async with open_native() as (_, peer, owner):
        call = {"call": "log", "params": {"status": text, text: "x" * size}}
        await peer.answer(call)
        await until(lambda: owner.calls)
        assert owner.calls == [call]


class Account(accounts.Account):
    """Adds up what is paid."""

    def __init__(self) -> None:
        super().__init__()
        self.paid: list[float] = []

    def pay(self, seconds: float) -> None:
        self.paid.append(seconds)


@BOTH
@pytest.mark.parametrize("is_large", [True, False])
async def test_a_large_answer_is_paid_from_the_account_of_its_event(
    native: bool, is_large: bool
) -> None:
    account = Account()
    async with open_one(native=native) as (lane, peer, owner):
        data = json.loads(BOMB) if is_large else 1
        for number in (1, 2, 3):
            call = lane.request(NAME, 1, 10.0, 1, account if number > 1 else None)
            await peer.answer(ok(number, data=data) if native else {"status": "ok", "data": data})
            assert await call == data
        assert len(account.paid) == (2 if is_large else 0)
        assert all(0 < seconds < 1 for seconds in account.paid)
        assert not lane.is_held() or is_large  # a long read rests, and nothing is charged
        assert owner.charged_s == []


@BOTH
async def test_a_paid_answer_may_fail_as_any_other(native: bool) -> None:
    async with open_one(native=native) as (lane, peer, owner):
        late = lane.request(NAME, 1, 0.02, 1, Account())
        assert isinstance(await failure(late), PluginTimeoutError)
        lost = lane.request(NAME, 1, 10.0, 1, Account())
        peer.close()
        assert isinstance(await failure(lost), PluginUnavailableError)
        await owner.end()


@BOTH
async def test_an_event_counts_until_its_answer_and_not_until_its_caller_gives_up(
    native: bool,
) -> None:
    account = Account()
    async with open_one(native=native) as (lane, peer, owner):
        late = [lane.request(NAME, 1, 0.02, 1, account) for _ in range(3)]
        for call in late:
            assert isinstance(await failure(call), PluginTimeoutError)
        assert account.unanswered == 3
        for number in (1, 2):
            await peer.answer(ok(number) if native else {"status": "ok"})
        await until(lambda: account.unanswered == 1)
        peer.close()
        await owner.end()
        await until(lambda: account.unanswered == 0)


@pytest.mark.parametrize("disguised", ['"\\u0069d":99999999', '"\\u0073tatus":"ok","\\u0069d":7'])
async def test_a_reply_in_disguise_is_charged_to_its_sender(disguised: str) -> None:
    account = Account()
    async with open_native() as (lane, peer, _):
        call = lane.request(NAME, 1, 10.0, 1, account)
        text = '{"id":1,"status":"ok","data":%s,%s}' % (BOMB, disguised)  # noqa: UP031
        for _ in range(60):
            await peer.write(raw_frame(text.encode()))
        await until(lambda: lane.is_held() and lane.unasked > 10)
        assert account.paid == []
        assert not call.done()
        await peer.answer(ok(1, data="at last"))
        async with asyncio.timeout(30):
            assert await call == "at last"


@BOTH
async def test_others_have_their_turn_after_a_long_read(native: bool) -> None:
    async with open_one(native=native) as (lane, peer, _):
        call = lane.request(NAME, 1, 10.0)
        seen: list[bool] = []
        call.add_done_callback(lambda _: seen.append(lane.transport.is_reading()))
        await peer.write(reply(native, "[" + ",".join(["[[]]"] * 16_000) + "]"))
        await call
        assert seen == [False]
        await until(lane.transport.is_reading)


# --- bytes that wait --------------------------------------------------------------------------


@BOTH
async def test_bytes_that_wait_have_a_limit(native: bool) -> None:
    async with open_one(native=native, max_queued_bytes=10_000) as (lane, peer, _):
        calls = [lane.call(event("x" * 3000), soon()) for _ in range(3)]
        with pytest.raises(PluginOverloadedError, match=r"the limit is 10000 \(max_queued_bytes\)"):
            lane.call(event("x" * 3000), soon())
        with pytest.raises(PluginOverloadedError, match="max_queued_bytes"):
            lane.tell(event("x" * 3000))
        assert 9000 < lane.queued_bytes < 10_000
        for number in (1, 2, 3):
            await peer.read()
            await peer.answer(ok(number))
        await asyncio.gather(*calls)
        assert lane.queued_bytes == 0


@BOTH
async def test_one_event_of_any_size_is_sent(native: bool) -> None:
    async with open_one(native=native, max_queued_bytes=1000) as (lane, peer, _):
        call = lane.call(event("x" * 100_000), soon())
        with pytest.raises(PluginOverloadedError):
            lane.call(event(), soon())
        await peer.read()
        await peer.answer(ok(1))
        await call


@BOTH
async def test_nothing_is_held_after_the_end(native: bool) -> None:
    total = ByteBudget(1 << 30)
    async with open_one(native=native, window=2, total=total) as (lane, peer, owner):
        calls = [lane.call(event("x" * 500), soon()) for _ in range(5)]
        lane.tell(event("x" * 500))
        lane.charge_call(700)
        assert total.used == lane.queued_bytes > 3000
        peer.close()
        await owner.end()
        assert (total.used, lane.queued_bytes) == (0, 0)
        lane.release_call(700)
        assert total.used == 0
        await asyncio.gather(*calls, return_exceptions=True)


@BOTH
async def test_what_is_given_up_while_it_waits_is_not_held(native: bool) -> None:
    async with open_one(native=native, window=1) as (lane, peer, _):
        first = lane.call(event(), soon())
        sent = lane.queued_bytes
        calls = [lane.call(event("x" * 500), soon(0.01)), lane.call(event("x" * 500), soon())]
        calls[1].cancel()
        await failure(calls[0])
        await until(lambda: lane.queued_bytes == sent)
        first.cancel()
        await peer.read()


@BOTH
async def test_all_together_have_a_limit_that_leaves_each_its_share(native: bool) -> None:
    total = ByteBudget(4 * MIB)
    async with (
        open_one(native=native, total=total) as (greedy, _, _),
        open_one(native=native, total=total) as (modest, _, _),
    ):
        calls = [greedy.call(event("x" * MIB), soon()) for _ in range(3)]
        with pytest.raises(PluginOverloadedError, match=r"4194304 \(max_total_queued_bytes\)"):
            calls += [greedy.call(event("x" * MIB), soon()) for _ in range(2)]
        calls += [modest.call(event("x" * (MIB // 4)), soon()) for _ in range(3)]
        for call in calls:
            call.cancel()


@pytest.mark.parametrize(("overflow", "kept"), [("drop_oldest", [2, 3]), ("drop_newest", [0, 1])])
async def test_notifications_that_wait_are_dropped_by_their_bytes(
    overflow: str, kept: list[int]
) -> None:
    async with open_native(window=1, max_queued_bytes=1000) as (lane, peer, _):
        call = lane.call(event(), soon())
        for number in range(4):
            lane.tell(event([number, "x" * 400]), overflow)
        assert lane.dropped == 2
        assert (await peer.read())["id"] == 1
        await peer.answer(ok(1))
        assert [(await peer.read())["payload"][0] for _ in kept] == kept
        await call
        assert lane.queued_bytes == 0


@BOTH
@pytest.mark.parametrize("whose", ["own", "total"])
async def test_room_in_bytes_is_announced(native: bool, whose: str) -> None:
    total = ByteBudget(3 * MIB)
    limit = {"own": MIB, "total": 1 << 30}[whose]
    async with (
        open_one(native=native, total=total, max_queued_bytes=limit) as (lane, peer, _),
        open_one(native=native, total=total) as (other, _, other_owner),
    ):
        calls = [lane.call(event("x" * 900_000), soon())]
        if whose == "total":
            calls += [other.call(event("x" * 2_000_000), soon())]
        with pytest.raises(PluginOverloadedError):
            lane.tell(event("x" * 900_000))
        room = lane.room(event("x" * 900_000))
        await asyncio.sleep(0.01)
        assert not room.done()
        if whose == "own":
            await peer.read()
            await peer.answer(ok(1))
        else:
            other.abort()
            await other_owner.end()
        async with asyncio.timeout(10):
            await room
        for call in calls:
            call.cancel()


async def test_calls_of_the_peer_share_the_bytes() -> None:
    async with open_native(max_queued_bytes=1000) as (lane, _, _):
        lane.charge_call(600)
        with pytest.raises(PluginOverloadedError, match="max_queued_bytes"):
            lane.charge_call(600)
        with pytest.raises(PluginOverloadedError, match="max_queued_bytes"):
            lane.call(event("x" * 600), soon())
        lane.release_call(600)
        lane.charge_call(600)


# --- time -------------------------------------------------------------------------------------


class SlowOwner(NativeOwner):
    """Holds the loop at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[float] = []

    def called(self, payload: bytes) -> bool:
        super().called(payload)
        time.sleep(self.calls[-1]["params"]["seconds"])
        return True

    def held_loop(self, seconds: float) -> None:
        self.held.append(seconds)


async def test_a_read_that_holds_the_loop_is_told() -> None:
    owner = SlowOwner()
    async with open_lane(owner, native=True) as (_, peer, _):
        await peer.answer({"call": "x", "params": {"seconds": 0.0}})
        await until(lambda: len(owner.calls) == 1)
        assert owner.held == []
        await peer.answer({"call": "x", "params": {"seconds": 0.12, "more": "x" * 5000}})
        await until(lambda: owner.held)
        assert 0.12 <= owner.held[0] < 5


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_what_plugins_publish_fills_a_quarter_of_a_queue(overflow: str) -> None:
    async with open_one(native=True, window=1, max_notified=16) as (lane, peer, _):
        asked = lane.request(NAME, 1, 10.0, 1)  # fills the window
        told = [lane.tell(event("x"), overflow, 0, True) for _ in range(10)]
        assert told == [True] * 4 + [False] * 6
        assert lane.dropped == 6
        # The application's own still find room, and displace nothing of theirs.
        assert all(lane.tell(event("x"), overflow) for _ in range(12))
        assert lane.dropped == 6
        await peer.answer(ok(1))
        await asked


async def test_a_publisher_that_may_wait_is_not_dropped() -> None:
    async with open_one(native=True, window=1, max_notified=4) as (lane, peer, _):
        asked = lane.request(NAME, 1, 10.0, 1)
        assert all(lane.tell(event("x"), "block", 0, True) for _ in range(4))
        with pytest.raises(PluginOverloadedError):
            lane.tell(event("x"), "block", 0, True)
        await peer.answer(ok(1))
        await asked
