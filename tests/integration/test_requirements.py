"""Plugins that need others: starts and stops in their order; sources that change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.lab import ECHO, ORDERLY, Lab, sampled, until, until_status

from vconnect.watching import reloader

pytestmark = pytest.mark.both_loops


async def test_what_is_required_starts_first_and_stops_last(lab: Lab) -> None:
    lab.plugin("a", ORDERLY, requires=["b"])
    lab.plugin("b", ORDERLY, requires=["wk.plugin.c"])
    lab.plugin("c", ORDERLY)
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert {summary.status for summary in runtime.runtime_summaries()} == {"Running"}
    assert lab.order() == ["begin c", "begin b", "begin a", "end a", "end b", "end c"]


async def test_started_is_enough_where_that_is_said(lab: Lab) -> None:
    lab.plugin("needs", ECHO, requires=["slow:started"])
    lab.plugin("slow", "time.sleep(1)\n" + ECHO)
    async with lab.manager() as runtime:
        start = asyncio.create_task(runtime.start_all())
        await until(lambda: "slow" in {s.name for s in runtime.runtime_summaries()})
        await start
        assert runtime.summary("needs").status == "Running"


@pytest.mark.slow
async def test_one_whose_requirement_is_missing_says_so_and_comes_when_it_is_there(
    lab: Lab,
) -> None:
    lab.plugin("needs", ECHO, requires=["base"])
    async with lab.manager(restart="always") as runtime:
        await runtime.start_all()
        summary = runtime.summary("needs")
        assert (summary.status, summary.substate) == ("Error", "spawn_failed")
        assert "requires base, which is not known" in summary.reason
        assert summary.next_retry_at is not None
        lab.plugin("base", ECHO)
        await runtime.discover_plugins()
        await runtime.start_plugin("base")
        await until_status(runtime, "needs", "Running")


@pytest.mark.slow
async def test_what_is_missing_is_told_once(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.plugin("needs", ECHO, requires=["base"])
    async with lab.manager(restart="always", restart_max_delay=0.05) as runtime:
        await runtime.start_all()
        said = runtime.happenings.seq
        await asyncio.sleep(0.5)
        told = [one for one in caplog.records if "cannot be started" in one.getMessage()]
        assert len(told) == 1
        assert runtime.happenings.seq == said
        assert runtime.summary("needs").generation == 1
        assert runtime.summary("needs").next_retry_at is not None
        lab.plugin("base", ECHO)
        await runtime.discover_plugins()
        await until(lambda: "is Installed" in runtime.summary("needs").reason)


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("1.4.0", ""),
        ("2.0.0", "requires base >=1.2 <2, and base 2.0.0 is here; install a version that fits"),
        ("", "requires base >=1.2 <2, and base without a version is here"),
        ("latest", "requires base >=1.2 <2, and base latest is here"),
    ],
)
async def test_a_version_may_be_required(lab: Lab, version: str, problem: str) -> None:
    lab.plugin("needs", ECHO, requires=["wk.plugin.base >=1.2 <2"])
    lab.plugin("base", ECHO, **({"version": version} if version else {}))
    async with lab.manager(restart="always") as runtime:
        await runtime.start_all()
        summary = runtime.summary("needs")
        assert summary.status == ("Error" if problem else "Running")
        assert problem in summary.reason


async def test_a_circle_is_an_error_that_names_itself(lab: Lab) -> None:
    lab.plugin("a", ECHO, requires=["b"])
    lab.plugin("b", ECHO, requires=["a"])
    lab.plugin("c", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        for name in ("a", "b"):
            summary = runtime.summary(name)
            assert (summary.status, summary.substate) == ("Error", "bad_manifest")
            assert "a → b → a" in summary.reason or "b → a → b" in summary.reason
        assert runtime.summary("c").status == "Running"


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloader, "_POLL_SECONDS", 0.05)


def source(lab: Lab, answer: str) -> Path:
    directory = lab.directory / "source"
    directory.mkdir(exist_ok=True)
    code = f"serve(lambda event: {{'status': 'ok', 'data': {answer!r}}})"
    lab.script(directory / "plugin.py", code)
    return directory


async def test_a_changed_source_serves_without_a_gap(lab: Lab) -> None:
    directory = source(lab, "old")
    async with lab.manager(dev_plugins=[f"dev:{directory}"]) as runtime:
        await runtime.start_all()
        assert await runtime.request("dev", "e", {}) == "old"
        source(lab, "new and longer")
        while (answer := await runtime.request("dev", "e", {})) == "old":
            await asyncio.sleep(0.01)
        assert answer == "new and longer"
        assert runtime.summary("dev").generation == 2


async def test_a_source_that_does_not_build_leaves_the_old_process(lab: Lab) -> None:
    directory = source(lab, "old")
    async with lab.manager(dev_plugins=[f"dev:{directory}"]) as runtime:
        await runtime.start_all()
        pid = runtime.summary("dev").pid
        (directory / "plugin.py").write_text("this is no Python\n")
        await until(lambda: "SyntaxError" in runtime.summary("dev").reason)
        assert await runtime.request("dev", "e", {}) == "old"
        summary = runtime.summary("dev")
        assert (summary.status, summary.pid) == ("Running", pid)
        source(lab, "mended")
        while await runtime.request("dev", "e", {}) == "old":
            await asyncio.sleep(0.01)
        assert runtime.summary("dev").reason == ""


async def test_nobody_watches_who_does_not_want_to(lab: Lab) -> None:
    directory = source(lab, "old")
    async with lab.manager(dev_plugins=[f"dev:{directory}"], watch=False) as runtime:
        await runtime.start_all()
        source(lab, "new and longer")
        await sampled(runtime, "dev")  # a second, in which many looks would have passed
        assert runtime.summary("dev").generation == 1
        assert await runtime.request("dev", "e", {}) == "old"


async def test_plugins_from_source_start_after_those_that_they_require(lab: Lab) -> None:
    db = lab.source("db", "time.sleep(0.5)\n" + ORDERLY, below="sources")
    web = lab.source("web", ORDERLY, below="sources", requires=["db"])
    for directory in (db, web):
        (directory / directory.name).rename(directory / "plugin.py")
    async with lab.manager(dev_plugins=(f"web:{web}", f"db:{db}")) as runtime:
        await runtime.start_all()
        assert {one.status for one in runtime.runtime_summaries()} == {"Running"}
        assert runtime.summary("web").generation == 1
    assert lab.order() == ["begin db", "begin web", "end web", "end db"]


async def test_an_event_does_not_pass_a_filter_that_waits_for_another_plugin(lab: Lab) -> None:
    lab.plugin("db", "time.sleep(0.6)\nserve()", capabilities=["none"])
    lab.plugin("filter", ECHO, requires=["db"], capabilities=["e"], priority=9)
    lab.plugin("deliver", ECHO, capabilities=["e"])
    async with lab.manager(events={"e": {"on_failure": "closed"}}) as runtime:
        starts = asyncio.create_task(runtime.start_all())
        await until(lambda: len(runtime.runtime_summaries()) == 3)
        await until_status(runtime, "deliver", "Running")
        waiting = runtime.summary("filter")
        assert (waiting.substate, waiting.reason) == ("waiting", "waits for db")
        assert waiting.desired == "running"
        assert (await runtime.emit("e", {})).stopped_by == "filter"
        await starts
        assert (await runtime.emit("e", {})).stopped_by is None


async def test_a_stop_of_a_plugin_that_waits_for_another_one_counts(lab: Lab) -> None:
    lab.plugin("db", "time.sleep(0.5)\nserve()")
    lab.plugin("web", ECHO, requires=["db"])
    async with lab.manager() as runtime:
        starts = asyncio.create_task(runtime.start_all())
        await until(lambda: len(runtime.runtime_summaries()) == 2)
        await until(lambda: runtime.summary("web").substate == "waiting")
        await runtime.stop_plugin("web")
        await starts
        assert (runtime.summary("web").generation, runtime.summary("db").status) == (0, "Running")


async def test_where_a_process_is_enough_nobody_waits_for_more(lab: Lab) -> None:
    lab.plugin("db", "time.sleep(1.5)\nserve()")
    lab.plugin("web", ECHO, requires=["db:started"])
    async with lab.manager() as runtime:
        starts = asyncio.create_task(runtime.start_all())
        await until(lambda: len(runtime.runtime_summaries()) == 2)
        await until_status(runtime, "web", "Running")
        assert runtime.summary("db").status == "Starting"
        await starts
        assert runtime.summary("web").generation == 1
