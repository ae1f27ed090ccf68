"""Orders that overtake each other, and what those who wait are told."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.stage import Stage
from tests.support.wire_kit import until

from vconnect.plugins.status import PluginStatus, Substate
from vconnect.supervision.orders import Order


@pytest.mark.parametrize("later", ["start", "restart"])
async def test_a_stop_that_is_overtaken_returns_and_says_so(stage: Stage, later: str) -> None:
    await stage.up()
    stop = asyncio.create_task(stage.one.stop())
    order = asyncio.create_task(getattr(stage.one, later)())
    async with asyncio.timeout(10):
        assert await stop is False
    if later == "restart":
        await stage.starts(2)
        stage.shake()
    async with asyncio.timeout(10):
        await order
    assert stage.plugin.status is PluginStatus.RUNNING
    assert stage.plugin.desired == "running"


async def test_a_stop_that_is_carried_out_says_so_even_if_a_start_follows(stage: Stage) -> None:
    await stage.up()
    assert await stage.one.stop() is True
    assert await stage.one.stop() is True  # there is nothing to stop
    await stage.up()


@pytest.mark.parametrize("how", ["condemned", "crashed"])
async def test_a_start_does_not_take_a_process_that_ends_for_a_running_one(
    stage: Stage, how: str
) -> None:
    await stage.up()
    if how == "condemned":
        stage.one.condemn(Substate.WATCHDOG, "hangs")
    else:
        stage.launcher.last.die(3)
    starting = asyncio.create_task(stage.one.start())
    await stage.starts(2)
    assert not starting.done()
    stage.shake()
    async with asyncio.timeout(10):
        await starting


async def test_a_start_of_the_host_is_not_urgent_and_an_operators_is(stage: Stage) -> None:
    orders = stage.one._orders
    starting = asyncio.create_task(stage.one.start(is_urgent=False))
    await asyncio.sleep(0)
    assert not orders.is_urgent
    restart = asyncio.create_task(stage.one.restart())
    await asyncio.sleep(0)
    assert orders.is_urgent
    await until(lambda: orders.pending is Order.NONE)
    await stage.starts(1)
    stage.shake()
    await asyncio.gather(starting, restart)


async def test_an_operators_start_clears_what_was_before(stage: Stage) -> None:
    before = stage.plugin.forgotten_at
    await stage.up()
    assert stage.plugin.forgotten_at > before


@pytest.mark.parametrize("by_itself", [False, True])
async def test_a_stop_ends_even_if_a_process_cannot_be_killed(stages, by_itself: bool) -> None:
    stage = stages(restart="always")
    await stage.up()
    stage.launcher.last.left = "PID 7 (root, tcpdump) cannot be ended: operation not permitted"
    if by_itself:
        stage.launcher.last.die(1)
        await stage.rests(PluginStatus.ERROR, Substate.KILLING)
        assert stage.plugin.restarts.due_at is not None
    async with asyncio.timeout(10):
        await stage.one.stop()
    assert (stage.plugin.status, stage.plugin.substate) == (PluginStatus.ERROR, Substate.KILLING)
    assert "PID 7 (root, tcpdump)" in stage.plugin.reason
    assert stage.plugin.restarts.due_at is None
    await stage.up()
    assert stage.plugin.status is PluginStatus.RUNNING
