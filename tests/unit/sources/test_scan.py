"""Which files of a source directory count."""

import os
import sys

import pytest

from vconnect.sources.scan import Scanner, Source, Stamp


def scanner(directory, ignore=(), also=()):
    return Scanner(Source("a", directory, tuple(ignore), tuple(also)))


def files(directory, ignore=(), also=()):
    return set(scanner(directory, ignore, also).scan().files)


def put(directory, *names):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


@pytest.mark.parametrize(
    "name", ["main.rs", "a/b/c.py", "plugin.json", "web/package.json", "Cargo.toml", "run.sh"]
)
def test_sources_and_build_files_count(tmp_path, name):
    put(tmp_path, name)
    assert files(tmp_path) == {name}


@pytest.mark.parametrize(
    "name",
    """
    state.json a.yaml a.toml a.txt a.db Makefile .x.py .git/x.py target/x.rs node_modules/x.js
    __pycache__/x.py build/x.py sub/venv/x.py .hidden/plugin.json
    """.split(),
)
def test_data_and_products_do_not(tmp_path, name):
    put(tmp_path, name)
    assert files(tmp_path) == set()


def test_gitignore_is_heeded_at_each_level(tmp_path):
    put(tmp_path, "a.py", "gen/b.py", "sub/gen.py", "sub/c.py")
    (tmp_path / ".gitignore").write_text("gen/\n")
    (tmp_path / "sub" / ".gitignore").write_text("gen.py\n")
    assert files(tmp_path) == {"a.py", "sub/c.py"}


def test_the_operator_decides_last(tmp_path):
    put(tmp_path, "a.py", "own.py", "gen/b.py", "t/x.html", "t/y.txt", "build/s.json", "build/z.py")
    (tmp_path / ".gitignore").write_text("gen/\n")
    also = ["*.html", "build/s.json", "gen/b.py", "own.py"]
    assert files(tmp_path, ignore=["own.py"], also=also) == {
        "a.py",
        "gen/b.py",
        "t/x.html",
        "build/s.json",
    }


def test_a_directory_that_is_taken_back_counts_as_a_whole(tmp_path):
    put(tmp_path, "build/a.py", "build/sub/b.py", "gen/c.py")
    (tmp_path / ".gitignore").write_text("gen/\n")
    assert files(tmp_path, ignore=["!build/", "!gen/"]) == {
        "build/a.py",
        "build/sub/b.py",
        "gen/c.py",
    }


def test_links_are_followed_once(tmp_path):
    source, shared = tmp_path / "source", tmp_path / "shared"
    put(source, "a.py", "real/b.py")
    put(shared, "c.py", "one.py")
    (shared / "back").symlink_to(source)
    (source / "0-twin").symlink_to("real")
    (source / "lib").symlink_to(shared)
    (source / "loop").symlink_to("loop")
    (source / "one.py").symlink_to(shared / "one.py")
    (source / "gone.py").symlink_to("nowhere.py")
    scan = scanner(source).scan()
    assert set(scan.files) == {"a.py", "real/b.py", "lib/c.py", "lib/one.py", "one.py"}
    assert scan.targets == {str(shared / "one.py")}


def test_too_many_files_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr("vconnect.sources.scan._MAX_FILES", 3)
    put(tmp_path, "a.py", "b.py", "c.py", "d.py")
    assert "more than 3 source files" in scanner(tmp_path).scan().problems[0]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take only UTF-8")
def test_names_that_are_not_utf_8_count_without_notifications(tmp_path):
    put(tmp_path, os.fsdecode(b"\xff/\xfe.py"))
    scan = scanner(tmp_path).scan()
    assert list(scan.files) == ["\udcff/\udcfe.py"]
    assert list(scan.directories) == [str(tmp_path)]


def test_a_directory_that_is_not_there_has_no_files(tmp_path):
    assert files(tmp_path / "nowhere") == set()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.py", True),
        ("a.json", False),
        ("t.html", True),
        (".gitignore", True),
        ("sub", True),
        ("new", True),
        ("build", False),
        ("elsewhere/a.py", False),
    ],
)
def test_which_notifications_may_matter(tmp_path, path, expected):
    put(tmp_path, "a.py", "sub/b.py")
    watcher = scanner(tmp_path, also=["*.html"])
    scan = watcher.scan()
    (tmp_path / "new").mkdir()
    (tmp_path / "build").mkdir()
    assert watcher.concerns(str(tmp_path / path), scan) is expected


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Stamp(1, 1, 1, 1), False),
        (Stamp(2, 1, 1, 1), True),
        (Stamp(1, 2, 1, 1), True),
        (Stamp(1, 1, 2, 2), True),  # swapped
        (Stamp(1, 1, 2, 1), False),  # a file system without lasting inode numbers
        (Stamp(1, 1, 1, 2), False),  # another mode
        (Stamp(1, 1, 2, 1, "/other"), True),  # behind a link that leads elsewhere now
    ],
)
def test_what_makes_another_file(other, expected):
    assert Stamp(1, 1, 1, 1).differs(other) is expected
