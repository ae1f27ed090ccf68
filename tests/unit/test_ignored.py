"""Rules as in ``.gitignore``: which line decides."""

import pytest

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
