"""Who may start now, and whose turn is next."""

from __future__ import annotations

import asyncio
import random

import pytest

from vconnect.supervision import start_slots
from vconnect.supervision.start_slots import StartSlots

pytestmark = pytest.mark.usefixtures("without_end")


@pytest.fixture
def without_end(monkeypatch):
    """Slots are held until they are released, so that no loop is needed."""
    monkeypatch.setattr(start_slots, "_HOLD_S", None)


class Queue:
    """Slots, their claims by number, and who was woken."""

    def __init__(self, slots: int, claims: int) -> None:
        made = StartSlots(slots)
        self.woken: list[int] = []
        self.claims = [made.slot(str(n), lambda n=n: self.woken.append(n)) for n in range(claims)]

    def tries(self, *numbers: int, is_urgent: bool = True) -> list[bool]:
        return [self.claims[number].try_acquire(is_urgent=is_urgent) for number in numbers]


def test_no_more_than_there_are_slots():
    assert Queue(2, 4).tries(0, 1, 2, 3) == [True, True, False, False]


def test_holding_one_counts_once():
    queue = Queue(2, 3)
    assert queue.tries(0, 0, 0, 1, 2) == [True, True, True, True, False]
    queue.claims[0].release()
    queue.claims[0].release()
    assert queue.tries(2, 0) == [True, False]


def test_each_release_wakes_one_in_the_order_of_the_queue():
    queue = Queue(1, 3)
    queue.tries(0, 2, 1)
    queue.claims[0].release()
    assert queue.woken == [2]
    assert queue.tries(2) == [True]
    queue.claims[2].release()
    assert queue.woken == [2, 1]


def test_who_tries_twice_keeps_its_place():
    queue = Queue(1, 3)
    queue.tries(0, 1, 2, 1)
    queue.claims[0].release()
    assert queue.woken == [1]


def test_who_leaves_is_passed_over():
    queue = Queue(1, 3)
    queue.tries(0, 1, 2)
    queue.claims[1].leave_queue()
    assert queue.woken == []
    queue.claims[0].release()
    assert queue.woken == [2]


def test_a_turn_that_is_not_taken_is_the_next_ones():
    queue = Queue(1, 3)
    queue.tries(0, 1, 2)
    queue.claims[0].release()
    queue.claims[1].leave_queue()
    assert queue.woken == [1, 2]
    assert queue.tries(2) == [True]


def test_who_holds_none_has_none_to_give():
    queue = Queue(1, 3)
    queue.tries(0)
    for number in (1, 2):
        queue.claims[number].release()
        queue.claims[number].leave_queue()
    assert queue.tries(1) == [False]


def test_a_slot_is_kept_for_whom_it_woke():
    queue = Queue(1, 3)
    queue.tries(0, 1)
    queue.claims[0].release()
    assert queue.tries(2, 1) == [False, True]


def test_urgent_starts_come_before_others_and_their_wait_moves_up():
    queue = Queue(1, 5)
    queue.tries(0)
    queue.tries(1, 2, 3, is_urgent=False)
    queue.tries(4, 3)
    for number in (0, 4, 3, 1):
        queue.claims[number].release()
        queue.tries(*queue.woken[-1:])
    assert queue.woken == [4, 3, 1, 2]


def test_an_urgent_start_does_not_wait_behind_those_that_are_not():
    queue = Queue(2, 4)
    queue.tries(0, 1)
    queue.tries(2, is_urgent=False)
    queue.claims[0].release()
    assert queue.woken == [2]
    queue.claims[1].release()
    assert queue.tries(3) == [True]


def test_builds_have_slots_of_their_own():
    made = StartSlots(1)
    builds = [made.slot(name, lambda: None, is_build=True) for name in "ab"]
    installed = made.slot("c", lambda: None)
    assert [one.try_acquire() for one in (*builds, installed)] == [True, False, True]


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "0"), (3, "0, 1, 2"), (5, "0, 1, 2 and 2 more")],
)
def test_the_reason_names_who_is_waited_for(count, words):
    queue = Queue(count, count + 1)
    queue.tries(*range(count + 1))
    assert queue.claims[count].waits_for() == f"waits for {words}"


async def test_an_installed_plugin_holds_its_slot_for_a_while_only(monkeypatch):
    monkeypatch.setattr(start_slots, "_HOLD_S", 0.02)
    made, woken = StartSlots(1), asyncio.Event()
    slow, next_one = made.slot("slow", lambda: None), made.slot("next", woken.set)
    assert slow.try_acquire()
    assert not next_one.try_acquire()
    async with asyncio.timeout(10):
        await woken.wait()
    assert next_one.try_acquire()
    slow.release()  # as its handshake does later; it gives back nothing of the other's
    assert not slow.try_acquire()
    next_one.release()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_none_is_lost_and_everyone_gets_one(seed):
    chosen, queue, held = random.Random(seed), Queue(3, 8), set()
    for _ in range(400):
        number = queue.woken.pop(0) if queue.woken else chosen.randrange(8)
        if number in held and chosen.random() < 0.5:
            queue.claims[number].release()
            held.discard(number)
        elif number not in held and chosen.random() < 0.2:
            queue.claims[number].leave_queue()
        elif queue.claims[number].try_acquire(is_urgent=chosen.random() < 0.5):
            held.add(number)
        assert len(held) <= 3
    for number in range(8):
        queue.claims[number].leave_queue()
        queue.claims[number].release()
    for number in range(8):
        assert queue.claims[number].try_acquire()
        queue.claims[number].release()
