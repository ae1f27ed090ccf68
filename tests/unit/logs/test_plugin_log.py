"""A plugin's log: levels in the host's log, floods, what is told of them."""

from __future__ import annotations

import logging

import pytest
from tests.support.clock import Clock

from vconnect.logs.flood import FloodControl
from vconnect.logs.plugin_log import PluginLog
from vconnect.logs.records import LogRecord
from vconnect.settings.model import Settings
from vconnect.settings.parts import LogSettings


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, clock: Clock) -> PluginLog:
    caplog.set_level(logging.DEBUG, logger="vconnect.plugin.example")
    return PluginLog("example", Settings(log_lines_per_second=10).part(LogSettings), clock=clock)


def texts(log: PluginLog) -> list[str]:
    return [record.text for record in log.ring.newest(1000).records]


# --- the buckets -----------------------------------------------------------------------------


def test_a_second_of_lines_may_come_at_once(clock: Clock) -> None:
    flood = FloodControl(10, 1000, clock)
    assert flood.room() == 10
    for _ in range(10):
        flood.take(1)
    assert flood.room() == 0
    clock.now += 0.25
    assert flood.room() == 2
    clock.now += 100
    assert flood.room() == 10


def test_bytes_bound_it_too_and_one_long_line_still_passes(clock: Clock) -> None:
    flood = FloodControl(10, 1000, clock)
    flood.take(3000)
    assert flood.room() == 0
    clock.now += 2
    assert flood.room() == 0
    clock.now += 0.1
    assert flood.room() > 0


# --- what passes -----------------------------------------------------------------------------


def test_it_goes_to_the_plugins_own_logger(
    log: PluginLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.write("stdout", [b"out %s", b"TRACE x", b'{"msg": "json", "level": "warn", "n": 1}'])
    log.say("error", "said", {"why": "so"})
    told = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    name = "vconnect.plugin.example"
    assert told == [
        (name, "INFO", "out %s"),
        (name, "DEBUG", "TRACE x"),
        (name, "WARNING", "json n=1"),
        (name, "ERROR", "said why=so"),
    ]
    records = log.ring.newest(10).records
    assert [record.seq for record in records] == [1, 2, 3, 4]
    assert [record.stream for record in records] == ["stdout", "stdout", "stdout", "log"]
    assert [record.level for record in records] == ["info", "trace", "warn", "error"]


def test_the_ring_has_what_the_hosts_log_leaves_out(
    log: PluginLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="vconnect.plugin.example")
    log.write("stderr", [b"INFO quiet"])
    assert not caplog.records
    assert texts(log) == ["INFO quiet"]


# --- floods ----------------------------------------------------------------------------------


def test_a_flood_is_counted_and_told(log: PluginLog, clock: Clock) -> None:
    log.write("stdout", [b"x"] * log.room(), 30)
    assert log.suppressed == 30
    notice = log.ring.newest(1).records[0]
    assert (notice.stream, notice.level) == ("host", "warn")
    assert notice.text == "30 lines suppressed; the limit is 10 lines and 1048576 bytes per second"
    log.write("stdout", [], 5)
    assert len(texts(log)) == 11
    clock.now += 1
    log.tell_suppressed()
    log.tell_suppressed(at_once=True)
    assert texts(log)[-1].startswith("5 lines suppressed")
    assert len(texts(log)) == 12
    assert log.suppressed == 35


def test_calls_count_as_lines(log: PluginLog) -> None:
    for n in range(13):
        log.say("info", str(n), {})
    assert [text for text in texts(log) if text.isdigit()] == [str(n) for n in range(10)]
    assert log.suppressed == 3


def test_what_does_not_fit_into_the_files_queue_is_counted(clock: Clock) -> None:
    taken: list[str] = []
    has_room = True

    def file(plugin: str, record: LogRecord) -> bool:
        assert plugin == "example"
        if has_room:
            taken.append(record.text)
        return has_room

    log = PluginLog("example", None, file, clock)
    log.write("stdout", [b"a"])
    has_room = False
    log.write("stdout", [b"b", b"c"])
    assert log.suppressed == 2
    has_room = True
    log.write("stdout", [b"d"])
    assert taken == ["a", "2 lines are missing here: the disk was too slow", "d"]
    assert texts(log) == ["a", "b", "c", "d"]
