"""Downloads on a terminal that is a string, and in lines of JSON."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from vconnect.cli import progress
from vconnect.cli.progress import DownloadBar, ProgressKind, shown_progress
from vconnect.packages.progress import Step


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """Each bar that was made; none of them redraws by itself, which would take a thread."""
    made: list[Progress] = []

    def new_bar() -> Progress:
        terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
        made.append(Progress(console=terminal, transient=True, auto_refresh=False))
        return made[-1]

    monkeypatch.setattr(progress, "_new_bar", new_bar)
    return made


def shown(bar: Progress) -> tuple[float, float | None]:
    (task,) = bar.tasks
    return task.completed, task.total


def test_nothing_is_shown_before_there_is_something(bars: list[Progress]) -> None:
    with DownloadBar():
        pass
    assert bars == []


def test_it_shows_how_far_it_is(bars: list[Progress]) -> None:
    with DownloadBar() as bar:
        bar(10, 100)
        assert shown(bars[0]) == (10, 100)
        bar(60, 100)
        assert shown(bars[0]) == (60, 100)
        assert bars[0].live.is_started
    assert len(bars) == 1


def test_it_goes_when_all_is_there(bars: list[Progress]) -> None:
    with DownloadBar() as bar:
        bar(100, 100)
        assert not bars[0].live.is_started


def test_the_next_package_has_a_bar_of_its_own(bars: list[Progress]) -> None:
    with DownloadBar() as bar:
        bar(100, 100)
        bar(1, 50)
        assert [shown(bar) for bar in bars] == [(100, 100), (1, 50)]


def test_without_a_length_there_is_no_end(bars: list[Progress]) -> None:
    with DownloadBar() as bar:
        bar(5000, None)
        assert shown(bars[0]) == (5000, None)
        assert bars[0].live.is_started
    assert not bars[0].live.is_started


def test_a_download_that_begins_again_is_shown_from_its_beginning(bars: list[Progress]) -> None:
    with DownloadBar() as bar:
        bar(90, 100)
        bar(10, 100)
        assert shown(bars[0]) == (10, 100)


def test_a_failure_takes_it_off_the_terminal(bars: list[Progress]) -> None:
    def fail() -> None:
        with DownloadBar() as bar:
            bar(10, 100)
            raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        fail()
    assert not bars[0].live.is_started


def test_the_end_may_come_twice(bars: list[Progress]) -> None:
    bar = DownloadBar()
    bar.close()
    bar(1, 2)
    bar.close()
    bar.close()
    assert not bars[0].live.is_started


def test_the_real_one_is_on_stderr_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with DownloadBar() as bar:
        bar(1, 2)
        bar(2, 2)
    assert capsys.readouterr().out == ""


def step(done: int, total: int | None = 100, source: str = "https://h/a.vp") -> Step:
    return Step(source, done, total, 7.5)


def test_each_download_has_a_bar_of_its_own(bars: list[Progress]) -> None:
    with shown_progress("bar") as report:
        assert report is not None
        report(step(10))
        report(step(60))
        report(step(20, source="https://h/b.vp"))
        assert [bar.live.is_started for bar in bars] == [False, True]
    assert [shown(bar) for bar in bars] == [(60, 100), (20, 100)]
    assert not bars[1].live.is_started


def test_what_is_there_at_once_needs_no_bar(bars: list[Progress]) -> None:
    with shown_progress("bar") as report:
        assert report is not None
        report(step(100))
    assert bars == []


def test_a_continued_download_does_not_look_fast(bars: list[Progress]) -> None:
    with DownloadBar() as bar:
        bar(90, 100)
        assert bars[0].tasks[0].speed is None


def test_lines_of_json_are_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("json") as report:
        assert report is not None
        report(step(10, None))
        report(step(60))
    out, err = capsys.readouterr()
    assert out == ""
    first = {"source": "https://h/a.vp", "bytes": 10, "total": None, "rate": 7.5}
    assert [json.loads(line)["progress"] for line in err.splitlines()] == [
        first,
        {**first, "bytes": 60, "total": 100},
    ]


@pytest.mark.parametrize(
    ("kind", "is_terminal", "shows"),
    [("auto", True, True), ("auto", False, False), ("bar", False, True), ("none", True, False)],
)
def test_by_default_only_a_terminal_shows_something(
    bars: list[Progress],
    monkeypatch: pytest.MonkeyPatch,
    kind: ProgressKind,
    is_terminal: bool,
    shows: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    with shown_progress(kind) as report:
        assert (report is not None) is shows
        if report is not None:
            report(step(1))
    assert len(bars) == shows


def test_without_a_stderr_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with shown_progress("auto") as report:
        assert report is None
