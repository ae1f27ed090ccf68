"""What runs on behalf of a plugin's call knows so, until the call is over."""

from __future__ import annotations

import asyncio
import math

from vconnect.dispatch.origin import Origin


class Counter:
    serving = 0


async def current() -> Origin | None:
    await asyncio.sleep(0)
    return Origin.current()


async def test_code_and_tasks_of_the_block_inherit_it() -> None:
    counter = Counter()
    origin = Origin(counter)
    assert (origin.hops, origin.until, counter.serving) == (0, math.inf, 1)
    assert Origin.current() is None
    with origin.inherited():
        assert Origin.current() is origin
        task = asyncio.create_task(current())
    assert Origin.current() is None
    assert await task is origin


async def test_what_is_left_running_inherits_nothing() -> None:
    counter = Counter()
    origin = Origin(counter)
    with origin.inherited():
        task = asyncio.create_task(current())
    origin.end()
    origin.end()
    assert counter.serving == 0
    assert await task is None


async def test_the_innermost_call_counts() -> None:
    outer, inner = Origin(Counter()), Origin(Counter())
    with outer.inherited():
        with inner.inherited():
            assert Origin.current() is inner
        assert Origin.current() is outer
