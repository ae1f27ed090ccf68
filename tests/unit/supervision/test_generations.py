"""Which instance of a plugin does what."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.paper import instance

from vconnect.supervision.generations import Generations
from vconnect.supervision.instance import Instance


class Made:
    """Generations with a current instance and a successor, and what was told of them."""

    def __init__(self) -> None:
        self.left = 0
        self.gate = asyncio.Event()
        self.all = Generations("x", self.leave)
        self.old, self.new = instance(1), instance(2)
        self.all.current, self.all.successor = self.old, self.new

    def leave(self) -> None:
        self.left += 1

    async def end(self, old: Instance) -> None:
        assert old is self.old
        await self.gate.wait()


async def test_the_successor_takes_over_and_the_old_one_leaves():
    made = Made()
    assert made.all.present == [made.new, made.old]
    assert made.all.take_over(made.end) is made.old
    assert (made.all.current, made.all.successor) == (made.new, None)
    assert made.all.all == [made.new, made.old]
    assert made.all.is_leaving(made.old)
    assert not made.all.is_leaving(made.new)
    assert not made.all.is_leaving(None)
    waiting = asyncio.create_task(made.all.wait_until_left())
    await asyncio.sleep(0)
    assert not waiting.done()
    made.gate.set()
    await waiting
    assert (made.left, made.all.are_leaving, made.all.all) == (1, False, [made.new])


async def test_one_that_is_being_cleared_away_does_not_leave_twice():
    made = Made()
    made.old.is_ending = True
    made.all.take_over(made.end)
    assert not made.all.are_leaving
    await made.all.wait_until_left()
    assert made.left == 0


async def test_one_that_cannot_leave_is_forgotten_all_the_same():
    made = Made()

    async def fail(_: Instance) -> None:
        raise OSError("broken")

    made.all.take_over(fail)
    (task,) = made.all._leaving.values()
    await asyncio.wait([task])
    assert isinstance(task.exception(), OSError)
    assert (made.left, made.all.are_leaving) == (1, False)


@pytest.mark.parametrize("has_one", [True, False])
async def test_without_a_predecessor_a_successor_becomes_current(has_one):
    made = Made()
    made.all.current = None
    if not has_one:
        made.all.successor = None
    assert made.all.adopt_successor() is (made.new if has_one else None)
    assert made.all.present == ([made.new] if has_one else [])
    assert made.all.adopt_successor() is None
