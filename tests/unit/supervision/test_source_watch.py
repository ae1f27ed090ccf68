"""Which changes of a source count, and when."""

import os

import pytest

from vconnect.supervision.source_watch import SourceWatch


@pytest.fixture
def source(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").write_text("fn main() {}")
    return tmp_path


def looks(watch, source, times=2):
    return [bool(watch.changed([source])) for _ in range(times)]


def test_a_change_counts_once_it_has_settled(source):
    watch = SourceWatch()
    assert looks(watch, source) == [False, False]
    (source / "src" / "main.rs").write_text("fn main() { }")
    assert looks(watch, source, 4) == [False, True, False, False]


def test_files_that_come_and_go_count(source):
    watch = SourceWatch()
    looks(watch, source)
    (source / "plugin.json").write_text("{}")
    assert looks(watch, source) == [False, True]
    (source / "plugin.json").unlink()
    assert looks(watch, source) == [False, True]


def test_one_that_is_still_being_written_waits(source):
    watch = SourceWatch()
    looks(watch, source)
    for size in range(3):
        (source / "src" / "main.rs").write_text("x" * (100 + size))
        assert not watch.changed([source])
    assert watch.changed([source]) == [source]


def test_an_older_file_in_its_place_counts(source):
    watch = SourceWatch()
    looks(watch, source)
    os.utime(source / "src" / "main.rs", ns=(1, 1))
    assert looks(watch, source) == [False, True]


@pytest.mark.parametrize(
    "name", ["target/x.rs", ".git/x.py", "__pycache__/x.py", "log.txt", ".x.py"]
)
def test_what_is_built_or_written_does_not(source, name):
    watch = SourceWatch()
    looks(watch, source)
    path = source / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    assert looks(watch, source) == [False, False]


def test_a_directory_that_is_gone_and_comes_back(source, tmp_path):
    watch = SourceWatch()
    assert not watch.changed([tmp_path / "nowhere"])
    looks(watch, source)
    assert watch.changed([]) == []
    (source / "src" / "main.rs").write_text("changed meanwhile")
    assert looks(watch, source) == [False, False]
