"""The writer's thread: order, bounds, its end; and the host's own log behind it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import pytest

from vconnect.logs import host_log
from vconnect.logs.host_log import HostFormatter, HostHandler
from vconnect.logs.writer import LogWriter

PATIENCE_S = 10.0


def test_everything_is_written_in_order_before_the_end() -> None:
    written: list[int] = []
    writer: LogWriter[int] = LogWriter("test", written.extend)
    assert not writer.is_running
    for number in range(1000):
        assert writer.put(number, 1)
    writer.stop()
    assert writer.join(PATIENCE_S)
    assert written == [*range(1000)]
    assert not writer.put(1, 1)


def test_it_ends_without_having_begun() -> None:
    writer: LogWriter[int] = LogWriter("test", lambda _: None)
    writer.stop()
    assert writer.join(0)


@pytest.mark.parametrize(("limit", "size"), [("max_queued", 1), ("max_queued_bytes", 10)])
def test_a_full_queue_refuses_and_never_waits(limit: str, size: int) -> None:
    gate = threading.Event()
    written: list[int] = []

    def write(batch: list[int]) -> None:
        gate.wait(PATIENCE_S)
        written.extend(batch)

    writer: LogWriter[int] = LogWriter("test", write, **{limit: 5 * size})
    taken = [writer.put(number, size) for number in range(20)]
    assert taken[:5] == [True] * 5
    assert taken.count(True) <= 10  # it may have taken some out already
    assert not writer.put(99, size)
    gate.set()
    writer.stop()
    assert writer.join(PATIENCE_S)
    assert len(written) == taken.count(True)


def test_a_fault_in_the_thread_is_logged_and_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    written: list[int] = []
    faulty = threading.Event()

    def write(batch: list[int]) -> None:
        if not faulty.is_set():
            faulty.set()
            raise ValueError("a bug")
        written.extend(batch)

    writer: LogWriter[int] = LogWriter("test", write)
    writer.put(1, 1)
    assert faulty.wait(PATIENCE_S)
    writer.put(2, 1)
    writer.stop()
    assert writer.join(PATIENCE_S)
    assert written == [2]
    assert "internal error; 1 items lost" in caplog.text


# --- the host's log --------------------------------------------------------------------------


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
