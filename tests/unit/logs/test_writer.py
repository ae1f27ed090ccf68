"""The writer's thread: order, bounds, its end; and the host's own log behind it."""

from __future__ import annotations

import threading

import pytest

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
