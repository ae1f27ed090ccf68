"""What ends a host, and how: a signal, or the guardian's death."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .guardian import Lifeline


EXIT_KILLED = 130  # as a shell reports SIGINT: 128 + 2
EXIT_UNGUARDED = 1

_log = logging.getLogger(__name__)


class Interrupts:
    """Handles requests to end: signals, and the guardian's death.

    Args:
        work: The task to cancel at the first request.
        kill_plugins: Called at the second request.
        lifeline: The connection to the guardian, if there is one.

    Attributes:
        count: How many requests there were.
        exit_code: The exit code for the process.
    """

    def __init__(
        self,
        work: asyncio.Task[object],
        kill_plugins: Callable[[], None],
        lifeline: Lifeline | None,
    ) -> None:
        self.count = 0
        self.exit_code = 0
        self._work = work
        self._kill_plugins = kill_plugins
        self._lifeline = lifeline

    @contextmanager
    def handled(self) -> Iterator[Interrupts]:
        """Handle the signals inside a ``with`` block."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        # nohup ignores SIGHUP, and expects that to stay so.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._interrupt, number)
        if self._lifeline is not None:
            self._lifeline.watch(loop, self._guardian_lost)
        try:
            yield self
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
            if self._lifeline is not None:
                self._lifeline.close()

    def _interrupt(self, number: signal.Signals) -> None:
        if self._lifeline is not None and self._lifeline.is_echo(number):
            return
        self.count += 1
        if self.count == 1:
            _log.info("received %s: stopping plugins (repeat to kill them)", number.name)
            self._work.cancel()
        elif self.count == 2:
            _log.warning("received %s again: killing plugins", number.name)
            self.exit_code = EXIT_KILLED
            self._kill_plugins()
        else:
            # Something hangs that even SIGKILL does not end. The guardian or systemd cleans up.
            os._exit(EXIT_KILLED)

    def _guardian_lost(self) -> None:
        """Shut down in order: without a guardian, a kill would leave plugins behind."""
        self.exit_code = self.exit_code or EXIT_UNGUARDED
        if not self.count:
            self.count = 1
            _log.error("the guardian has died: stopping plugins (send a signal to kill them)")
            self._work.cancel()
