"""The stream's ring: bounded, numbered, shared."""

from __future__ import annotations

import asyncio

import pytest

from vconnect.seeing.ring import Ring


def numbers(ring: Ring, seq: int) -> list[int]:
    return [entry.seq for entry in ring.after(seq)]


def test_entries_are_numbered_over_all_topics() -> None:
    ring = Ring()
    for topic in ("plugins", "metrics", "plugins"):
        ring.add(topic, "x", b"{}")
    assert numbers(ring, 0) == [1, 2, 3]
    assert numbers(ring, 2) == [3]
    assert numbers(ring, 3) == numbers(ring, 9) == []


def test_it_is_bounded_by_number() -> None:
    ring = Ring(max_entries=3)
    for _ in range(10):
        ring.add("t", "x", b"{}")
    assert numbers(ring, 0) == [8, 9, 10]
    assert [ring.has(seq) for seq in (0, 6, 7, 10, 11)] == [False, False, True, True, False]


def test_it_is_bounded_by_bytes_and_keeps_at_least_one() -> None:
    ring = Ring(max_bytes=100)
    for _ in range(10):
        ring.add("t", "x", b"x" * 40)
    assert numbers(ring, 0) == [9, 10]
    ring.add("t", "x", b"x" * 1000)
    assert numbers(ring, 0) == [11]
    ring.add("t", "x", b"x")
    assert numbers(ring, 0) == [12]


def test_an_empty_ring_has_what_comes() -> None:
    ring = Ring()
    assert ring.has(0)
    assert not ring.has(1)
    assert not ring.has(-1)


async def test_who_waits_is_woken_and_who_waits_in_vain_is_told() -> None:
    ring = Ring()
    waiting = [asyncio.create_task(ring.wait(0, 10)) for _ in range(3)]
    await asyncio.sleep(0)
    ring.add("t", "x", b"{}")
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await ring.wait(0, 10) is True
    assert await ring.wait(1, 0.001) is False


async def test_no_entry_is_missed_between_two_waits() -> None:
    ring = Ring()
    seen: list[int] = []

    async def follow() -> None:
        seq = 0
        while seq < 200:
            assert await ring.wait(seq, 5)
            seen.extend(numbers(ring, seq))
            seq = ring.last

    following = asyncio.create_task(follow())
    for number in range(200):
        ring.add("t", "x", b"{}")
        if number % 3 == 0:
            await asyncio.sleep(0)
    await following
    assert seen == list(range(1, 201))


@pytest.mark.parametrize("seq", [-5, 0, 10**30])
def test_strange_numbers_do_no_harm(seq: int) -> None:
    ring = Ring()
    ring.add("t", "x", b"{}")
    assert numbers(ring, seq) in ([], [1])
