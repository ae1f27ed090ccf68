"""The lane against a model: every answer reaches its own call or nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vconnect.errors import PluginOverloadedError, PluginTimeoutError, PluginUnavailableError
from wire_kit import frame, open_lane, soon

WINDOW, QUEUE = 4, 5


class LaneMachine(RuleBasedStateMachine):
    """A lane and a peer that reads at once, but answers only when a rule says so."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = open_lane(
            window=WINDOW, max_queued=QUEUE, max_abandoned=1000, stuck_after=60.0
        )
        self.lane, self.peer, self.owner = self.run(self.opened.__aenter__())
        self.calls: dict[int, asyncio.Future[Any]] = {}
        self.expired: set[int] = set()
        self.cancelled: set[int] = set()
        self.answered: set[int] = set()
        self.unanswered: deque[int] = deque()  # read by the peer, in order
        self.asked = 0
        self.is_open = True

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    @precondition(lambda self: self.is_open)
    @rule(how=st.sampled_from(["call", "call", "call", "tell", "expired"]))
    def send(self, how):
        async def run() -> None:
            number = self.asked
            full = self.lane.queued >= QUEUE
            try:
                if how == "tell":
                    self.lane.tell(frame({"n": number}))
                else:
                    deadline = soon(-1 if how == "expired" else 60)
                    self.calls[number] = self.lane.call(frame({"n": number}), deadline)
            except PluginOverloadedError:
                assert full
                return
            assert not full
            self.asked += 1
            if how == "expired":
                self.expired.add(number)

        self.run(run())

    @precondition(lambda self: self.is_open)
    @rule(count=st.integers(1, 6))
    def answer(self, count):
        async def run() -> None:
            await self.read()
            numbers = [self.unanswered.popleft() for _ in range(min(count, len(self.unanswered)))]
            before = self.lane.answered
            await self.peer.answer(*({"n": number} for number in numbers))
            self.answered |= set(numbers)
            async with asyncio.timeout(10):
                while self.lane.answered < before + len(numbers):
                    await asyncio.sleep(0)
            await self.read()

        self.run(run())

    async def read(self) -> None:
        """Read all that the lane has in flight."""
        while len(self.unanswered) < self.lane.in_flight:
            number = (await self.peer.read())["n"]
            assert not self.unanswered or number > self.unanswered[-1]
            self.unanswered.append(number)

    @rule(which=st.integers(0, 1000))
    def cancel(self, which):
        # Chosen by place: what is pending may differ from run to run, what is drawn may not.
        pending = sorted(n for n, call in self.calls.items() if not call.done())
        if pending:
            number = pending[which % len(pending)]

            async def run() -> None:
                self.calls[number].cancel()

            self.cancelled.add(number)
            self.run(run())

    @precondition(lambda self: self.is_open)
    @rule()
    def sweep(self):
        async def run() -> None:
            self.lane.sweep()

        self.run(run())

    @precondition(lambda self: self.is_open and self.asked > 3)
    @rule(how=st.sampled_from(["peer", "close", "abort"]))
    def disconnect(self, how):
        async def run() -> None:
            if how == "peer":
                self.peer.close()
            else:
                getattr(self.lane, how)()
            await self.owner.end()

        self.run(run())
        self.is_open = False
        assert all(call.done() for call in self.calls.values())

    @invariant()
    def each_call_has_its_own_answer_or_none(self):
        for number, call in self.calls.items():
            if not call.done():
                assert self.is_open
                assert number not in self.answered
            elif call.cancelled():
                assert number in self.cancelled
            elif (error := call.exception()) is None:
                assert call.result() == {"n": number}
                assert number in self.answered
            elif isinstance(error, PluginTimeoutError):
                assert number in self.expired
            else:
                assert isinstance(error, PluginUnavailableError)
                assert not self.is_open

    @invariant()
    def bounds_hold(self):
        assert self.lane.in_flight <= WINDOW
        assert self.lane.queued <= QUEUE

    def teardown(self):
        self.run(self.opened.__aexit__(None, None, None))
        for call in self.calls.values():
            call.cancelled() or call.exception()  # heard of: the end failed the rest of them
        self.runner.close()


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
