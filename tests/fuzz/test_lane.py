"""The lane against a model: every answer reaches its own call or nobody."""

from __future__ import annotations

import asyncio
from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.support.lane_machine import LaneModel
from tests.support.wire_kit import frame, soon

from vconnect.errors import PluginOverloadedError

QUEUE = 5


class LaneMachine(LaneModel):
    """A lane and a peer that reads at once, but answers only when a rule says so."""

    def __init__(self) -> None:
        super().__init__(None, max_queued=QUEUE)
        self.answered: set[int] = set()
        self.unanswered: deque[int] = deque()  # read by the peer, in order

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

    def may_wait(self, number):
        return number not in self.answered

    def is_answer_of(self, number, answer):
        return number in self.answered and answer == {"n": number}


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
