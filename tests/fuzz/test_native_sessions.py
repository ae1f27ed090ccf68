"""The lane by number against a model, and whole sessions against garbage."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from tests.support.lane_machine import LaneModel
from tests.support.wire_kit import Owner, soon

from vconnect import PluginRuntimeManager
from vconnect.dispatch.host_calls import HostCall
from vconnect.errors import PluginError, PluginOverloadedError
from vconnect.packages.manifest import Manifest
from vconnect.supervision import reconnects
from vconnect.wire import server
from vconnect.wire.messages import encode_event

QUEUE, TOLD = 6, 3


class NativeOwner(Owner):
    def __init__(self) -> None:
        super().__init__()
        self.given_up: list[int] = []
        self.calls: list[Any] = []

    def abandoned(self, number: int) -> None:
        self.given_up.append(number)

    def called(self, payload: bytes) -> bool:
        message = self.stream.read_call(payload)
        if message is not None:
            self.calls.append(message)
        return True


class NativeLaneMachine(LaneModel):
    """A lane and a peer that reads at once, but replies in any order, late, twice or never."""

    def __init__(self) -> None:
        super().__init__(NativeOwner(), native=True, max_queued=QUEUE, max_notified=TOLD)
        self.unreplied: dict[int, int] = {}  # id: n, of what the peer has read
        self.ids: set[int] = set()
        self.told_seen: list[int] = []

    @precondition(lambda self: self.is_open)
    @rule(how=st.sampled_from(["call", "call", "call", "expired", "block", "newest", "oldest"]))
    def send(self, how):
        async def run() -> None:
            number = self.asked
            message = encode_event("e", number, 1 << 20)
            try:
                if how in ("call", "expired"):
                    deadline = soon(-1 if how == "expired" else 60)
                    self.calls[number] = self.lane.call(message, deadline)
                else:
                    overflow = how if how == "block" else f"drop_{how}"
                    dropped = self.lane.dropped
                    sent = self.lane.tell(message, overflow)
                    # Where calls alone fill the queue, the oldest has nothing to displace either.
                    assert sent or (how != "block" and self.lane.dropped == dropped + 1)
                    assert how == "oldest" or sent == (self.lane.dropped == dropped)
            except PluginOverloadedError:
                assert how not in ("newest", "oldest")
                assert self.lane.queued >= min(QUEUE, TOLD)
                return
            self.asked += 1
            if how == "expired":
                self.expired.add(number)

        self.run(run())

    @precondition(lambda self: self.is_open)
    @rule(order=st.lists(st.integers(0, 1000), max_size=12))
    def reply(self, order):
        async def run() -> None:
            await self.read()
            if not self.unreplied:
                return
            left = sorted(self.unreplied)
            ids = [left.pop(place % len(left)) for place in order[: len(left)]]
            before = self.lane.answered
            await self.peer.answer(
                *({"id": i, "status": "ok", "data": self.unreplied.pop(i)} for i in ids)
            )
            async with asyncio.timeout(10):
                while self.lane.answered < before + len(ids):
                    await asyncio.sleep(0)
            await self.read()

        self.run(run())

    @precondition(lambda self: self.is_open)
    @rule(number=st.integers(0, 200), call=st.booleans())
    def say_what_belongs_to_nothing(self, number, call):
        async def run() -> None:
            await self.read()
            if number in self.unreplied:
                return
            unasked, calls = self.lane.unasked, len(self.owner.calls)
            what = {"call": "x"} if call else {"status": "ok"}
            await self.peer.answer({"id": number, **what})
            async with asyncio.timeout(10):
                while (self.lane.unasked, len(self.owner.calls)) == (unasked, calls):
                    await asyncio.sleep(0)

        self.run(run())

    async def read(self) -> None:
        """Read all that the lane has in flight, and what was told before it."""
        while len(self.unreplied) < self.lane.in_flight:
            message = await self.peer.read()
            if "id" in message:
                assert message["id"] not in self.ids
                self.ids.add(message["id"])
                self.unreplied[message["id"]] = message["payload"]
            else:
                self.told_seen.append(message["payload"])

    def may_wait(self, number):
        return True  # a reply may be dropped that came too late

    def is_answer_of(self, number, answer):
        return answer["data"] == number

    @invariant()
    def order_is_kept_and_nobody_is_told_twice(self):
        assert self.told_seen == sorted(set(self.told_seen))
        assert len(self.owner.given_up) == len(set(self.owner.given_up))


TestNativeLane = NativeLaneMachine.TestCase
TestNativeLane.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# --- whole sessions --------------------------------------------------------------------------


def peak_kib() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def nested(rng: random.Random, depth: int) -> Any:
    value: Any = rng.choice(
        [None, True, 1, -1, 1.5, 2**63, "x", "\x7f" * 300, "vconnect.ping", "DEEP"]
    )
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {rng.choice(["a", "id", "status"]): value}
    return value


def frame_of(message: Any) -> bytes:
    data = json.dumps(message).encode().replace(b'"DEEP"', DEEP)
    return len(data).to_bytes(4, "big") + data


DEEP = b"[" * 1000 + b"]" * 1000  # the parser takes it; json.dumps() and repr() do not
KEYS = [
    *("id", "status", "call", "params", "event", "payload", "code", "message", "flow", "data"),
    *("hops", "deadline_ms"),
]
CALLS = [
    *("log", "event.publish", "event.subscribe", "event.unsubscribe", "plugin.call", "app.call"),
    "no.such",
]
PARAMS = [
    *("level", "message", "fields", "event", "payload", "events", "plugin", "method", "params"),
    "deadline_ms",
]


def any_frame(rng: random.Random) -> bytes:
    """A frame as a plugin may send it: right, almost right, or nothing like it."""
    kind = rng.random()
    number = rng.choice([rng.randrange(1, 40), rng.randrange(1, 40), 0, -1, 1.5, "1", None, [1]])
    if kind < 0.35:
        params = {
            key: rng.choice(["e", "guest", "info", ["e"], nested(rng, rng.choice([0, 2]))])
            for key in rng.sample(PARAMS, rng.randrange(5))
        }
        message = {
            "call": rng.choice(CALLS),
            "params": params,
            "hops": rng.choice([0, 1, 7, 8, -1]),
        }
        return frame_of(message | ({"id": number} if rng.random() < 0.8 else {}))
    if kind < 0.6:
        status = rng.choice(["ok", "ok", "error"])
        words = nested(rng, rng.choice([0, 2]))
        return frame_of({"id": rng.randrange(1, 9), "status": status, "message": words})
    if kind < 0.93:
        keys = rng.sample(KEYS, rng.randrange(1, 6))
        return frame_of({key: nested(rng, rng.choice([0, 0, 1, 3])) for key in keys})
    if kind < 0.97:
        return frame_of(nested(rng, rng.randrange(3)))
    return rng.randbytes(rng.randrange(1, 40))


@pytest.mark.both_loops
@pytest.mark.parametrize("versions", [[1], None])
async def test_whatever_a_plugin_sends_hurts_nobody_else(versions, monkeypatch):
    monkeypatch.setattr(reconnects, "MAX_CONNECTIONS", 10_000)
    monkeypatch.setattr(server, "_BURST_OF_ONE", 10_000)
    rng = random.Random(23)
    with tempfile.TemporaryDirectory(prefix="vc-", dir="/tmp") as directory:
        path = Path(directory).resolve() / "host.sock"
        options: dict[str, Any] = {"plugin_dir": Path(directory) / "p", "socket_path": path}
        async with PluginRuntimeManager(allow_external=True, max_calls=20, **options) as runtime:

            @runtime.host_call("app.call")
            async def called(call: HostCall) -> Any:
                await asyncio.sleep(0)
                return call.params

            before = 0
            for number in range(600):
                if number == 50:
                    before = peak_kib()  # what is needed once is there now
                await session(runtime, path, rng, versions)
            assert before
            assert peak_kib() - before < 32 * 1024
            # What it asked for is over as well.
            assert not runtime._calls._queues
            assert all(not known.hops_in_flight for known in runtime._registry)


async def session(
    runtime: PluginRuntimeManager, path: Path, rng: random.Random, versions: Any
) -> None:
    """One plugin's life: it shakes hands, sends what it likes, and is asked meanwhile."""
    reader, writer = await asyncio.open_unix_connection(path)
    shaken = {"plugin_no": "guest", "capabilities": ["*"], "protocol_versions": versions}
    writer.write(frame_of(shaken))
    size = int.from_bytes(await reader.readexactly(4), "big")
    assert json.loads(await reader.readexactly(size))["status"] == "ok"
    guest = runtime._registry.get("guest")
    guest.manifest = Manifest(name="guest", permissions=("*",))
    draining = asyncio.create_task(reader.read(-1))
    calls = []
    for _ in range(rng.randrange(1, 12)):
        what = rng.random()
        if what < 0.3:
            calls.append(asyncio.create_task(runtime.emit("e", {"n": 1}, timeout=0.05)))
        elif what < 0.5:
            calls.append(asyncio.create_task(runtime.broadcast("e", [1], timeout=0.05)))
        elif what < 0.7:
            calls.append(asyncio.create_task(runtime.request("guest", "e", 1, timeout=0.05)))
        runtime.notify("e", "told")
        data = b"".join(any_frame(rng) for _ in range(rng.randrange(1, 6)))
        cut = rng.randrange(len(data) + 1)
        for part in (data[:cut], data[cut:]):
            if not writer.is_closing():  # else it has said enough
                writer.write(part)
            await asyncio.sleep(0)
        if calls and rng.random() < 0.2:
            rng.choice(calls).cancel()
    writer.close()
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert not isinstance(result, Exception) or isinstance(result, PluginError), result
    await asyncio.gather(draining, return_exceptions=True)
    async with asyncio.timeout(10):
        while guest.session is not None:
            await asyncio.sleep(0)
