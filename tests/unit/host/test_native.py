"""What only native plugins can be asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.paper import opened, plugin

from vconnect.errors import PluginReplyError, PluginUnavailableError, UnknownPluginError
from vconnect.host.native import NativeRequests
from vconnect.plugins.registry import Registry


def requests_to(*plugins: Any) -> NativeRequests:
    registry = Registry()
    for one in plugins:
        registry.add(one)
    return NativeRequests(registry)


async def test_a_ping_takes_as_long_as_its_answer():
    async with opened(native=True) as (session, peer, _):
        known = plugin()
        known.served_by(None, session)
        asked = asyncio.create_task(requests_to(known).ping("x", 5.0))
        event = await peer.read()
        assert event["event"] == "vconnect.ping"
        await asyncio.sleep(0.02)
        await peer.answer({"id": event["id"], "status": "ok"})
        assert 0.02 <= await asked < 5


@pytest.mark.parametrize("status", ["ok", "error"])
async def test_a_configuration_is_checked_before_it_is_given(status):
    async with opened(native=True) as (session, peer, _):
        known = plugin()
        known.served_by(None, session)
        update = asyncio.create_task(requests_to(known).ask_config(known, {"a": 1}, 5.0))
        check = await peer.read()
        assert (check["event"], check["payload"]) == (
            "vconnect.config.check",
            {"config": {"a": 1}},
        )
        reply = {"id": check["id"], "status": status, "code": "bad_request", "message": "no"}
        await peer.answer(reply if status == "error" else {"id": check["id"], "status": "ok"})
        if status == "error":
            with pytest.raises(PluginReplyError, match="no"):
                await update
            return
        given = await peer.read()
        assert given["event"] == "vconnect.config.update"
        await peer.answer({"id": given["id"], "status": "ok"})
        await update


async def test_a_classic_plugin_cannot_be_asked():
    async with opened() as (session, _, _):
        known = plugin()
        known.served_by(None, session)
        with pytest.raises(PluginUnavailableError, match="classic dialect"):
            await requests_to(known).ping("x", None)


async def test_nobody_cannot_be_asked():
    with pytest.raises(UnknownPluginError):
        await requests_to().ping("x", None)


async def test_one_that_is_not_connected_cannot_be_asked():
    with pytest.raises(PluginUnavailableError, match="not connected"):
        await requests_to(plugin()).ping("x", None)


async def test_an_open_circuit_and_a_default_answer_do_not_stand_in_between():
    async with opened(native=True) as (session, peer, _):
        known = plugin(breaker_failures=1)
        known.served_by(None, session)
        known.breaker.failed()
        asked = asyncio.create_task(requests_to(known).ping("x", 5.0))
        event = await peer.read()
        await peer.answer({"id": event["id"], "status": "ok"})
        await asked
        assert known.rows.sent == 0
