"""A progress bar on the terminal for downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress


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

    def __call__(self, done: int, total: int | None) -> None:
        """Show ``done`` of ``total`` bytes; the bar disappears when they are equal."""
        if self._progress is None:
            self._progress = _new_bar()
            self._progress.add_task("downloading", total=total)
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
