"""Shows downloads on stderr: a bar on the terminal, or lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Self

import click
import msgspec

if TYPE_CHECKING:
    from rich.progress import Progress

    from vconnect.packages.progress import Report, Step

#: ``auto``: a bar on a terminal, else nothing.
ProgressKind = Literal["auto", "bar", "json", "none"]


@contextmanager
def shown_progress(kind: ProgressKind) -> Iterator[Report | None]:
    """Yield what shows how far downloads are; ``None`` if nothing does."""
    if kind == "json":
        yield _print_line
    elif kind == "bar" or (kind == "auto" and is_terminal()):
        with DownloadBar() as bar:
            yield bar.show
    else:
        yield None


def is_terminal() -> bool:
    """Return whether stderr is a terminal, where a bar can be drawn again and again."""
    return sys.stderr is not None and sys.stderr.isatty()


def _print_line(step: Step) -> None:
    click.echo(msgspec.json.encode({"progress": step}), err=True)


class DownloadBar:
    """A progress bar on the terminal, for one package after another.

    Use it as a context manager, which removes it from the terminal at the end.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._source = ""

    def show(self, step: Step) -> None:
        """Show a step of a download; each has a bar of its own."""
        if step.source != self._source:
            self.close()
            self._source = step.source
        if self._progress is not None or step.bytes != step.total:
            self(step.bytes, step.total)

    def __call__(self, done: int, total: int | None) -> None:
        """Show ``done`` of ``total`` bytes; the bar disappears when they are equal."""
        if self._progress is None:
            self._progress = _new_bar()
            # What is there already, of a download that is continued, says nothing of the rate.
            self._progress.add_task("downloading", total=total, completed=done)
            self._progress.start()
        task = self._progress.task_ids[0]
        # The total may arrive late, or never: a server need not send it.
        self._progress.update(task, completed=done, total=total)
        if done == total:
            self.close()

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        # On stderr and gone at the end: stdout and the log stay readable.
        transient=True,
    )
