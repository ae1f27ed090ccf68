"""Rules as in ``.gitignore``: which line decides."""

import os
import time

import pytest

from vconnect import ignored
from vconnect.ignored import IgnoreFiles, Patterns, check_patterns


def ignores(rule):
    return None if rule is None else rule.ignores


@pytest.mark.parametrize(
    ("lines", "path", "expected"),
    [
        (["*.log"], "a/b.log", True),
        (["/a.py"], "sub/a.py", None),
        (["/a.py"], "a.py", True),
        (["*.py", "!keep.py"], "keep.py", False),
        (["# note", "", "data/"], "data/x", True),
        (["data/"], "data", None),
        (["a\r"], "a", True),
    ],
)
def test_the_last_line_that_matches_decides(lines, path, expected):
    assert ignores(Patterns(lines, "list").rule(path)) is expected


def test_a_rule_says_where_it_is(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".gitignore").write_text("# built\n\n/out.js\n")
    files = IgnoreFiles()
    assert files.enter(tmp_path, "") == []
    assert files.enter(tmp_path, "sub") == []
    assert str(files.rule("sub/out.js")) == "line 3 of sub/.gitignore (/out.js)"
    assert files.rule("out.js") is None


def test_the_deepest_file_decides(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".gitignore").write_text("*.js\n")
    (tmp_path / "sub" / ".gitignore").write_text("!*.js\n")
    files = IgnoreFiles()
    for directory in ("", "sub"):
        files.enter(tmp_path, directory)
    assert ignores(files.rule("a.js")) is True
    assert ignores(files.rule("sub/a.js")) is False


def test_the_later_name_wins_whatever_the_depth(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".vpignore").write_text("!*.js\n")
    (tmp_path / "sub" / ".gitignore").write_text("*.js\n")
    files = IgnoreFiles([".gitignore", ".vpignore"])
    for directory in ("", "sub"):
        files.enter(tmp_path, directory)
    assert ignores(files.rule("sub/a.js")) is False
    assert files.takes_back(".vpignore")
    assert not files.takes_back(".gitignore")


def test_rules_that_stay_the_same_are_parsed_once(tmp_path):
    (tmp_path / ".gitignore").write_text("*.js\n")
    first = IgnoreFiles()
    first.enter(tmp_path, "")
    second = IgnoreFiles(previous=first)
    second.enter(tmp_path, "")
    assert second.rule("a.js") is first.rule("a.js")
    (tmp_path / ".gitignore").write_text("*.py\n")
    third = IgnoreFiles(previous=second)
    third.enter(tmp_path, "")
    assert third.rule("a.js") is None
    assert third.rule("a.py").ignores


def test_what_is_known_of_paths_has_a_bound(monkeypatch):
    monkeypatch.setattr("vconnect.ignored._MAX_KNOWN", 3)
    patterns = Patterns(["*.js"], "list")
    assert all(patterns.rule(f"{number}.js") for number in range(10))
    assert len(patterns._known) <= 3


def test_a_file_with_a_mistake_has_no_effect_and_is_named(tmp_path):
    (tmp_path / ".gitignore").write_text("*.js\n!\n")
    files = IgnoreFiles()
    (problem,) = files.enter(tmp_path, "")
    assert problem.startswith(".gitignore: ")
    assert files.rule("a.js") is None


@pytest.mark.parametrize(
    ("pattern", "words"), [("../x", "leads out"), ("!", "not a valid .gitignore pattern")]
)
def test_what_an_operator_may_not_write(pattern, words):
    assert words in check_patterns(["*.py", pattern])


def test_ordinary_patterns_are_right():
    assert check_patterns(["*.html", "/config.yaml", "!a", "data/"]) == ""


def test_many_asterisks_take_no_time():
    """With `re`, this takes longer than anybody waits."""
    patterns = Patterns(["*a" * 14 + "*b.py"], "x")
    began = time.monotonic()
    assert patterns.rule("a" * 120 + ".py") is None
    assert ignores(patterns.rule("a" * 120 + "b.py")) is True
    assert time.monotonic() - began < 1


@pytest.fixture
def slow(monkeypatch):
    """Lets all patterns with "slow" miss their deadline."""
    really_match = ignored._Limited._match

    def match(self, text):
        if "slow" in self._regex.pattern:
            raise TimeoutError
        return really_match(self, text)

    monkeypatch.setattr(ignored._Limited, "_match", match)


def test_a_line_that_takes_too_long_has_no_effect_and_is_told(tmp_path, slow):
    (tmp_path / ".gitignore").write_text("*.log\n*slow*\n*.txt\n")
    files = IgnoreFiles()
    assert files.enter(tmp_path, "") == []
    assert files.slow() == []
    assert files.rule("slow.py") is None
    assert files.slow() == [
        "line 2 of .gitignore (*slow*) takes too long and has no effect; write it with fewer "
        "asterisks"
    ]
    assert ignores(files.rule("x.txt")) is ignores(files.rule("x.log")) is True


def test_a_file_of_slow_lines_has_no_effect_at_all(slow):
    patterns = Patterns(["*.py"] + [f"slow{number}" for number in range(25)], "x")
    assert patterns.rule("x.py") is None
    assert len(patterns.slow) == 20


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "long"])
def test_what_is_no_file_of_rules_is_told_and_not_waited_for(tmp_path, kind):
    file = tmp_path / ".gitignore"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "directory":
        file.mkdir()
    else:
        file.write_text("x\n" * 20_000)
    (problem,) = IgnoreFiles().enter(tmp_path, "")
    assert ("more than 10000 lines" if kind == "long" else "not a regular file") in problem
