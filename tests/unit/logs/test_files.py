"""Files: rotation, and disks that fail and come back."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest
from tests.support.clock import Clock

from vconnect.logs.files import RETRY_AFTER, LogFiles, RotatingFile, file_line
from vconnect.logs.records import LogRecord


def record(text: str, seq: int = 1) -> LogRecord:
    return LogRecord(seq, 1_700_000_000.25, "stdout", "warn", text, b'{"n":1}')


def lines(count: int, start: int = 0) -> list[bytes]:
    return [b"%09d\n" % number for number in range(start, start + count)]


def test_a_line_tells_when_how_grave_and_where(tmp_path: Path) -> None:
    line = file_line(record("a\x1b[2Jb\u202e"))
    assert line == rb"2023-11-14T22:13:20.250Z WARN  stdout a\x1b[2Jb\u202e n=1" + b"\n"


def test_it_rotates_by_size_and_keeps_so_many(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "example.log"
    for start in range(0, 100, 4):
        RotatingFile(path, 100, 3).write(lines(4, start))
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "example.log",
        "example.log.1",
        "example.log.2",
    ]
    kept = [path.with_name(name).read_bytes() for name in ("example.log.2", "example.log.1")]
    assert b"".join([*kept, path.read_bytes()]) == b"".join(lines(30, 70))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_one_large_batch_is_spread_over_files(tmp_path: Path) -> None:
    path = tmp_path / "example.log"
    RotatingFile(path, 100, 5).write(lines(35))
    sizes = [file.stat().st_size for file in sorted(tmp_path.iterdir())]
    assert sizes == [50, 100, 100, 100]


def test_a_line_that_is_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "example.log"
    RotatingFile(path, 10, 5).write([b"a\n", b"b" * 50 + b"\n", b"c\n"])
    assert path.read_bytes() == b"c\n"
    assert path.with_name("example.log.1").stat().st_size == 51
    assert path.with_name("example.log.2").read_bytes() == b"a\n"


def test_a_single_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "example.log"
    RotatingFile(path, 100, 1).write(lines(25))
    assert [file.name for file in tmp_path.iterdir()] == ["example.log"]
    assert path.read_bytes() == b"".join(lines(5, 20))


def test_a_torn_line_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "example.log"
    path.write_bytes(b"whole\nto")
    RotatingFile(path, 100, 2).write([b"next\n"])
    assert path.read_bytes() == b"whole\nto\nnext\n"


def test_neither_link_nor_fifo_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link.log").symlink_to("victim")
    os.mkfifo(tmp_path / "fifo.log")
    for name in ("link.log", "fifo.log"):
        with pytest.raises(OSError):
            RotatingFile(tmp_path / name, 100, 2).write([b"x\n"])
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_failure_is_told_once_and_so_is_its_end(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "logs"
    directory.write_text("in the way")
    files = LogFiles(directory, 1000, 2, clock)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            files.write([("a", record("lost")), ("b", record("lost"))])
            clock.now += RETRY_AFTER
        assert len(caplog.records) == 1
        assert str(directory) in caplog.text
        directory.unlink()
        files.write([("a", record("there")), ("b", record("there"))])
        files.write([("a", record("there"))])
    assert "10 lines are missing" in caplog.records[1].getMessage()
    assert len(caplog.records) == 2
    assert (directory / "a.log").read_text().count("there") == 2


def test_a_failing_file_is_left_alone_for_a_while(tmp_path: Path, clock: Clock) -> None:
    directory = tmp_path / "logs"
    directory.write_text("in the way")
    files = LogFiles(directory, 1000, 2, clock)
    files.write([("a", record("lost"))])
    directory.unlink()
    files.write([("a", record("lost"))])
    assert not directory.exists()
    clock.now += RETRY_AFTER
    files.write([("a", record("there"))])
    assert "there" in (directory / "a.log").read_text()


def test_a_deleted_directory_is_made_again(tmp_path: Path) -> None:
    files = LogFiles(tmp_path / "logs", 1000, 2)
    files.write([("a", record("one"))])
    (tmp_path / "logs" / "a.log").unlink()
    (tmp_path / "logs").rmdir()
    files.write([("a", record("two"))])
    assert "two" in (tmp_path / "logs" / "a.log").read_text()
