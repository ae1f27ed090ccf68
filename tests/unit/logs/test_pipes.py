"""The last words of a process, also of one that floods."""

from __future__ import annotations

import asyncio

import pytest

from vconnect.logs.pipes import KEPT_LINES, PluginOutput, _Pipe
from vconnect.logs.plugin_log import PluginLog
from vconnect.logs.text import MAX_LINE_BYTES
from vconnect.settings.model import Settings
from vconnect.settings.parts import LogSettings


@pytest.fixture
async def output() -> PluginOutput:
    log = PluginLog("example", Settings(log_lines_per_second=10).part(LogSettings))
    return PluginOutput(log, asyncio.get_running_loop())


async def test_the_last_lines_of_stderr_are_kept(output: PluginOutput) -> None:
    output.feed(_Pipe("stderr"), b"".join(b"%d\n" % n for n in range(200)) + b"rest")
    kept = [str(n) for n in range(201 - KEPT_LINES, 200)]
    assert output.last_stderr == (*kept, "rest")


async def test_a_prompt_is_there_while_it_waits(output: PluginOutput) -> None:
    output.feed(_Pipe("stderr"), b"one\nEnter passphrase: ")
    assert output.last_stderr == ("one", "Enter passphrase: ")


def logged(output: PluginOutput) -> list[str]:
    log = output._log
    assert isinstance(log, PluginLog)
    return [record.text for record in log.ring.newest(100, "trace").records]


async def test_the_last_words_of_a_flood_reach_the_log(output: PluginOutput) -> None:
    pipe = _Pipe("stderr")
    output.feed(pipe, b"".join(b"%d\n" % n for n in range(5000)))
    output.feed(pipe, b"Traceback\nValueError: no\n")
    output.close()
    said = logged(output)
    assert said[:10] == [str(n) for n in range(10)]
    last = [*(str(n) for n in range(4982, 5000)), "Traceback", "ValueError: no"]
    assert said[-20:] == last
    assert "lines suppressed" in said[-21]
    log = output._log
    assert isinstance(log, PluginLog)
    assert log.suppressed == 5002 - 10 - 20
    output.close()
    assert logged(output) == said


async def test_what_has_been_logged_is_not_logged_again(output: PluginOutput) -> None:
    pipe = _Pipe("stderr")
    output.feed(pipe, b"".join(b"%d\n" % n for n in range(10)))
    output.feed(_Pipe("stdout"), b"x\n" * 100)
    output.close()
    assert logged(output)[:10] == [str(n) for n in range(10)]
    assert logged(output)[10].startswith("100 lines suppressed")
    assert len(logged(output)) == 11


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
    assert list(output.last_stderr) == ["whole", "z" * MAX_LINE_BYTES]


async def test_stdout_is_not_among_them(output: PluginOutput) -> None:
    output.feed(_Pipe("stdout"), b"out\n")
    assert output.last_stderr == ()
