"""The host's own log: one line per record, and nobody who does not read it holds it up."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from vconnect.logs import host_log
from vconnect.logs.host_log import HostFormatter, HostHandler, JsonFormatter

PATIENCE_S = 10.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    log = logging.Logger("vconnect.plugin.example")
    yield log
    for handler in log.handlers:
        handler.close()


def handler_on(fd: int) -> HostHandler:
    handler = HostHandler(fd)
    handler.setFormatter(HostFormatter(colored=False))
    return handler


def test_the_end_flushes(pipe: tuple[int, int], logger: logging.Logger) -> None:
    handler = handler_on(pipe[1])
    logger.addHandler(handler)
    logger.error("it %s", "failed\x1b[2J")
    handler.close()
    line = os.read(pipe[0], 4096).decode()
    assert line.endswith(" ERROR   [example] it failed\\x1b[2J\n")
    logger.error("too late")
    handler.close()


def test_a_stalled_reader_holds_up_nobody_and_is_told(
    pipe: tuple[int, int], logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_log, "FLUSH_TIMEOUT", PATIENCE_S)
    handler = handler_on(pipe[1])
    logger.addHandler(handler)
    for _ in range(20_000):
        logger.info("x" * 500)
    got: list[bytes] = []

    def read() -> None:
        while b"of this log dropped: its reader was too slow" not in b"".join(got[-2:]):
            got.append(os.read(pipe[0], 65536))

    reader = threading.Thread(target=read)
    reader.start()
    handler.close()
    reader.join(PATIENCE_S)
    data = b"".join(got)
    dropped = sum(int(part.split()[0]) for part in data.split(b"\n... ")[1:])
    assert data.count(b"[example]") + dropped == 20_000
    assert dropped > 0


def test_a_reader_that_went_away_is_no_fault(logger: logging.Logger) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    handler = handler_on(writing)
    logger.addHandler(handler)
    logger.error("nobody hears this")
    handler.close()
    os.close(writing)


def test_a_descriptor_that_does_not_block_is_waited_for(
    pipe: tuple[int, int], logger: logging.Logger
) -> None:
    os.set_blocking(pipe[1], False)
    handler = handler_on(pipe[1])
    logger.addHandler(handler)
    for _ in range(300):
        logger.info("x" * 500)
    data = b""
    while data.count(b"\n") < 300:
        data += os.read(pipe[0], 65536)
    handler.close()


def test_colors_are_ours() -> None:
    record = logging.makeLogRecord({"name": "vconnect.x", "levelno": 40, "levelname": "ERROR"})
    record.msg = "\x1b[31mnot yours"
    assert "\x1b[31mERROR" in HostFormatter(colored=True).format(record)
    assert "\\x1b[31mnot yours" in HostFormatter(colored=True).format(record)


def record_of(name: str, text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "file", 1, text, arguments, None)


def shown(record: logging.LogRecord, *, colored: bool = False) -> str:
    """The line, without its time."""
    return HostFormatter(colored=colored).format(record).split(" ", 2)[2]


def test_a_line_has_time_level_and_text() -> None:
    line = HostFormatter(colored=False).format(record_of("vconnect.x", "it is %d", 5))
    stamp, rest = line[:23], line[23:]
    assert stamp[:4].isdigit()
    assert stamp[19] == "."
    assert rest == " WARNING it is 5"


def test_a_plugins_lines_name_it_and_the_hosts_do_not() -> None:
    assert shown(record_of("vconnect.plugin.example", "hello")) == "WARNING [example] hello"
    assert shown(record_of("vconnect.plugins.catalog", "hello")) == "WARNING hello"
    assert shown(record_of("vconnect.plugin.a.b", "hello")) == "WARNING [a.b] hello"


def test_a_record_never_begins_a_line_of_its_own() -> None:
    forged = record_of("vconnect.plugin.x\ny", "%s", "one\r\n2026-01-01 ERROR two\u2028three")
    line = HostFormatter(colored=True).format(forged)
    assert line.splitlines() == [line]
    assert line.endswith(r"[x\ny] one\r\n2026-01-01 ERROR two\u2028three")


@pytest.mark.parametrize(
    ("level", "color"),
    [(logging.DEBUG, "2"), (logging.WARNING, "33"), (logging.ERROR, "31"), (logging.INFO, None)],
)
def test_levels_have_their_colors(level: int, color: str | None) -> None:
    record = logging.LogRecord("vconnect.x", level, "file", 1, "text", (), None)
    line = HostFormatter(colored=True).format(record)
    name = logging.getLevelName(level)
    assert (f"\x1b[{color}m{name:<7}\x1b[0m text" in line) is (color is not None)
    assert ("\x1b" in line) is (color is not None)


def test_a_record_may_be_rendered_twice() -> None:
    record = record_of("vconnect.plugin.example", "a\x1bb")
    assert shown(record) == shown(record) == r"WARNING [example] a\x1bb"


def test_a_traceback_follows_on_lines_of_its_own() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        caught = sys.exc_info()
    record = logging.LogRecord("vconnect.x", logging.ERROR, "file", 1, "failed", (), caught)
    lines = HostFormatter(colored=False).format(record).splitlines()
    assert lines[0].endswith(" ERROR   failed")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: why"


def test_a_traceback_does_not_steer_the_terminal() -> None:
    try:
        raise ValueError("a\x1b[2Jb")
    except ValueError:
        caught = sys.exc_info()
    record = logging.LogRecord("vconnect.x", logging.ERROR, "file", 1, "failed", (), caught)
    text = HostFormatter(colored=False).format(record)
    assert "\x1b" not in text
    assert text.endswith(r"ValueError: a\x1b[2Jb")


def test_a_record_that_cannot_be_rendered_is_reported_and_the_next_is_written(
    pipe: tuple[int, int], logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = handler_on(pipe[1])
    logger.addHandler(handler)
    logger.error("%d", "no number")
    logger.error("next")
    handler.close()
    assert os.read(pipe[0], 4096).decode().endswith("[example] next\n")
    assert "TypeError" in capsys.readouterr().err


def test_text_that_is_no_utf8_is_written_all_the_same(
    pipe: tuple[int, int], logger: logging.Logger
) -> None:
    handler = handler_on(pipe[1])
    logger.addHandler(handler)
    logger.error("\udcff ü")
    handler.close()
    assert os.read(pipe[0], 4096).endswith("[example] \\udcff ü\n".encode())


def test_json_is_one_object_a_line(logger: logging.Logger) -> None:
    made = logger.makeRecord(
        logger.name, logging.WARNING, "x.py", 1, "no %s\n\x1b[2J\u202e", ("disk",), None
    )
    made.created = 1_700_000_000.25
    line = JsonFormatter().format(made)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warn",
        "message": "no disk\n\x1b[2J\u202e",
        "plugin": "example",
        "fields": {},
    }
    made.name = "vconnect.host"
    assert json.loads(JsonFormatter().format(made))["plugin"] is None
