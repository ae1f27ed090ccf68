"""What both lanes are tested with: calls of a model that end as the lane says, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.wire_kit import Owner, open_lane

from vconnect.errors import PluginTimeoutError, PluginUnavailableError

WINDOW = 4


class LaneModel(RuleBasedStateMachine):
    """A lane, its peer, and the calls in between; a subclass adds how they ask and answer."""

    def __init__(self, owner: Owner | None, *, max_queued: int, **settings: Any) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.max_queued = max_queued
        self.opened = open_lane(
            owner,
            window=WINDOW,
            max_queued=max_queued,
            max_abandoned=1000,
            stuck_after=60.0,
            **settings,
        )
        self.lane, self.peer, self.owner = self.run(self.opened.__aenter__())
        self.calls: dict[int, asyncio.Future[Any]] = {}
        self.expired: set[int] = set()
        self.cancelled: set[int] = set()
        self.asked = 0
        self.is_open = True

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def may_wait(self, number: int) -> bool:
        """Tell whether this call may still be without an answer."""
        raise NotImplementedError

    def is_answer_of(self, number: int, answer: Any) -> bool:
        """Tell whether this is the answer that the peer has sent to this call."""
        raise NotImplementedError

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
                assert self.may_wait(number)
            elif call.cancelled():
                assert number in self.cancelled
            elif (error := call.exception()) is None:
                assert self.is_answer_of(number, call.result())
            elif isinstance(error, PluginTimeoutError):
                assert number in self.expired
            else:
                assert isinstance(error, PluginUnavailableError)
                assert not self.is_open

    @invariant()
    def bounds_hold(self):
        assert self.lane.in_flight <= WINDOW
        assert self.lane.queued <= self.max_queued
        assert self.lane.queued_bytes >= 0
        if not (self.lane.in_flight or self.lane.queued):
            assert self.lane.queued_bytes == 0

    def teardown(self):
        self.run(self.opened.__aexit__(None, None, None))
        for call in self.calls.values():
            call.cancelled() or call.exception()  # heard of: the end failed the rest of them
        self.runner.close()
