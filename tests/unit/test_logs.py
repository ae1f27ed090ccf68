"""Output of plugins: lines, control characters, floods."""

from __future__ import annotations

import logging

import pytest

from vconnect import logs
from vconnect.logs import KEPT_LINES, LINES_PER_SECOND, LineSplitter, PluginLog


@pytest.fixture
def log(caplog) -> PluginLog:
    caplog.set_level(logging.INFO, logger="vconnect.plugin.example")
    return PluginLog("example")


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    return now


def split(*pieces: bytes, limit: int = 8) -> list[str]:
    splitter = LineSplitter(limit)
    return [line for piece in pieces for line in splitter.feed(piece)] + splitter.finish()


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"",), []),
        ((b"a\nb\n",), ["a", "b"]),
        ((b"a", b"b", b"\n"), ["ab"]),
        ((b"a\n\nb",), ["a", "", "b"]),
        ((b"\n",), [""]),
        ((b"a\r\nb\r\n",), ["a", "b"]),
        ((b"12345678\n",), ["12345678"]),
        ((b"12345678", b"\n"), ["12345678"]),
        ((b"123456789\n",), ["12345678", "9"]),
        ((b"12345678", b"9"), ["12345678", "9"]),
        ((b"1" * 20 + b"\nx",), ["1" * 8, "1" * 8, "1" * 4, "x"]),
        ((b"1" * 20, b"2"), ["1" * 8, "1" * 8, "11112"]),
    ],
)
def test_lines(pieces, lines):
    assert split(*pieces) == lines


def test_any_cut_gives_the_same_lines():
    data = b"one\ntwo \xc3\xa9\n\nfour is too long for one line\nend"
    whole = split(data)
    for at in range(len(data)):
        assert split(data[:at], data[at:]) == whole
    assert split(*(data[at : at + 1] for at in range(len(data)))) == whole


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b[2J\x1b[1;1Hgone", "gone"),
        (b"tab\there", "tab\there"),
        (b"bell\x07\x00\x7f", "bell"),
        (b"50 %\r100 %\r", "50 %100 %"),
        ("next\x85line".encode(), "nextline"),
        (b"not \xff UTF-8", "not \ufffd UTF-8"),
        ("grüße".encode(), "grüße"),
    ],
)
def test_no_line_steers_a_terminal(data, line):
    assert split(data, limit=100) == [line]


def test_a_line_without_end_is_bounded():
    splitter = LineSplitter(1000)
    for _ in range(100):
        lines = splitter.feed(b"x" * 999)
        assert sum(map(len, lines)) <= 1998
    assert sum(map(len, splitter.finish())) <= 1000


def test_it_goes_to_the_plugins_own_logger(log, caplog):
    log.feed("stdout", b"out %s\nmore")
    log.feed("stderr", b"err\n")
    log.finish()
    lines = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    name = "vconnect.plugin.example"
    assert lines == [(name, "INFO", text) for text in ("out %s", "err", "more")]
    assert list(log.last_stderr) == ["err"]


def test_the_last_lines_of_stderr_are_kept(log):
    log.feed("stderr", b"".join(b"%d\n" % n for n in range(200)) + b"rest")
    assert list(log.last_stderr) == [str(n) for n in range(200 - KEPT_LINES, 200)]
    log.finish()
    assert log.last_stderr[-1] == "rest"
    assert len(log.last_stderr) == KEPT_LINES


def test_a_flood_is_counted_and_told(log, caplog, clock):
    log.feed("stderr", b"x\n" * (LINES_PER_SECOND + 30))
    assert len(caplog.records) == LINES_PER_SECOND
    assert log.suppressed == 30
    clock[0] += 1
    log.feed("stdout", b"y\n")
    assert [record.getMessage() for record in caplog.records[-2:]] == [
        f"30 lines suppressed: more than {LINES_PER_SECOND} in a second",
        "y",
    ]
    assert caplog.records[-2].levelname == "WARNING"
    log.finish()
    assert caplog.records[-1].getMessage() == "y"


def test_the_end_tells_what_was_suppressed(log, caplog, clock):
    log.feed("stdout", b"x\n" * (LINES_PER_SECOND + 1))
    log.finish()
    log.finish()
    told = [record for record in caplog.records if "suppressed" in record.getMessage()]
    assert len(told) == 1
