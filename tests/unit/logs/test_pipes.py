"""The last words of a process, also of one that floods."""

from __future__ import annotations

import asyncio

import pytest

from vconnect.logs.pipes import KEPT_LINES, PluginOutput, _Pipe
from vconnect.logs.plugin_log import PluginLog
from vconnect.settings.model import Settings
from vconnect.settings.parts import LogSettings


@pytest.fixture
async def output() -> PluginOutput:
    log = PluginLog("example", Settings(log_lines_per_second=10).part(LogSettings))
    return PluginOutput(log, asyncio.get_running_loop())


async def test_the_last_lines_of_stderr_are_kept(output: PluginOutput) -> None:
    output.feed(_Pipe("stderr"), b"".join(b"%d\n" % n for n in range(200)) + b"rest")
    assert output.last_stderr == tuple(str(n) for n in range(200 - KEPT_LINES, 200))


async def test_the_last_lines_are_there_however_much_came_before(output: PluginOutput) -> None:
    pipe = _Pipe("stderr")
    for _ in range(100):
        assert output.feed(pipe, b"x" * 99 + b"\n" + b"y\n" * 5000) or True
    assert output.feed(pipe, b"the end\n")
    assert output.last_stderr[-2:] == ("y", "the end")
    assert len(output.last_stderr) == KEPT_LINES


async def test_a_cut_line_is_left_out(output: PluginOutput) -> None:
    pipe = _Pipe("stderr")
    output.feed(pipe, b"x" * 100_000 + b"\nwhole\n")
    assert output.last_stderr == ("whole",)
    output.feed(pipe, b"z" * 20_000)
    assert output.last_stderr == ("whole",)


async def test_stdout_is_not_among_them(output: PluginOutput) -> None:
    output.feed(_Pipe("stdout"), b"out\n")
    assert output.last_stderr == ()
