"""All plugins' logs: made once, kept over restarts, written to files behind a thread."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vconnect.logs import plugin_logs
from vconnect.logs.files import LogFiles
from vconnect.logs.plugin_logs import PluginLogs
from vconnect.settings.model import Settings
from vconnect.settings.parts import LogSettings


def logs_with(**settings: Any) -> PluginLogs:
    return PluginLogs(Settings(**settings).part(LogSettings))


@pytest.fixture
def in_files(tmp_path: Path) -> PluginLogs:
    return logs_with(log_dir=str(tmp_path))


def written(directory: Path) -> list[str]:
    """The text of each file, the plugins' names in order."""
    return [path.read_text() for path in sorted(directory.rglob("*")) if path.is_file()]


def test_a_plugins_log_is_made_once() -> None:
    logs = logs_with()
    assert logs.of("one") is logs.of("one")
    assert logs.of("one") is not logs.of("other")


def test_who_is_forgotten_begins_anew() -> None:
    logs = logs_with()
    logs.of("one").write("stdout", [b"old"])
    logs.forget("one")
    logs.forget("nobody")
    assert logs.of("one").ring.newest(10).records == ()


def test_the_settings_hold_for_each_plugin_alone() -> None:
    logs = logs_with(log_lines=2, log_lines_per_second=5)
    for name in ("one", "other"):
        logs.of(name).write("stdout", [b"line"] * 4)
    assert [len(logs.of(name).ring.newest(10).records) for name in ("one", "other")] == [2, 2]
    assert logs.of("one").room() == 1


async def test_without_a_directory_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logs = logs_with()
    logs.of("one").write("stdout", [b"line"])
    await logs.close()
    assert list(tmp_path.iterdir()) == []


async def test_each_plugins_lines_are_in_its_own_file(tmp_path: Path, in_files: PluginLogs) -> None:
    for number in range(3):
        in_files.of("one").write("stdout", [b"first %d" % number])
        in_files.of("other").write("stderr", [b"second %d" % number])
    await in_files.close()
    one, other = written(tmp_path)
    assert [line.split()[-2:] for line in one.splitlines()] == [["first", n] for n in "012"]
    assert [line.split()[-2:] for line in other.splitlines()] == [["second", n] for n in "012"]


async def test_a_forgotten_plugins_lines_are_written_all_the_same(
    tmp_path: Path, in_files: PluginLogs
) -> None:
    in_files.of("one").write("stdout", [b"the last words"])
    in_files.forget("one")
    await in_files.close()
    assert "the last words" in str(written(tmp_path))


async def test_the_end_tells_what_was_suppressed(tmp_path: Path, in_files: PluginLogs) -> None:
    log = in_files.of("one")
    log.write("stdout", [], 3)
    log.write("stdout", [], 4)
    await in_files.close()
    assert "4 lines suppressed" in str(written(tmp_path))


async def test_what_comes_after_the_end_is_counted_and_not_written(
    tmp_path: Path, in_files: PluginLogs
) -> None:
    log = in_files.of("one")
    log.write("stdout", [b"before"])
    await in_files.close()
    log.write("stdout", [b"after"])
    await in_files.close()
    assert log.suppressed == 1
    assert "after" not in str(written(tmp_path))
    assert [record.text for record in log.ring.newest(10).records] == ["before", "after"]


async def test_a_disk_that_hangs_does_not_keep_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_logs, "_CLOSE_TIMEOUT", 0.05)
    gate = threading.Event()
    monkeypatch.setattr(LogFiles, "write", lambda *_: gate.wait(10))
    logs = logs_with(log_dir=str(tmp_path))
    logs.of("one").write("stdout", [b"line"])
    began = time.monotonic()
    await logs.close()
    assert 0.05 <= time.monotonic() - began < 5
    gate.set()
