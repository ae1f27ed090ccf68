"""Changes of one plugin come one after the other, and of others beside them."""

from __future__ import annotations

import gc

from vconnect.operations.turns import Turns


async def test_each_plugin_has_its_own_turn() -> None:
    turns = Turns()
    async with turns.of("a"):
        assert turns.of("a").locked()
        assert not turns.of("b").locked()
    assert not turns.of("a").locked()
    gc.collect()
    assert len(turns._locks) == 0
