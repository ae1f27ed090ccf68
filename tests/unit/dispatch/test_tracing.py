"""Watching events costs nothing while nobody does, and little while somebody does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from tests.support.lab import Lab

from vconnect.errors import PluginError


async def test_the_dispatchers_methods_are_covered_only_while_somebody_watches(lab: Lab) -> None:
    lab.plugin("a", "serve(capabilities=['e'])")
    async with lab.manager() as manager:
        await manager.start_all()
        assert "emit" not in vars(manager._dispatcher)
        seen: list[Any] = []
        leave = manager.traces.watch(seen.append)
        await manager.emit("e", {})
        await manager.broadcast("e", {})
        await manager.request("a", "e", {})
        await manager.request_result("a", "e", {})
        manager.notify("e", {})
        leave()
        assert "emit" not in vars(manager._dispatcher)
        await manager.emit("e", {})
    assert [one.mode for one in seen] == ["chain", "broadcast", "request", "request", "notify"]
    assert {one.outcome for one in seen} == {"passed"}


async def test_of_very_many_only_some_are_traced_but_failures_always(lab: Lab) -> None:
    lab.plugin("a", "serve(capabilities=['e'])")
    async with lab.manager() as manager:
        await manager.start_all()
        seen: list[Any] = []
        leave = manager.traces.watch(seen.append)
        for _ in range(500):
            await manager.request("a", "e", {})
        ordinary = len(seen)
        await manager.stop_plugin("a")
        with suppress(PluginError):
            await manager.request("a", "e", {})
        leave()
    assert 20 <= ordinary < 450
    assert seen[-1].outcome == "failed"
    assert seen[-1].hops[0].outcome == "passed_over"


async def test_what_is_slow_is_traced_although_there_are_very_many(lab: Lab) -> None:
    code = "serve(lambda event: time.sleep(event['payload']) or {'status': 'ok'})"
    lab.plugin("a", code)
    async with lab.manager(slow_ms=20) as manager:
        await manager.start_all()
        seen: list[Any] = []
        leave = manager.traces.watch(seen.append)
        for _ in range(30):
            await manager.request("a", "e", 0)
        await manager.request("a", "e", 0.05)
        await asyncio.sleep(0.25)
        leave()
    assert any(one.duration_s >= 0.05 for one in seen)
