"""Plugins from source, with real processes: which changes restart them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.support.lab import Lab, sampled, until

from vconnect.watching import reloader

pytestmark = pytest.mark.both_loops

ANSWER = """
import helper
serve(lambda event: {"status": "ok", "data": helper.WORD})
"""


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloader, "_POLL_SECONDS", 0.05)


def source(lab: Lab, code: str, name: str = "source") -> Path:
    directory = lab.directory / name
    directory.mkdir(exist_ok=True)
    lab.script(directory / "plugin.py", code)
    return directory


async def test_a_change_behind_a_link_serves_soon(lab: Lab) -> None:
    directory = source(lab, ANSWER)
    shared = lab.directory / "shared.py"
    shared.write_text("WORD = 'old'\n")
    (directory / "helper.py").symlink_to(shared)
    async with lab.manager(dev_plugins=[f"dev:{directory}"]) as runtime:
        await runtime.start_all()
        assert await runtime.request("dev", "e", {}) == "old"
        shared.write_text("WORD = 'new and longer'\n")
        while await runtime.request("dev", "e", {}) == "old":
            await asyncio.sleep(0.01)
        assert await runtime.request("dev", "e", {}) == "new and longer"


async def test_a_save_right_after_the_start_is_not_lost(lab: Lab) -> None:
    directory = source(lab, "serve()")
    async with lab.manager(dev_plugins=[f"dev:{directory}"]) as runtime:
        starting = asyncio.create_task(runtime.start_all())
        await until(lambda: runtime.runtime_summaries() and runtime.summary("dev").pid)
        source(lab, "serve(lambda event: {'status': 'ok', 'data': 'saved'})")
        await starting
        while await runtime.request("dev", "e", {}) != "saved":
            await asyncio.sleep(0.01)


async def test_another_directory_in_place_of_the_source_serves(lab: Lab) -> None:
    say = "serve(lambda event: {{'status': 'ok', 'data': '{}'}})"
    place = lab.directory / "current"
    source(lab, say.format("one"), "v1")
    source(lab, say.format("two"), "v2")
    place.symlink_to("v1")
    async with lab.manager(dev_plugins=[f"dev:{place}"]) as runtime:
        await runtime.start_all()
        assert await runtime.request("dev", "e", {}) == "one"
        (lab.directory / "next").symlink_to("v2")
        (lab.directory / "next").replace(place)
        while await runtime.request("dev", "e", {}) != "two":
            await asyncio.sleep(0.01)


async def test_data_that_a_plugin_writes_into_its_directory_restarts_nothing(lab: Lab) -> None:
    code = """
    import json, threading
    def save():
        for number in range(1000):
            for name in ("state.json", "a.toml", "b.yaml", "c.db"):
                with open(name, "w") as file:
                    json.dump(number, file)
            time.sleep(0.02)
    threading.Thread(target=save, daemon=True).start()
    serve()
    """
    directory = source(lab, code)
    async with lab.manager(dev_plugins=[f"dev:{directory}"]) as runtime:
        await runtime.start_all()
        await sampled(runtime, "dev")
        assert runtime.summary("dev").generation == 1


async def test_a_plugin_that_writes_its_own_source_is_not_restarted_forever(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    code = "open('made.py', 'w').write(f'AT = {time.time()}')\nserve()"
    directory = source(lab, code)
    options = {"dev": {"watch_also": ["words.txt"]}}
    async with lab.manager(dev_plugins=[f"dev:{directory}"], options=options) as runtime:
        await runtime.start_all()
        await until(lambda: "no longer watched: made.py" in caplog.text)
        ended_at = runtime.summary("dev").generation
        assert ended_at == 4
        source(lab, "serve()")
        await sampled(runtime, "dev")
        assert runtime.summary("dev").generation == ended_at
        # A restart takes the new code, and watches again.
        await runtime.restart_plugin("dev")
        assert runtime.summary("dev").generation == ended_at + 1
        (directory / "words.txt").write_text("one")
        await until(lambda: runtime.summary("dev").generation == ended_at + 2)


async def test_a_host_that_stops_is_not_held_up_by_the_watch(lab: Lab) -> None:
    directory = source(lab, "serve()")
    for number in range(200):
        (directory / f"d{number}").mkdir()
    async with lab.manager(dev_plugins=[f"dev:{directory}", f"twin:{directory}"]) as runtime:
        await runtime.start_all()
        await sampled(runtime, "dev")
        began = time.monotonic()
    # One interrupt, which these plugins obey at once.
    assert time.monotonic() - began < 3
