"""Parts of downloads on a real disk: what is kept, continued, and thrown away."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from vconnect.durable import try_lock
from vconnect.packages.fetching.partial import (
    Mark,
    Part,
    Parts,
    mark_of,
    new_part,
    place_of,
    why_not_continued,
)

URL_TEXT = "https://h.example/a.vp?sig=1"
PLACE = place_of(URL(URL_TEXT))
MARK = Mark('"v1"', 10, PLACE)
NAME = hashlib.sha256(URL_TEXT.encode()).hexdigest()


def headers(**fields: str) -> CIMultiDictProxy[str]:
    made = CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
    return CIMultiDictProxy(made)


def opened(directory: Path, *, max_bytes: int = 100, source: str = URL_TEXT) -> Part:
    part = Parts(directory / "partial", max_bytes).open(source, threading.Event())
    assert part is not None
    return part


def kept(directory: Path, data: bytes = b"12345", source: str = URL_TEXT) -> Path:
    """Leave a part, as an interrupted download does."""
    part = opened(directory, source=source)
    part.begin(MARK)
    part.write(data)
    part.close()
    return directory / "partial" / hashlib.sha256(source.encode()).hexdigest()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "partial").iterdir())


# --- what responses say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "etag", ['W/"v1"', "v1", '""', '"a b"', "'v1'", '"v1', '"a"b"', '"' + "x" * 2000 + '"']
)
def test_only_a_strong_etag_marks_a_part(etag: str) -> None:
    assert mark_of(URL(URL_TEXT), headers(ETag=etag), 10) is None


def test_two_etags_mark_nothing() -> None:
    twice = CIMultiDict([("ETag", '"v1"'), ("ETag", '"v1"')])
    assert mark_of(URL(URL_TEXT), CIMultiDictProxy(twice), 10) is None
    assert mark_of(URL(URL_TEXT), headers(), 10) is None
    assert mark_of(URL(URL_TEXT), headers(ETag='"v1"'), 10) == MARK


@pytest.mark.parametrize(
    ("content_range", "etag", "words"),
    [
        ("bytes 5-9/10", '"v1"', ""),
        ("bytes 5-7/10", '"v1"', ""),
        ("bytes 4-9/10", '"v1"', "begins at byte 4, and 5 was asked for"),
        ("bytes 6-9/10", '"v1"', "begins at byte 6"),
        ("bytes 5-9/11", '"v1"', "the file had 10 bytes"),
        ("bytes 5-10/10", '"v1"', "'bytes 5-10/10'"),
        ("bytes 5-4/10", '"v1"', "'bytes 5-4/10'"),
        ("bytes 5-9/*", '"v1"', "Content-Range is 'bytes 5-9/\\*'"),
        ("bytes */10", '"v1"', "Content-Range"),
        ("octets 5-9/10", '"v1"', "Content-Range"),
        ("bytes 5-9/10, 7-9/10", '"v1"', "Content-Range"),
        ("bytes 5-9/" + "1" * 19, '"v1"', "Content-Range"),
        ("", '"v1"', "Content-Range is ''"),
        ("bytes 5-9/10", '"v2"', 'ETag is "v2", and it was "v1"'),
        ("bytes 5-9/10", 'W/"v1"', "missing or weak"),
        ("bytes 5-9/10", "", "missing or weak"),
    ],
)
def test_what_continues_a_part(content_range: str, etag: str, words: str) -> None:
    fields = {"Content_Range": content_range, "ETag": etag}
    given = headers(**{name: value for name, value in fields.items() if value})
    why = why_not_continued(given, MARK, 5)
    assert words.replace("\\", "") in why
    assert bool(why) is bool(words)


def test_without_a_length_any_total_continues() -> None:
    mark = msgspec.structs.replace(MARK, total=None)
    assert why_not_continued(headers(Content_Range="bytes 5-9/10", ETag='"v1"'), mark, 5) == ""


def test_the_rest_is_asked_for_only_where_the_part_is_from(tmp_path: Path) -> None:
    part = new_part(tmp_path / "a.vp")
    part.begin(MARK)
    assert part.conditions(URL(URL_TEXT)) == {}  # nothing is there yet
    part.write(b"12345")
    expected = {"Range": "bytes=5-", "If-Range": '"v1"'}
    assert part.conditions(URL("https://h.example/a.vp?sig=2")) == expected
    for other in ("https://i.example/a.vp", "https://h.example:1/a.vp", "https://h.example/b.vp"):
        assert part.conditions(URL(other)) == {}
    part.begin()
    part.write(b"12345")
    assert part.conditions(URL(URL_TEXT)) == {}
    part.close()


# --- one part --------------------------------------------------------------------------------


def test_a_part_is_continued_and_all_of_it_is_hashed(tmp_path: Path) -> None:
    path = kept(tmp_path)
    assert [oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()] == ["0o600"] * 2
    assert path.parent.stat().st_mode & 0o777 == 0o700
    part = opened(tmp_path)
    assert (part.size, part.mark) == (5, MARK)
    part.write(b"67890")
    assert part.complete(tmp_path / "a.vp") == hashlib.sha256(b"1234567890").hexdigest()
    assert (tmp_path / "a.vp").read_bytes() == b"1234567890"
    assert names(tmp_path) == []
    part.close()  # nothing is left to close
    assert (tmp_path / "a.vp").exists()


def test_what_begins_anew_has_a_digest_of_its_own(tmp_path: Path) -> None:
    kept(tmp_path, b"123456789")
    part = opened(tmp_path)
    part.begin(msgspec.structs.replace(MARK, etag='"v2"'))
    part.write(b"abc")
    part.close()
    again = opened(tmp_path)
    assert again.mark is not None
    assert (again.size, again.mark.etag) == (3, '"v2"')
    assert again.complete(tmp_path / "a.vp") == hashlib.sha256(b"abc").hexdigest()


def test_nothing_is_kept_without_a_mark_or_bytes(tmp_path: Path) -> None:
    for mark, data in ((None, b"123"), (MARK, b"")):
        part = opened(tmp_path)
        part.begin(mark)
        part.write(data)
        part.close()
        assert names(tmp_path) == []
    part = opened(tmp_path)
    part.begin(MARK)
    part.write(b"123")
    part.drop()
    part.close()
    assert names(tmp_path) == []


def test_an_own_part_is_never_kept_and_never_in_another_file(tmp_path: Path) -> None:
    target = tmp_path / "a.vp"
    part = new_part(target)
    part.begin(MARK)
    part.write(b"123")
    part.close()
    assert not target.exists()
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        new_part(target)


@pytest.mark.parametrize("size", [10, 11])
def test_what_has_all_its_bytes_or_more_begins_anew(tmp_path: Path, size: int) -> None:
    kept(tmp_path, b"x" * size)
    part = opened(tmp_path)
    assert (part.size, part.mark) == (0, None)
    part.close()


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b'{"etag": "v1"}', b'{"etag":"W/x","total":1,"place":""}', None]
)
def test_a_part_without_a_readable_mark_begins_anew(tmp_path: Path, note: bytes | None) -> None:
    path = kept(tmp_path)
    mark = path.with_name(f"{path.name}.json")
    if note is None:
        mark.rename(tmp_path / "mark.json")
        mark.symlink_to(tmp_path / "mark.json")
    else:
        mark.write_bytes(note)
    part = opened(tmp_path)
    assert (part.size, part.mark) == (0, None)
    part.close()


def test_hashing_ends_when_it_is_no_longer_wanted_and_the_part_stays(tmp_path: Path) -> None:
    kept(tmp_path)
    stop = threading.Event()
    stop.set()
    part = Parts(tmp_path / "partial", 100).open(URL_TEXT, stop)
    assert part is not None
    part.close()
    again = opened(tmp_path)
    assert again.complete(tmp_path / "a.vp") == hashlib.sha256(b"12345").hexdigest()


# --- who may have it -------------------------------------------------------------------------


def test_two_downloads_of_one_address_do_not_mix(tmp_path: Path) -> None:
    kept(tmp_path)
    first = opened(tmp_path)
    parts = Parts(tmp_path / "partial", 100)
    assert parts.open(URL_TEXT, threading.Event()) is None
    parts.sweep()
    assert first.size == 5
    first.close()
    second = opened(tmp_path)
    assert second.size == 5
    second.close()


def test_a_lock_of_a_file_that_was_removed_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path)

    def overtaken(descriptor: int) -> bool:
        monkeypatch.undo()
        for file in (tmp_path / "partial").iterdir():
            file.unlink()
        return try_lock(descriptor)

    parts = Parts(tmp_path / "partial", 100)
    monkeypatch.setattr(parts, "sweep", lambda: None)
    monkeypatch.setattr("vconnect.packages.fetching.partial.try_lock", overtaken)
    part = parts.open(URL_TEXT, threading.Event())
    assert part is not None
    assert part.size == 0
    part.begin(MARK)
    part.write(b"1")
    part.close()
    assert names(tmp_path) == [NAME, f"{NAME}.json"]


def link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "secret")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def hard_link(path: Path) -> None:
    path.hardlink_to(path.parent.parent / "secret")


@pytest.mark.parametrize("odd", [link, pipe, directory, hard_link])
def test_what_is_no_file_of_ours_alone_is_replaced(
    tmp_path: Path, odd: Callable[[Path], None]
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"12345")
    path = kept(tmp_path)
    path.unlink()
    odd(path)
    part = opened(tmp_path)
    assert part.size == 0
    part.begin(MARK)
    part.write(b"abc")
    part.close()
    assert secret.read_bytes() == b"12345"
    assert path.read_bytes() == b"abc"


def test_a_file_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept(tmp_path)
    parts = Parts(tmp_path / "partial", 100)
    monkeypatch.setattr(parts, "sweep", lambda: None)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with caplog.at_level(logging.WARNING):
        assert parts.open(URL_TEXT, threading.Event()) is None
    assert "not a regular file that only this user has" in caplog.text


def test_a_directory_that_cannot_be_used_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "partial").write_text("")
    assert Parts(tmp_path / "partial", 100).open(URL_TEXT, threading.Event()) is None
    assert "partial cannot be used, so an interrupted download will begin anew" in caplog.text


# --- what is swept ---------------------------------------------------------------------------


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize(("hours", "stays"), [(23.9, True), (24.1, False), (-24.1, False)])
def test_a_part_is_kept_for_a_day(tmp_path: Path, hours: float, stays: bool) -> None:
    age(kept(tmp_path), hours * 3600)
    Parts(tmp_path / "partial", 100).sweep()
    assert bool(names(tmp_path)) is stays


def test_the_oldest_go_when_there_is_too_much_in_all(tmp_path: Path) -> None:
    paths = [kept(tmp_path, b"x" * 9, f"https://h/{number}.vp") for number in range(3)]
    for seconds, path in zip((10, 30, 20), paths, strict=True):
        age(path, seconds)
    Parts(tmp_path / "partial", 27).sweep()
    assert all(path.exists() for path in paths)
    Parts(tmp_path / "partial", 18).sweep()
    assert [path.exists() for path in paths] == [True, False, True]
    Parts(tmp_path / "partial", 8).sweep()
    assert names(tmp_path) == []


def test_what_is_no_part_is_removed(tmp_path: Path) -> None:
    path = kept(tmp_path)
    other = kept(tmp_path, source="https://h/other.vp")
    other.unlink()  # as a kill leaves it that had moved the bytes away
    path.with_name(f"{path.name}.json.new").write_text("{")
    for name in (".json", ".hidden", "x", "f" * 63):
        (path.parent / name).write_text("")
    (path.parent / "directory").mkdir()
    Parts(path.parent, 100).sweep()
    assert names(tmp_path) == [NAME, f"{NAME}.json", f"{NAME}.json.new"]
    part = opened(tmp_path)
    assert part.size == 5
    part.close()


def test_without_a_directory_there_is_nothing_to_sweep(tmp_path: Path) -> None:
    Parts(tmp_path / "partial", 100).sweep()
    assert not (tmp_path / "partial").exists()
