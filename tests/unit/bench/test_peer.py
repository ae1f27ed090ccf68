"""The echo plugins of the benchmark, in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import pytest
from tests.support.lab import Lab, until

from vconnect.bench import peer as module
from vconnect.bench.peer import Echo, serve
from vconnect.bench.works import PLUGINS, event_for, events_of
from vconnect.plugins.status import PluginStatus
from vconnect.sdk.testing import call


@pytest.mark.parametrize("number", [0, 1, 50, PLUGINS - 1])
def test_a_plugin_declares_what_the_works_send_to_it(number):
    plugin = Echo(number)
    assert plugin.plugin_no == f"bench-{number}"
    assert plugin.capabilities == events_of(number)
    assert event_for(PLUGINS) in plugin.capabilities


@pytest.mark.parametrize("payload", [None, 1, "text", [], {"content": "x" * 100, "status": "ok"}])
async def test_it_answers_with_what_it_gets(payload):
    assert await call(Echo(0), event_for(1), payload) == {"status": "ok", "data": payload}


async def test_they_serve_until_they_are_told_to_end(lab: Lab):
    async with lab.manager(allow_external=True) as runtime:
        serving = asyncio.create_task(serve(str(lab.socket), 3))
        await until(lambda: [one.status for one in runtime.runtime_summaries()] == [
            PluginStatus.RUNNING
        ] * 3)  # fmt: skip
        outcome = await runtime.emit(event_for(10), {"n": 1})
        assert [result.data for result in outcome.results] == [{"n": 1}] * 3
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            await serving
        await until(lambda: not any(one.dialect for one in runtime.runtime_summaries()))


def test_the_command_line_says_where_and_how_many(monkeypatch):
    asked: list[Any] = []

    async def note(socket: str, plugins: int) -> None:
        asked.append((socket, plugins))

    monkeypatch.setattr(module, "serve", note)
    monkeypatch.setattr(sys, "argv", ["peer", "--socket", "/run/s", "--plugins", "7"])
    module.main()
    assert asked == [("/run/s", 7)]


def test_an_interrupt_is_an_end_like_any_other(monkeypatch):
    async def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "serve", interrupted)
    monkeypatch.setattr(sys, "argv", ["peer", "--socket", "/run/s", "--plugins", "7"])
    module.main()


@pytest.mark.parametrize("argv", [["peer"], ["peer", "--socket", "/s", "--plugins", "many"]])
def test_a_command_line_that_is_wrong_is_refused(monkeypatch, capsys, argv):
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as caught:
        module.main()
    assert caught.value.code == 2
    assert "--plugins" in capsys.readouterr().err
