"""A plugin that is as nasty as the wire allows, in each sandbox, beside a good one under load.

A few seconds in the test suite; ``make attack SECONDS=60`` for any length. What it costs the good
one in time is measured by ``python -m benchmarks.attacks --nasty``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest
from benchmarks.attacks import LEVELS, NASTY, Watch, put_attacker, sandboxes
from tests.support.lab import PLUGINS, Lab
from tests.support.sandboxes import needs_bwrap

from vconnect import PluginRuntimeManager

SECONDS = float(os.environ.get("VCONNECT_ATTACK_S", "4"))
CALLERS = 16
MAX_GROWTH_BYTES = 64 * 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")


async def ask(runtime: PluginRuntimeManager, plugin: str, ends: float) -> int:
    """Send one request after another, and return how many were answered: all of them."""
    count = 0
    while time.monotonic() < ends:
        assert await runtime.request(plugin, "e", count, timeout=5.0) == {"echo": count}
        count += 1
    return count


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize(
    "level",
    [pytest.param(level, marks=needs_bwrap if level == "bwrap" else []) for level in LEVELS],
)
async def test_the_others_are_served_and_the_memory_is_bounded(lab: Lab, level: str) -> None:
    if level not in sandboxes():
        pytest.skip(f"{level} is not available here")
    lab.plugin("good", "serve()")
    lab.plugin("late", "serve()")
    put_attacker(lab.plugins, NASTY)
    options = {"sandbox": level, "sandbox_read": [str(PLUGINS)], "restart": "on-failure"}
    async with lab.manager(**options) as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin("good")
        async with Watch() as watch:
            await runtime.start_plugin(NASTY)
            ends = time.monotonic() + SECONDS
            callers = [ask(runtime, "good", ends) for _ in range(CALLERS)]
            answered = sum(await asyncio.gather(*callers))
        assert answered > 100 * SECONDS
        assert watch.growth < MAX_GROWTH_BYTES
        nasty = runtime.summary(NASTY)
        # It may be on its way again just now.
        assert nasty.status in ("Running", "Starting") or nasty.reason, nasty
        # Whoever comes now is served as well, and the attacker can still be stopped.
        await runtime.start_plugin("late")
        assert await runtime.request("late", "e", 1) == {"echo": 1}
        await runtime.stop_plugin(NASTY)
        assert runtime.summary(NASTY).status == "Stopped"
