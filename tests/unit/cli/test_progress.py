"""The bar of a download, on a terminal that is a string."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from vconnect.cli import progress
from vconnect.cli.progress import DownloadBar


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
