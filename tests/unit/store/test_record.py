"""store.json: it is replaced as a whole, and no trouble with it keeps a plugin from starting."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from vconnect.errors import InstallError
from vconnect.store.layout import InstalledVersion
from vconnect.store.record import Record, read_record, write_record

VERSION = InstalledVersion("example", "1", "abc", Path("/p/example/versions/1+abc"))


def test_a_missing_one_is_empty(tmp_path: Path) -> None:
    assert read_record(tmp_path) == Record()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    record = Record(next="1+abc").with_entry(VERSION, "start", "failed", "no handshake")
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert (tmp_path / "store.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "store.json").read_text())["format"] == 1


def test_the_last_result_counts() -> None:
    record = Record().with_entry(VERSION, "install", "installed")
    assert record.last("abc").result == "installed"
    assert record.with_entry(VERSION, "start", "failed").last("abc").result == "failed"
    assert record.last("other") is None


def test_only_the_newest_are_kept() -> None:
    record = Record()
    for number in range(60):
        version = msgspec.structs.replace(VERSION, version=str(number))
        record = record.with_entry(version, "start", "ready")
    assert [entry.version for entry in record.history] == [str(n) for n in range(10, 60)]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"history": 1}', "\udcff", '{"a":' * 10_000])
def test_a_corrupt_one_is_empty_and_said(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "store.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_record(tmp_path) == Record()
    assert "its history is lost" in caplog.text
    write_record(tmp_path, Record(next="x"))
    assert read_record(tmp_path).next == "x"


def test_a_newer_one_is_refused_and_its_fields_are_kept(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 2}')
    with pytest.raises(InstallError, match="format version 2"):
        read_record(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 1, "aliases": ["a"], "next": "x"}')
    write_record(tmp_path, Record())
    assert json.loads((tmp_path / "store.json").read_text()) == {"format": 1, "aliases": ["a"]}
