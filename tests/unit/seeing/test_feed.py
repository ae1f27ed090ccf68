"""News in the ring while somebody follows; ``admin/test_stream`` has the whole way."""

from __future__ import annotations

import asyncio
import json

from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing.feed import Feed
from vconnect.seeing.happenings import Happenings
from vconnect.seeing.overview import Overview
from vconnect.seeing.trace import Traces


def feeding():
    registry = Registry()
    registry.add(PluginRuntime("a", None))
    switched: list[bool] = []
    traces = Traces(lambda: 0.1, switched.append)
    return registry, Feed(registry, Overview(registry, lambda: 0.1), traces), switched


async def test_nothing_happens_while_nobody_follows():
    _, feed, _ = feeding()
    happenings = Happenings()
    happenings.on_happening = feed.happened
    happenings.add("a", "info", "something")
    assert feed.ring.last == 0
    leave = feed.follow(["host"])
    happenings.add("a", "info", "something")
    assert feed.ring.last == 1
    leave()
    await asyncio.sleep(0)
    assert feed.followers == 0
    await feed.close()


async def test_a_state_that_changes_often_is_told_once():
    registry, feed, _ = feeding()
    leave = feed.follow(["plugins"])
    plugin = registry.get("a")
    plugin.move(PluginStatus.STARTING, Substate.SPAWNED)
    plugin.move(PluginStatus.ERROR, Substate.EXITED, "exited: code 1")
    await asyncio.sleep(0.25)
    (entry,) = feed.ring.after(0)
    assert json.loads(entry.data)["status"] == "Error"
    registry.remove(plugin)
    await asyncio.sleep(0.15)
    assert [one.kind for one in feed.ring.after(0)] == ["plugin", "gone"]
    leave()
    await feed.close()


async def test_traces_are_made_only_for_those_who_want_them():
    _, feed, switched = feeding()
    first, second = feed.follow(["plugins"]), feed.follow(["trace"])
    first()
    assert switched == [True]
    second()
    assert switched == [True, False]
    await feed.close()
