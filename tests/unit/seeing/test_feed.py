"""News for those who follow: nothing while nobody does, and no gap for those who come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.lab import until
from tests.support.paper import moved, plugin, unopened

from vconnect.logs.records import LogRecord
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.plugins.registry import Registry
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing import feed as module
from vconnect.seeing.feed import Feed
from vconnect.seeing.happenings import Happening
from vconnect.seeing.overview import Overview
from vconnect.seeing.trace import Traces


class Made:
    def __init__(self) -> None:
        self.registry = Registry()
        self.plugin = moved(plugin("a"), PluginStatus.STARTING)
        self.registry.add(self.plugin)
        self.overview = Overview(self.registry, lambda: 0.1)
        self.watched: list[bool] = []
        self.traces = Traces(lambda: 0.1, self.watched.append)
        self.one = Feed(self.registry, self.overview, self.traces)

    def entries(self, *kinds: str) -> list[tuple[str, Any]]:
        found = self.one.ring.after(0)
        return [(one.kind, json.loads(one.data)) for one in found if one.kind in kinds]


@asynccontextmanager
async def fed() -> AsyncIterator[Made]:
    made = Made()
    try:
        yield made
    finally:
        await made.one.close()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.005)


async def test_nothing_is_done_while_nobody_follows() -> None:
    async with fed() as made:
        made.one.happened(Happening(seq=1, time=0.0, plugin=None, shape="x", text="t"))
        made.one.audited({"order": "stop"})
        assert made.one.ring.last == made.one.followers == 0
        before = asyncio.all_tasks()
        first, second = made.one.follow(["plugins"]), made.one.follow(["trace"])
        assert (made.one.followers, made.watched) == (2, [True])
        second()
        assert made.watched == [True, False]
        first()
        await asyncio.sleep(0)
        assert made.one.followers == 0
        assert asyncio.all_tasks() == before


async def test_a_state_that_changes_is_told_once_and_the_latest_wins() -> None:
    async with fed() as made:
        leave = made.one.follow(["plugins"])
        made.plugin.move(PluginStatus.RUNNING, Substate.CONNECTED)
        made.plugin.served_by(None, unopened("a"))
        await until(lambda: made.entries("plugin"))
        await asyncio.sleep(0.05)
        ((_, summary),) = made.entries("plugin")
        assert (summary["name"], summary["status"], summary["serving"]) == ("a", "Running", True)
        assert not summary.keys() & {"crashes", "latency_by_event", "last_stderr"}
        made.registry.remove(made.plugin)
        await until(lambda: made.entries("gone"))
        assert made.entries("gone") == [("gone", {"name": "a"})]
        leave()


async def test_what_was_before_is_in_the_snapshot_and_not_in_the_ring() -> None:
    async with fed() as made:
        made.plugin.passed_over.add("e", Reason.FAILED, Effect.SKIPPED)
        leave = made.one.follow(["plugins", "passed"])
        await asyncio.sleep(0.1)
        assert made.entries("plugin", "gone", "passed") == []
        assert [one["name"] for one in made.one.snapshot()] == ["a"]
        leave()


async def test_what_passed_a_plugin_over_is_bundled() -> None:
    async with fed() as made:
        made.plugin.passed_over.add("e", Reason.FAILED, Effect.SKIPPED)
        leave = made.one.follow(["passed"])
        for _ in range(3):
            made.plugin.passed_over.add("e", Reason.FAILED, Effect.SKIPPED)
        await until(lambda: made.entries("passed"))
        ((_, told),) = made.entries("passed")
        (item,) = told["items"]
        assert (item["plugin"], item["event"], item["count"]) == ("a", "e", 3)
        assert (item["reason"], item["effect"]) == ("failed", "skipped")
        leave()


async def test_metrics_are_columns_of_the_same_length() -> None:
    async with fed() as made:
        made.registry.add(plugin("b"))
        leave = made.one.follow(["metrics"])
        await until(lambda: made.entries("metrics"))
        columns = made.entries("metrics")[0][1]
        assert sorted(columns["names"]) == ["a", "b"]
        lists = {name: one for name, one in columns.items() if isinstance(one, list)}
        assert {len(one) for name, one in lists.items() if name != "chains"} == {2}
        assert columns["p50_s"] == [None, None]
        leave()


def say(made: Made, *texts: str) -> None:
    for text in texts:
        ring = made.plugin.log.whole
        ring.append(LogRecord(ring.last + 1, 1.0, "stdout", "info", text, b"{}"))


def lines(made: Made) -> list[str]:
    return [one["text"] for _, page in made.entries("log") for one in page["records"]]


async def test_a_log_is_followed_from_now_on_in_pieces() -> None:
    async with fed() as made:
        say(made, "before")
        leave = made.one.follow(["logs:a"])
        say(made, *map(str, range(150)))
        await until(lambda: len(lines(made)) == 150)
        assert lines(made) == [str(number) for number in range(150)]
        assert max(len(page["records"]) for _, page in made.entries("log")) == 64
        leave()
        say(made, "between")
        leave = made.one.follow(["logs:a"])
        say(made, "after")
        await until(lambda: lines(made)[-1] == "after")
        assert "between" not in lines(made), "nobody followed; the log itself has it"
        leave()


async def test_a_log_that_runs_over_is_told() -> None:
    async with fed() as made:
        leave = made.one.follow(["logs:a"])
        say(made, *map(str, range(5000)))
        await until(lambda: made.entries("log") and lines(made)[-1] == "4999")
        assert sum(page["dropped"] for _, page in made.entries("log")) == 5000 - len(lines(made))
        leave()


async def test_nobody_goes_on_over_a_time_that_is_not_in_the_ring() -> None:
    async with fed() as made:
        leave = made.one.follow(["plugins"])
        made.one.ring.add("plugins", "plugin", b"{}", "a")
        seq = made.one.ring.last
        assert made.one.has(["plugins"], seq)
        other = made.one.follow(["logs:a"])
        assert not made.one.has(["plugins", "logs:a"], seq), "it begins now"
        leave()
        leave = made.one.follow(["plugins"])
        assert not made.one.has(["plugins"], seq)
        leave()
        other()
        leave = made.one.follow(["plugins"])
        assert not made.one.has(["plugins"], made.one.ring.last)
        made.one.ring.add("plugins", "plugin", b"{}", "a")
        assert made.one.has(["plugins"], made.one.ring.last)
        leave()


async def test_it_is_closed_with_followers_and_twice() -> None:
    async with fed() as made:
        leave = made.one.follow(["plugins"])
        await made.one.close()
        await made.one.close()
        leave()


def test_each_life_has_a_name_of_its_own() -> None:
    assert len({Made().one.boot for _ in range(20)}) == 20
    assert len(Made().one.boot) == 8


async def test_that_traces_are_a_sample_is_told_with_how_many_events_there_were() -> None:
    async with fed() as made:
        leave = made.one.follow(["trace"])
        made.plugin.rows.sent += 7
        made.traces.note_sampling()
        await until(lambda: made.entries("sampled"))
        made.plugin.rows.sent += 1
        await asyncio.sleep(0.1)
        assert made.entries("sampled") == [("sampled", {"events": 7})]
        leave()
