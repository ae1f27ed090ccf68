"""Which plugins are restarted when a source has changed, without any process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.paper import plugin
from tests.support.wire_kit import until

from vconnect.errors import PluginStartError
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import Desired
from vconnect.settings.model import PluginOptions, Settings
from vconnect.sources.scan import Source
from vconnect.sources.watch import Change
from vconnect.watching import reloader as module
from vconnect.watching.reloader import Reloader


class Restarted:
    """A supervisor of which only `restart` is used.

    Attributes:
        names: Whose restarts began.
        result: What each restart comes to.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.result: Callable[[], Awaitable[None] | None] = lambda: None

    def of(self, runtime: PluginRuntime) -> SimpleNamespace:
        async def restart() -> None:
            self.names.append(runtime.name)
            pending = self.result()
            if pending is not None:
                await pending

        return SimpleNamespace(restart=restart)


class Sources:
    """Plugins with a source each, and a record of what was looked at and what was found."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registry = Registry()
        self.restarted = Restarted()
        supervise: Any = self.restarted.of
        self.reloader = Reloader(self.registry, supervise)
        self.looks: list[list[str]] = []
        self.found: list[str] = []
        look = self.reloader._watch.look

        def counted(sources: dict[Source, float]) -> tuple[dict[str, Change], list[str]]:
            result = look(sources)
            self.found += result[0]
            self.looks.append([source.name for source in sources])
            return result

        self.reloader._watch.look = counted  # type: ignore[assignment, method-assign]

    def add(self, name: str, desired: Desired = "running", *, dev: bool = True) -> PluginRuntime:
        path = self.directory / name
        path.mkdir()
        (path / "main.py").write_text("")
        runtime = plugin(name, path, dev=dev)
        runtime.want(desired)
        # What the test writes before the first look is not a change since the start.
        runtime.begun_at = time.time() + 60
        self.registry.add(runtime)
        return runtime

    def change(self, *names: str) -> None:
        for name in names:
            source = self.directory / name / "main.py"
            source.write_text(source.read_text() + "#")

    async def looked(self, times: int = 2) -> None:
        """Wait until somebody has looked so often from now on."""
        target = len(self.looks) + times + 1
        await until(lambda: len(self.looks) >= target)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reloader.run())
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.001)
    return Sources(tmp_path)


async def test_one_whose_source_changed_is_restarted_once(sources):
    sources.add("a")
    sources.add("b")
    async with sources.watched():
        await sources.looked()
        sources.change("b")
        await until(lambda: sources.restarted.names)
        await sources.looked()
    assert sources.restarted.names == ["b"]


@pytest.mark.parametrize(("desired", "dev"), [("stopped", True), ("running", False)])
async def test_the_others_are_not_even_looked_at(sources, desired, dev):
    sources.add("other", desired, dev=dev)
    sources.add("a")
    async with sources.watched():
        await sources.looked()
        sources.change("other", "a")
        await until(lambda: sources.restarted.names)
        await sources.looked()
    assert sources.restarted.names == ["a"]
    assert {name for looked in sources.looks for name in looked} == {"a"}


async def test_a_source_that_does_not_build_is_tried_again_at_its_next_change(sources):
    def fails() -> None:
        raise PluginStartError("a", "it does not build")

    sources.add("a")
    sources.restarted.result = fails
    async with sources.watched():
        for count in (1, 2):
            await sources.looked()
            sources.change("a")
            await until(lambda count=count: len(sources.restarted.names) == count)


async def test_a_stop_that_comes_during_the_look_counts(sources):
    runtime = sources.add("a")
    sources.add("b")
    look = sources.reloader._watch.look

    def stopped_meanwhile(paths):
        found = look(paths)
        if found[0]:
            runtime.want("stopped")
        return found

    sources.reloader._watch.look = stopped_meanwhile
    async with sources.watched():
        await sources.looked()
        sources.change("a")
        await until(lambda: runtime.desired == "stopped")
        await sources.looked()
    assert sources.restarted.names == []


async def test_two_plugins_of_one_source_are_both_restarted(sources):
    first = sources.add("a")
    second = plugin("b", first.path, dev=True)
    second.want("running")
    sources.registry.add(second)
    async with sources.watched():
        await sources.looked()
        sources.change("a")
        await until(lambda: len(sources.restarted.names) == 2)
    assert sorted(sources.restarted.names) == ["a", "b"]


async def test_a_plugin_that_comes_later_is_watched_too(sources):
    sources.add("a")
    async with sources.watched():
        await sources.looked()
        sources.add("b")
        await sources.looked()
        sources.change("b")
        await until(lambda: sources.restarted.names == ["b"])


async def test_a_restart_that_has_begun_goes_on_when_the_watch_ends(sources):
    sources.add("a")
    begun, ended = asyncio.Event(), []

    async def slow() -> None:
        begun.set()
        await asyncio.sleep(0.005)
        ended.append(True)

    sources.restarted.result = slow
    async with sources.watched():
        await sources.looked()
        sources.change("a")
        await begun.wait()
    await until(lambda: ended)


async def test_what_changes_while_it_is_stopped_restarts_nothing(sources):
    runtime = sources.add("a")
    async with sources.watched():
        await sources.looked()
        runtime.want("stopped")
        await until(lambda: sources.looks[-1] == [])
        sources.change("a")
        runtime.want("running")
        runtime.begun_at = time.time() + 60
        await sources.looked(6)
        assert sources.restarted.names == []
        sources.change("a")
        await until(lambda: sources.restarted.names == ["a"])


async def test_the_log_names_what_has_changed(sources, caplog):
    caplog.set_level(logging.INFO)
    sources.add("a")
    async with sources.watched():
        await sources.looked()
        for number in range(5):
            (sources.directory / "a" / f"{number}.py").write_text("")
        await until(lambda: sources.restarted.names)
    assert "plugin a: its source has changed: 0.py, 1.py, 2.py and 2 more" in caplog.text


async def test_the_policy_says_what_counts(sources):
    runtime = sources.add("a")
    options = PluginOptions(watch_ignore=("main.py",), watch_also=("*.html",))
    runtime.policy = Settings(options={"a": options}).plugin_policy("a")
    async with sources.watched():
        await sources.looked()
        sources.change("a")
        await sources.looked(4)
        assert sources.restarted.names == []
        (sources.directory / "a" / "x.html").write_text("")
        await until(lambda: sources.restarted.names == ["a"])


async def test_a_file_that_comes_back_after_each_of_three_restarts_ends_the_watch(sources, caplog):
    runtime = sources.add("a")
    sources.add("b")
    sources.restarted.result = lambda: sources.change("a")  # the plugin writes its own source
    async with sources.watched():
        await sources.looked()
        sources.change("a")
        await until(lambda: "no longer watched" in caplog.text)
        assert sources.restarted.names == ["a"] * 3
        assert "main.py has changed within 3 s after each of 3 restarts" in caplog.text
        await sources.looked()
        # Neither it nor another plugin is affected by the other.
        sources.restarted.result = lambda: None
        sources.change("a", "b")
        await until(lambda: "b" in sources.restarted.names)
        assert sources.restarted.names == ["a", "a", "a", "b"]
        # An order begins the watch anew.
        runtime.want("running")
        await sources.looked()
        sources.change("a")
        await until(lambda: sources.restarted.names == ["a", "a", "a", "b", "a"])


async def test_other_files_after_each_restart_are_no_storm(sources):
    sources.add("a")
    async with sources.watched():
        await sources.looked()
        for number in range(6):
            (sources.directory / "a" / f"{number}.py").write_text("")
            await until(lambda number=number: len(sources.restarted.names) == number + 1)


async def test_a_file_that_comes_back_later_is_no_storm(sources, monkeypatch):
    monkeypatch.setattr(module, "_STORM_SECONDS", -1.0)
    sources.add("a")
    async with sources.watched():
        await sources.looked()
        for number in range(6):
            sources.change("a")
            await until(lambda number=number: len(sources.restarted.names) == number + 1)


async def test_a_look_that_fails_is_logged_and_not_the_last(sources, caplog):
    sources.add("a")
    look = sources.reloader._watch.look

    def fails(found):
        sources.reloader._watch.look = look
        raise ZeroDivisionError

    sources.reloader._watch.look = fails
    async with sources.watched():
        await sources.looked()
        sources.change("a")
        await until(lambda: sources.restarted.names == ["a"])
    assert "looking at the sources of plugins failed" in caplog.text


async def test_warnings_of_the_watch_are_logged(sources, caplog):
    sources.add("a")
    (sources.directory / "a" / ".gitignore").write_text("!\n")
    async with sources.watched():
        await sources.looked()
    assert "plugin a: .gitignore: " in caplog.text
