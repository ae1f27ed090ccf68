"""Orders are taken by any name, and kept for the next host."""

from __future__ import annotations

import pytest
from tests.support.lab import ECHO, Lab

from vconnect.errors import ConflictError, NotOpenError, UnknownPluginError
from vconnect.plugins.status import PluginStatus


async def test_a_stop_outlives_the_host_and_a_disabled_plugin_is_not_started(lab: Lab) -> None:
    lab.plugin("one", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert await runtime.stop_plugin("wk.plugin.one")
        await runtime.disable_plugin("one")
        with pytest.raises(ConflictError, match="vconnect enable one"):
            await runtime.start_plugin("one")
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("one").reason == "disabled by the operator"
        assert runtime.is_disabled("one")
        await runtime.enable_plugin("one")
        assert runtime.summary("one").status is PluginStatus.RUNNING


async def test_an_order_needs_an_open_host_and_a_known_plugin(lab: Lab) -> None:
    lab.plugin("one", ECHO)
    async with lab.manager() as runtime:
        with pytest.raises(UnknownPluginError):
            await runtime.start_plugin("none")
    with pytest.raises(NotOpenError):
        await runtime.stop_all()
