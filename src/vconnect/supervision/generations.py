"""The instances of one plugin: the one that serves, one that may follow, those that leave."""

# The idea: there is one current instance, at most one successor beside it until that is ready, and
# any number of instances that are leaving, each with a task that drains and ends it. An instance
# moves from left to right only: successor, current, leaving. Taking over is one assignment, so no
# moment exists in which two instances serve, or none that could.

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from .instance import Instance


class Generations:
    """Knows which instance of a plugin does what.

    Args:
        plugin: The plugin's name, for the names of tasks.
        on_left: Called when an instance has left.

    Attributes:
        current: The instance that serves or is the first to start, or ``None``.
        successor: The instance that will replace it, or ``None``.
    """

    def __init__(self, plugin: str, on_left: Callable[[], None]) -> None:
        self.current: Instance | None = None
        self.successor: Instance | None = None
        self._plugin = plugin
        self._on_left = on_left
        self._leaving: dict[Instance, asyncio.Task[None]] = {}

    @property
    def present(self) -> list[Instance]:
        """The instances that serve or are about to; the successor first."""
        return [one for one in (self.successor, self.current) if one is not None]

    @property
    def ready_trial(self) -> Instance | None:
        """The instance that is ready with a version that is not current yet, if there is one."""
        return next((one for one in self.present if one.trial and one.is_ready), None)

    @property
    def all(self) -> list[Instance]:
        """Every instance, including those that are leaving."""
        return [*self.present, *self._leaving]

    def led_by(self, pid: int) -> Instance | None:
        """Return the instance whose leader has this PID, or ``None``."""
        for instance in (self.current, self.successor, *self._leaving):
            process = instance.process if instance is not None else None
            if process is not None and process.pid == pid:
                return instance
        return None

    @property
    def are_leaving(self) -> bool:
        """Whether an instance is still leaving."""
        return bool(self._leaving)

    def is_leaving(self, instance: Instance | None) -> bool:
        """Return whether this instance has been replaced."""
        return instance in self._leaving

    def take_over(self, leave: Callable[[Instance], Awaitable[None]]) -> Instance:
        """Make the successor the current instance.

        Args:
            leave: Ends the old instance, unless it has ended by itself.

        Returns:
            The old instance.
        """
        old, self.current, self.successor = self.current, self.successor, None
        assert old is not None, "a successor is only begun beside a current instance"
        if not old.is_ending:  # otherwise it has died, and is being cleared away already
            task = asyncio.create_task(
                self._leave(partial(leave, old), old), name=f"leaving of {self._plugin}"
            )
            self._leaving[old] = task
        return old

    def adopt_successor(self) -> Instance | None:
        """Make a successor current whose predecessor is gone, and return it."""
        if self.successor is None:
            return None
        self.current, self.successor = self.successor, None
        return self.current

    async def wait_until_left(self) -> None:
        """Wait until no instance is leaving any more."""
        if self._leaving:
            await asyncio.wait(self._leaving.values())

    async def _leave(self, leave: Callable[[], Awaitable[None]], old: Instance) -> None:
        try:
            await leave()
        finally:
            del self._leaving[old]
            self._on_left()
