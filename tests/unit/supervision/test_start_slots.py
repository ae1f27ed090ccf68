"""Who may start now, and whose turn is next."""

from __future__ import annotations

import random

import pytest

from vconnect.supervision.start_slots import StartSlots


class Queue:
    """Slots, their claims by number, and who was woken."""

    def __init__(self, slots: int, claims: int) -> None:
        made = StartSlots(slots)
        self.woken: list[int] = []
        self.claims = [made.slot(lambda n=n: self.woken.append(n)) for n in range(claims)]

    def tries(self, *numbers: int) -> list[bool]:
        return [self.claims[number].try_acquire() for number in numbers]


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


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_none_is_lost_and_everyone_gets_one(seed):
    chosen, queue, held = random.Random(seed), Queue(3, 8), set()
    for _ in range(400):
        number = chosen.randrange(8)
        if number in held and chosen.random() < 0.5:
            queue.claims[number].release()
            held.discard(number)
        elif number not in held and chosen.random() < 0.2:
            queue.claims[number].leave_queue()
        elif queue.claims[number].try_acquire():
            held.add(number)
        assert len(held) <= 3
    for number in held:
        queue.claims[number].release()
    for number in range(8):
        assert queue.claims[number].try_acquire()
        queue.claims[number].release()
