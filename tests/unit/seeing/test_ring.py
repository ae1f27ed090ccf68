"""The shared ring of the stream."""

from __future__ import annotations

import asyncio

from vconnect.seeing.ring import Ring


async def test_a_cursor_gets_what_came_after_it():
    ring = Ring()
    for number in range(5):
        ring.add("t", "k", b"%d" % number)
    assert [one.data for one in ring.after(3)] == [b"3", b"4"]
    assert ring.after(5) == []
    assert (ring.has(0), ring.has(5), ring.has(6)) == (True, True, False)


async def test_it_is_limited_by_number_and_by_bytes():
    ring = Ring(max_entries=3, max_bytes=10)
    for _ in range(9):
        ring.add("t", "k", b"x")
    assert len(ring.after(0)) == 3
    assert not ring.has(5)
    ring.add("t", "k", b"x" * 9)
    assert [len(one.data) for one in ring.after(0)] == [1, 9]
    ring.add("t", "k", b"x" * 99)
    assert [len(one.data) for one in ring.after(0)] == [99]


async def test_who_waits_is_woken_or_told_that_nothing_came():
    ring = Ring()
    waiting = [asyncio.create_task(ring.wait(0, 5.0)) for _ in range(3)]
    await asyncio.sleep(0)
    ring.add("t", "k", b"")
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await ring.wait(0, 5.0)
    assert not await ring.wait(1, 0.01)
